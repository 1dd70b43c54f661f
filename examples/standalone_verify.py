"""Verification without HTTP, for a queue, a websocket, an SSH command: python examples/standalone_verify.py

Reads one Authorization value from standard input, such as `Bearer pat_…`, and says whose it is:

    printf 'Bearer %s\\n' "$PAT_TOKEN" | python examples/standalone_verify.py
"""

import os
import sys

import patauth


def main() -> int:
    store_url = os.environ.get("PATAUTH_STORE_URL", "local:./patauth-data")
    with patauth.Authority.from_url(store_url) as authority:
        try:
            principal = authority.authenticate(sys.stdin.readline().strip())
        except patauth.RateLimited as limited:
            print(f"too many requests: try again in {limited.retry_after} s", file=sys.stderr)
            return 1
        except patauth.StoreUnavailable:
            print("not decided: the store does not answer", file=sys.stderr)  # never take this for a yes
            return 1
        except patauth.PatAuthError as refusal:
            print(f"refused: {refusal}", file=sys.stderr)
            return 1
    print(f"{principal.subject.id} by {principal.method}, may: {' '.join(sorted(principal.scopes))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
