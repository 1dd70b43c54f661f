"""A Flask app with a factory and two blueprints: an API for programs, and pages for people.

    pip install '.[flask,local]' 'flask[async]' flask-login
    flask --app examples/flask_factory/app run --port 8000

Its own tests use patauth's plugin of pytest, and need no server: pip install '.[memory]' pytest

    pytest examples/flask_factory

The store is local:./patauth-data, or what PATAUTH_STORE_URL says.
"""

import os
import secrets

from api import api
from flask import Flask
from flask_login import LoginManager
from pages import USERS, pages

from patauth.flask import PatAuth

pat_auth = PatAuth()
login_manager = LoginManager()
login_manager.user_loader(USERS.get)


def create_app(authority=None):
    """Tests give an Authority; without one, configuration and environment say what the store is."""
    app = Flask(__name__)
    app.secret_key = os.environ.get("FLASK_SECRET_KEY") or secrets.token_bytes(
        32
    )  # the same in all processes
    app.config["SESSION_COOKIE_SAMESITE"] = "Lax"
    app.config["PATAUTH_STORE_URL"] = os.environ.get("PATAUTH_STORE_URL", "local:./patauth-data")
    app.config["PATAUTH_PROTECT"] = ["/api/*"]  # takes a token; the rest is for people
    app.config["PATAUTH_OPTIONAL"] = ["/exports"]  # takes a session or a token
    app.config["PATAUTH_CHALLENGES"] = ["bearer"]  # no browser asks people for a password of the API
    pat_auth.init_app(app, authority)
    login_manager.init_app(app)
    app.register_blueprint(api)
    app.register_blueprint(pages)
    return app
