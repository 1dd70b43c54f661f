"""What `/openapi.json` says and what patauth does, held against each other by schemathesis, on every path."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import unquote

import pytest
import schemathesis
from hypothesis import settings
from hypothesis import strategies as st
from schemathesis import Case
from schemathesis.specs.openapi.checks import positive_data_acceptance

from patauth import Authority, IssuedPat, Owner
from patauth.model.pat import ID
from patauth.wsgi.service.app import Standalone
from tests.support.authorities import Make, basic_of, issue
from tests.support.rights import ALL_MANAGE
from tests.support.searches import examples

MANY = "1000000/1"
SETTINGS = {
    "surfaces": ["oauth", "isc", "zitadel", "openapi"],
    "path_prefix": "/auth",
    "issuer": "http://127.0.0.1:8000/auth",
    "max_pats_per_owner": 100_000,
    **dict.fromkeys(["request_quota", "exchange_quota", "failure_quota"], MANY),
}


class App:
    """The service: at first over a store that is not there, which the description does without."""

    def __init__(self) -> None:
        self.service = Standalone(Authority.from_url("unix:///nowhere/to/be/found", **SETTINGS))

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        return self.service(environ, start_response)


app = App()
schema = schemathesis.openapi.from_wsgi("/auth/openapi.json", app)
schema.config.generation.deterministic = True
# A body over 16 KiB is refused, right or wrong: a schema cannot speak of bytes.
for check in (schema.config.checks.negative_data_rejection, schema.config.checks.positive_data_acceptance):
    check.expected_statuses = [*check.expected_statuses, "413"]


# -- values that are more than their shape: for what is there, and for what the caller holds -----------------

HELD = ["sp:scopes:all", ALL_MANAGE, "oauth:introspect", "self:rotate", "reports:read"]
SOON = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)

comparisons = st.sampled_from(
    [
        "lastUsed isnull",
        "not expirationDate isnull",
        "lastUsed le 2030-01-31T12:00:00Z",
        "created gt 2020-01-31T12:00:00.123456+01:00",
        'name sw "ci"',
        r'name co "\" and \\"',
        'id in ("a", "b")',
    ]
)
filters = st.recursive(
    comparisons,
    lambda inner: st.builds("({} {} {})".format, inner, st.sampled_from(["and", "or", "and not"]), inner),
    max_leaves=3,
)
sorters = st.permutations(["name", "created", "lastUsed", "expirationDate"]).flatmap(
    lambda fields: st.integers(1, 4).map(lambda count: ",".join(fields[:count]))
)
moments = st.timedeltas(timedelta(0), timedelta(days=150)).map(lambda later: (SOON + later).isoformat())

schemathesis.openapi.format("pat-filter", filters)
schemathesis.openapi.format("pat-sorters", sorters)
schemathesis.openapi.format("scope-token", st.sampled_from(HELD))
schemathesis.openapi.format("scope-tokens", st.lists(st.sampled_from(HELD)).map(" ".join))
schemathesis.openapi.format("ip-address", st.ip_addresses().map(str))
schemathesis.openapi.format("date-time", moments)
schemathesis.openapi.format("cidr", st.sampled_from(["203.0.113.9", "10.0.0.0/8", "2001:db8::/32"]))


@pytest.fixture
def authority(make_at: Make) -> Authority:
    return make_at(**SETTINGS)


@pytest.fixture
def caller(authority: Authority) -> IssuedPat:
    return issue(authority, "root", owner=Owner("root"), scope=HELD, never_expires=True)


@schema.parametrize()
@settings(max_examples=examples(5), deadline=None, derandomize=True)
def test_no_answer_contradicts_the_description(case: Case, authority: Authority, caller: IssuedPat) -> None:
    app.service = Standalone(authority)
    operation = case.operation.definition.raw["operationId"]

    def another() -> IssuedPat:
        return issue(authority, secrets.token_hex(8), owner=caller.pat.owner, scope=HELD)

    if ID.fullmatch(case.headers.get("x-zitadel-orgid", "")):
        case.headers["x-zitadel-orgid"] = "default"  # in another organisation, all would be 403
    if case.meta is None or case.meta.generation.mode.is_positive:
        fit(case, another)
    if operation in ("deletePresentedPatV1", "rotatePresentedPatV1"):
        caller = another()
    headers = {"Authorization": basic_of(caller)}
    if given(case).get("client_id") or given(case).get("client_secret"):
        headers = {}  # a client authenticates in one way
    # Whether a patch can be applied depends on the PAT and on its other operations: a right one may fail.
    excluded = [positive_data_acceptance] if operation.startswith(("patchPat", "updatePats")) else []
    response = case.call_and_validate(headers=headers, excluded_checks=excluded)
    if operation.startswith("createPat") and response.status_code == 200:
        authority.delete(response.json()["id"])  # its name is free again


def fit(case: Case, another: Callable[[], IssuedPat]) -> None:
    """Put what is there, and what the caller holds, in place of what only looks like it."""
    for name in {"id", "tokenId"} & case.path_parameters.keys():
        if case.path_parameters[name] < "8":
            case.path_parameters[name] = another().pat.id
            case.path_parameters.update({"userId": "root"} if name == "tokenId" else {})
    body = given(case)
    if body.get("userId") and "userId" in case.path_parameters:
        body["userId"] = unquote(case.path_parameters["userId"])  # it stands in the URL as it is
    elif body.get("tokenId"):
        body.update(userId="root", tokenId=another().pat.id)
    if body.get("ids"):
        body["ids"] = [another().pat.id for _ in body["ids"][:3]]
    if body.get("notBefore"):
        body["notBefore"] = (SOON - timedelta(hours=1)).isoformat()  # before each expiry
    if isinstance(body.get("scope"), list):
        body["scope"] = [one if one in HELD else HELD[-1] for one in body["scope"]]
    elif body.get("scope"):
        body["scope"] = " ".join(HELD)


def given(case: Case) -> dict[str, Any]:
    """The members of a body that were given, if it is an object."""
    return case.body if isinstance(case.body, dict) else {}
