"""The API: all of it takes a token that may read reports, and parts of it demand more."""

from flask import Blueprint, request
from flask.views import MethodView

from patauth.flask import current_principal, require_scope

api = Blueprint("api", __name__, url_prefix="/api")

REPORTS = {"q1": "Q1", "q2": "Q2"}


@api.before_request
@require_scope("reports:read")
def check():
    """Demand a scope for the whole blueprint; to return nothing is to go on."""


@api.get("/me")
def me():
    return {"owner": current_principal.subject.id, "scopes": sorted(current_principal.scopes)}


@api.get("/reports")
async def reports():
    return {"reports": list(REPORTS.values())}


@api.get("/reports/summary")
@require_scope("reports:summary")
async def summary():
    return {"reports": len(REPORTS)}


class Report(MethodView):
    def get(self, key):
        return {"title": REPORTS[key]} if key in REPORTS else ({"error": "not_found"}, 404)


class Draft(MethodView):
    decorators = [require_scope("reports:write")]  # noqa: RUF012 - as Flask wants it

    def put(self, key):
        return {"key": key, "title": request.get_json()["title"], "by": current_principal.subject.id}


api.add_url_rule("/reports/<key>", view_func=Report.as_view("report"))
api.add_url_rule("/drafts/<key>", view_func=Draft.as_view("draft"))
