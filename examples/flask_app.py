"""A Flask app behind patauth.

    python examples/flask_app.py                                for a look
    gunicorn -c examples/gunicorn.conf.py flask_app:app         in earnest

The store is local:./patauth-data, or what PATAUTH_STORE_URL says. Make a PAT in the same folder:

    patauth pat create --store local:./patauth-data --owner-id alice --name try --scope reports:read \
        --expires-in 1d
"""

import os

from flask import Flask, request

from patauth.flask import PatAuth, current_principal, require_scope

pat_auth = PatAuth()


def create_app(authority=None) -> Flask:
    app = Flask(__name__)
    app.config["PATAUTH_STORE_URL"] = os.environ.get("PATAUTH_STORE_URL", "local:./patauth-data")
    app.config["PATAUTH_PUBLIC"] = ["/", "/healthz"]  # all the rest needs credentials
    pat_auth.init_app(app, authority)

    @app.get("/")
    def home():
        return {"public": True}

    @app.get("/healthz")
    def healthz():
        return {"ok": True}

    @app.get("/me")
    def me():
        return {
            "owner": current_principal.subject.id,
            "method": current_principal.method,
            "scopes": sorted(current_principal.scopes),
        }

    @app.get("/reports")
    @require_scope("reports:read")
    def reports():
        return {"reports": ["Q1", "Q2"], "for": current_principal.subject.name}

    @app.post("/reports")
    @require_scope("reports:write")
    def add_report():
        return {"added": request.get_json(), "by": current_principal.subject.name}, 201

    return app


app = create_app()

if __name__ == "__main__":
    app.run(port=int(os.environ.get("PORT", "8000")))
