#!/bin/sh
# Exchange a PAT for an access token, and call an API with it.
#
#   BASE_URL=http://127.0.0.1:8000 ID=… SECRET=… sh examples/client.sh [PATH]
#
# Credentials come from the environment and go to curl on its standard input: as arguments, every user of this
# machine could read them in `ps`.
set -eu

: "${ID:?set ID to the PAT id}" "${SECRET:?set SECRET to the PAT secret}"
base=${BASE_URL:-http://127.0.0.1:8000}

answer=$(printf 'user = "%s:%s"\n' "$ID" "$SECRET" |
    curl --config - --fail-with-body --silent --show-error \
        --data grant_type=client_credentials "$base/oauth/token") || {
    echo "no access token: $answer" >&2
    exit 1
}
token=$(printf '%s' "$answer" | sed -n 's/.*"access_token": *"\([^"]*\)".*/\1/p')

# Use it until it expires (expires_in in the answer), then exchange again; on 429 wait for Retry-After.
printf 'oauth2-bearer = "%s"\n' "$token" |
    curl --config - --fail-with-body --silent --show-error --retry 3 "$base${1:-/reports}"
