"""The pages: people sign in by Flask-Login. Exports are made by them, or by a program with a token."""

import secrets

from flask import Blueprint, abort, redirect, render_template_string, request, session, url_for
from flask_login import UserMixin, current_user, login_user, logout_user
from werkzeug.security import check_password_hash, generate_password_hash

from patauth.flask import current_principal

pages = Blueprint("pages", __name__)


class User(UserMixin):
    def __init__(self, user_id, password, scopes):
        self.id, self.scopes = user_id, scopes
        self.password_hash = generate_password_hash(password)


# An app has people of its own, and shows their passwords to nobody.
PASSWORD = "white rabbit"
USERS = {"alice": User("alice", PASSWORD, {"exports:read", "exports:write"})}
EXPORTS = []

PAGE = """<!doctype html><html lang="en"><title>Exports</title>
<h1>Exports</h1>
{% if current_user.is_authenticated %}
<p>Hello {{ current_user.id }}.
<form method="post" action="/exports"><input type="hidden" name="csrf" value="{{ csrf }}">
<button>Make an export</button></form>
<form method="post" action="/logout"><input type="hidden" name="csrf" value="{{ csrf }}">
<button>Sign out</button></form>
{% else %}
<p>Sign in as <b>alice</b> with the password <b>{{ password }}</b>.
<form method="post" action="/login"><input type="hidden" name="csrf" value="{{ csrf }}">
<p><label>Name <input name="name" autocomplete="username" required></label>
<p><label>Password <input name="password" type="password" autocomplete="current-password" required></label>
<p><button>Sign in</button></form>
{% endif %}
"""


def csrf():
    """The value that this session's forms must send back."""
    return session.setdefault("csrf", secrets.token_urlsafe())


def check_csrf():
    """Refuse a form that another site has made a browser send.

    No browser sends a bearer by itself, so it needs no more. Basic is like a cookie: a browser sends it
    whichever site asked for the request.
    """
    if request.environ.get("AUTH_TYPE") == "Bearer":
        return
    if not secrets.compare_digest(request.form.get("csrf", "").encode(), csrf().encode()):
        abort(400, "This form is too old. Go back, load the page again, and send it once more.")


def caller(scope):
    """The id of who calls with this scope: by a token, and otherwise by the session."""
    if current_principal:  # a session that comes along with a token does not count
        who, scopes = current_principal.subject.id, current_principal.scopes
    elif current_user.is_authenticated:
        who, scopes = current_user.id, current_user.scopes
    else:
        abort(401)
    if scope not in scopes:
        abort(403)
    return who


@pages.get("/")
def home():
    return render_template_string(PAGE, csrf=csrf(), password=PASSWORD)


@pages.get("/healthz")
def healthz():
    return {"ok": True}


@pages.get("/exports")
def exports():
    who = caller("exports:read")
    return {"exports": [number for number, by in enumerate(EXPORTS, 1) if by == who]}


@pages.post("/exports")
def export():
    who = caller("exports:write")
    check_csrf()
    EXPORTS.append(who)
    return {"export": len(EXPORTS), "by": who}, 201


@pages.post("/login")
def sign_in():
    """An app also limits how often somebody may try."""
    check_csrf()
    user = USERS.get(request.form.get("name", ""))
    known = user or next(iter(USERS.values()))  # unknown names take as long
    if not check_password_hash(known.password_hash, request.form.get("password", "")) or user is None:
        abort(403, "Name or password is wrong.")
    session.clear()
    login_user(user)
    return redirect(url_for("pages.home"), 303)


@pages.post("/logout")
def sign_out():
    check_csrf()
    logout_user()
    return redirect(url_for("pages.home"), 303)
