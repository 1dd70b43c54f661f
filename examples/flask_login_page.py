"""A Flask app with Flask-Login whose people have patauth's page: python examples/flask_login_page.py

Open http://127.0.0.1:8000, sign in as it says there, and make a token on the page. With the token:

    curl -H "Authorization: Bearer $TOKEN" http://127.0.0.1:8000/api/reports

The app signs people in, by its session; patauth asks it who that is, for the page and for nothing else. A
sign-in that is older than 15 minutes, or comes from the cookie that remembers people, is asked for once more
before a token is made or gets to do more.

The store is local:./patauth-data, or what PATAUTH_STORE_URL says.
"""

import os
import re
import secrets
import time

from flask import Flask, abort, redirect, render_template_string, request, session, url_for
from flask_login import LoginManager, UserMixin, current_user, login_fresh, login_user, logout_user
from werkzeug.security import check_password_hash, generate_password_hash

import patauth
from patauth.flask import PatAuth, current_principal, require_scope

MANAGE = "idn:my-personal-access-tokens:manage"  # the right to the page, and to make what it makes
SCOPES = {  # the catalogue, in the words that the page shows
    "reports:read": "Read reports",
    "reports:write": "Write reports",
    "invoices:read": "See invoices",
    MANAGE: "Make, change and revoke tokens of yours",
}
FRESH = 15 * 60  # s after which a sign-in is asked for once more


class User(UserMixin):
    def __init__(self, user_id, name, password, scopes):
        self.id, self.name, self.scopes = user_id, name, scopes
        self.password_hash = generate_password_hash(password)


# An app has people of its own, and shows their passwords to nobody.
PASSWORD = "white rabbit"
USERS = {"alice": User("alice", "Alice", PASSWORD, ["reports:read", "reports:write"])}


def identify(environ):
    """Who is signed in, and what they may do and pass on: a token of theirs has at most this."""
    if not current_user.is_authenticated:
        return None
    owner = patauth.Owner(current_user.id, name=current_user.name)
    return patauth.Person(owner, [*current_user.scopes, MANAGE])


def reauthenticate(environ):
    """Whether this person has shown lately who they are."""
    return login_fresh() and time.time() - session.get("signed_in_at", 0) < FRESH


app = Flask(__name__)
app.secret_key = os.environ.get("FLASK_SECRET_KEY") or secrets.token_bytes(32)  # the same in all processes
# Behind https, set the two …_COOKIE_SECURE to True as well.
app.config["SESSION_COOKIE_SAMESITE"] = app.config["REMEMBER_COOKIE_SAMESITE"] = "Lax"
app.config["PATAUTH_STORE_URL"] = os.environ.get("PATAUTH_STORE_URL", "local:./patauth-data")
app.config["PATAUTH_SURFACES"] = ["oauth", "isc", "page"]
app.config["PATAUTH_PROTECT"] = ["/api/*"]  # takes a token; the rest is for people
app.config["PATAUTH_SCOPES"] = SCOPES
app.config["PATAUTH_IDENTIFY"] = identify
app.config["PATAUTH_REAUTHENTICATE"] = reauthenticate
app.config["PATAUTH_LOGIN_URL"] = "/login?next={next}"
app.config["PATAUTH_PAGE_EXAMPLE_URL"] = "/api/reports"
PatAuth(app)
LoginManager(app).user_loader(USERS.get)

HOME = """<!doctype html><html lang="en"><title>Reports</title>
<h1>Reports</h1>
{% if current_user.is_authenticated %}
<p>Hello {{ current_user.name }}. <a href="/personal-access-tokens">Your personal access tokens</a>
<form method="post" action="/logout"><input type="hidden" name="csrf" value="{{ csrf }}">
<button>Sign out</button></form>
{% else %}
<p><a href="/login">Sign in</a> as <b>alice</b> with the password <b>{{ password }}</b>.
{% endif %}
"""

LOGIN = """<!doctype html><html lang="en"><title>Sign in</title>
<h1>Sign in</h1>
{% if wrong %}<p role="alert">Name or password is wrong.{% endif %}
<form method="post"><input type="hidden" name="csrf" value="{{ csrf }}">
<input type="hidden" name="next" value="{{ next }}">
<p><label>Name <input name="name" autocomplete="username" required></label>
<p><label>Password <input name="password" type="password" autocomplete="current-password" required></label>
<p><label><input type="checkbox" name="remember"> Stay signed in</label>
<p><button>Sign in</button></form>
"""


def csrf():
    """The value that this session's forms must send back."""
    return session.setdefault("csrf", secrets.token_urlsafe())


def check_csrf():
    if not secrets.compare_digest(request.form.get("csrf", "").encode(), csrf().encode()):
        abort(400, "This form is too old. Go back, load the page again, and send it once more.")


def local(path):
    """The path to go on to: nothing that a browser could read as another site's address."""
    return path if re.fullmatch(r"/(?!/)[!-\[\]-~]*", path) else url_for("home")


@app.get("/")
def home():
    return render_template_string(HOME, csrf=csrf(), password=PASSWORD)


@app.get("/healthz")
def healthz():
    return {"ok": True}


@app.get("/login")
def login():
    return render_template_string(LOGIN, csrf=csrf(), next=local(request.args.get("next", "")))


@app.post("/login")
def sign_in():
    """An app also limits how often somebody may try."""
    check_csrf()
    user = USERS.get(request.form.get("name", ""))
    known = user or next(iter(USERS.values()))  # unknown names take as long
    right = check_password_hash(known.password_hash, request.form.get("password", ""))
    next_path = local(request.form.get("next", ""))
    if user is None or not right:
        return render_template_string(LOGIN, csrf=csrf(), next=next_path, wrong=True), 403
    session.clear()
    login_user(user, remember="remember" in request.form)
    session["signed_in_at"] = time.time()
    return redirect(next_path, 303)


@app.post("/logout")
def sign_out():
    check_csrf()
    logout_user()
    return redirect(url_for("home"), 303)


@app.get("/api/reports")
@require_scope("reports:read")
def reports():
    return {"reports": ["Q1", "Q2"], "for": current_principal.subject.name}


if __name__ == "__main__":
    app.run(port=int(os.environ.get("PORT", "8000")))
