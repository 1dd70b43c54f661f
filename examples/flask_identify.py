"""A Flask app whose signed-in people manage their own PATs: python examples/flask_identify.py

The app signs people in, by its session; patauth asks it who that is, for the management API and for nothing
else. A browser does by itself what curl does here with cookies and Origin:

    url=http://127.0.0.1:8000 api=http://127.0.0.1:8000/personal-access-tokens/v1
    curl -c cookies -H "Origin: $url" -d name=alice $url/login
    token=$(curl -s -b cookies -o pats.json -w '%header{x-csrf-token}' "$api?owner-id=me")
    date=$(date -u -d '+30 days' +%Y-%m-%dT%H:%M:%SZ)
    curl -b cookies -H "Origin: $url" -H "X-CSRF-Token: $token" -H 'Content-Type: application/json' \
        -d '{"name": "ci", "scope": ["reports:read"], "expirationDate": "'$date'"}' $api

The store is local:./patauth-data, or what PATAUTH_STORE_URL says.
"""

import os
import secrets

from flask import Flask, abort, request, session

import patauth
from patauth.flask import PatAuth, current_principal, require_scope

PEOPLE = {"alice": "Alice", "bob": "Bob"}  # an app has its own, and passwords for them


def identify(environ):
    """Who is signed in, and what they may do and pass on: a PAT of theirs has at most this."""
    user = session.get("user")
    if user not in PEOPLE:
        return None
    owner = patauth.Owner(user, name=PEOPLE[user])
    return patauth.Person(owner, ["reports:read", "idn:my-personal-access-tokens:manage"])


app = Flask(__name__)
app.secret_key = os.environ.get("FLASK_SECRET_KEY") or secrets.token_bytes(32)  # the same in all processes
app.config["PATAUTH_STORE_URL"] = os.environ.get("PATAUTH_STORE_URL", "local:./patauth-data")
app.config["PATAUTH_SURFACES"] = ["oauth", "isc"]
app.config["PATAUTH_PUBLIC"] = ["/", "/healthz", "/login", "/logout"]  # for people; the rest takes a PAT
app.config["PATAUTH_IDENTIFY"] = identify
app.config["SESSION_COOKIE_SAMESITE"] = "Lax"
PatAuth(app)


@app.get("/")
def home():
    return {"user": session.get("user")}


@app.get("/healthz")
def healthz():
    return {"ok": True}


@app.post("/login")
def login():
    """A name is believed here: put your own sign-in in its place."""
    name = request.form.get("name")
    if name not in PEOPLE:
        abort(403)
    session.clear()
    session["user"] = name
    return {"user": name}


@app.post("/logout")
def logout():
    session.clear()
    return {"user": None}


@app.get("/reports")
@require_scope("reports:read")
def reports():
    return {"reports": ["Q1", "Q2"], "for": current_principal.subject.name}


if __name__ == "__main__":
    app.run(port=int(os.environ.get("PORT", "8000")))
