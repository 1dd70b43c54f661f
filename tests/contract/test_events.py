"""What is an event: each change and each decision is exactly one, and it has the members of its type."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any, get_args

import pytest

from patauth import Authority, IssuedPat, Owner, PatAuthError, PatAuthMiddleware, Person, require_scope
from patauth.events.events import Type
from patauth.model.address import Address
from patauth.operations.owners import purge_access_tokens
from patauth.wsgi.service.app import Standalone
from tests.support.authorities import ALICE, Make, basic_of, bearer, issue, wrong_secret
from tests.support.wsgi import Echo, request

AT = Address("203.0.113.9", "203.0.113.9")
MANAGE = "idn:my-personal-access-tokens:manage"
ENVELOPE = {"time": str, "id": str, "type": str, "outcome": str, "tenant": str}
# The members that an event has besides the envelope, and those that it may have.
ALWAYS: dict[str, set[str]] = {
    "pat.created": {"patId", "ownerId", "name", "scope"},
    "pat.updated": {"patId", "ownerId"},
    "pat.rotated": {"patId", "ownerId", "overlapSeconds"},
    "pat.revoked": {"patId", "ownerId"},
    "pat.disabled": {"patId", "ownerId"},
    "pat.enabled": {"patId", "ownerId"},
    "owner.disabled": {"ownerId", "pats"},
    "owner.enabled": {"ownerId", "pats"},
    "owner.revoked": {"ownerId", "pats"},
    "token.issued": {"patId", "ownerId", "address", "scope", "expiresIn", "format"},
    "token.revoked": {"patId", "ownerId"},
    "token.purged": {"tokens"},
    "secret.reused": {"patId", "ownerId", "address"},
    "credentials.refused": {"reason", "address"},
    "quota.exceeded": {"quota", "retryAfter"},
    "scope.refused": {"patId", "ownerId", "scope", "address", "requestId"},
}
SOMETIMES: dict[str, set[str]] = {
    "pat.updated": {"name", "description", "scope", "expires"},
    "pat.revoked": {"reason"},
    "owner.revoked": {"reason"},
    "credentials.refused": {"patId", "ownerId"},
    "quota.exceeded": {"patId", "ownerId", "address"},
}
OF_REQUESTS = {"requestId", "address", "byOwnerId", "byPatId"}  # what any event of a request may have

Before = Callable[[Authority, IssuedPat], Any]
Do = Callable[[Authority, IssuedPat, Any], object]  # with what the former returns


def refused(authority: Authority, authorization: str) -> None:
    authority.operations.authenticate(authorization, AT)


def app(authority: Authority) -> Any:
    return PatAuthMiddleware(Echo(), authority, require={"/admin": "admin"}, public=["/open"])


def with_scope(authority: Authority) -> Any:
    return PatAuthMiddleware(require_scope("admin")(Echo()), authority)


def verify(authority: Authority, authorization: str, scope: str = "admin") -> Any:
    return request(Standalone(authority), f"/verify?scope={scope}", authorization=authorization)


def form(authority: Authority, issued: IssuedPat, path: str, **fields: str) -> Any:
    wrapped = PatAuthMiddleware(Echo(), authority, surfaces=["oauth", "isc"])
    return request(wrapped, path, method="POST", authorization=basic_of(issued), data=fields)


def put(path: str, value: Any) -> dict[str, Any]:
    return {"op": "replace", "path": path, "value": value}


def wrong(authority: Authority, issued: IssuedPat) -> None:
    refused(authority, basic_of(IssuedPat(issued.pat, wrong_secret(authority), "")))


def ended_token(authority: Authority, issued: IssuedPat) -> str:
    token = authority.exchange(issued.pat.id, issued.secret).value
    authority.delete(issued.pat.id)
    return token


def made_by(authority: Authority, by: Any, name: str) -> IssuedPat:
    day = timedelta(days=1)
    return authority.create(name=name, scope=["reports:read"], expires_in=day, by=by)


def maker_of_two(authority: Authority, issued: IssuedPat) -> Any:
    by = authority.authenticate(basic_of(issue(authority, name="maker", scope=[MANAGE, "reports:read"])))
    for name in ("one", "two"):
        made_by(authority, by, name)
    return by


# What is done, and the event of it. The first function is done before, and its events do not count.
ROWS: dict[str, tuple[Before | None, Do, str, str]] = {
    "create": (None, lambda a, i, m: issue(a, "new"), "pat.created", "done"),
    "update": (None, lambda a, i, m: a.update(i.pat.id, name="x"), "pat.updated", "done"),
    "patch": (None, lambda a, i, m: a.patch(i.pat.id, [put("/scope", ["a"])]), "pat.updated", "done"),
    "rotate": (None, lambda a, i, m: a.rotate(i.pat.id), "pat.rotated", "done"),
    "delete": (None, lambda a, i, m: a.delete(i.pat.id), "pat.revoked", "done"),
    "disable": (None, lambda a, i, m: a.disable(i.pat.id), "pat.disabled", "done"),
    "enable": (lambda a, i: a.disable(i.pat.id), lambda a, i, m: a.enable(i.pat.id), "pat.enabled", "done"),
    "revoke a PAT token": (None, lambda a, i, m: a.revoke(i.token), "pat.revoked", "done"),
    "delete over HTTP": (
        None,
        lambda a, i, m: request(
            PatAuthMiddleware(Echo(), a, surfaces=["isc"]),
            "/personal-access-tokens/v1/self",
            method="DELETE",
            authorization=basic_of(i),
        ),
        "pat.revoked",
        "done",
    ),
    "disable an owner": (None, lambda a, i, m: a.disable_owner("alice"), "owner.disabled", "done"),
    "enable an owner": (
        lambda a, i: a.disable_owner("alice"),
        lambda a, i, m: a.enable_owner("alice"),
        "owner.enabled",
        "done",
    ),
    "revoke an owner": (None, lambda a, i, m: a.revoke_owner("alice"), "owner.revoked", "done"),
    "exchange": (
        None,
        lambda a, i, m: a.exchange(i.pat.id, i.secret, address="203.0.113.9"),
        "token.issued",
        "done",
    ),
    "exchange over HTTP": (
        None,
        lambda a, i, m: form(a, i, "/oauth/token", grant_type="client_credentials"),
        "token.issued",
        "done",
    ),
    "revoke a token": (
        lambda a, i: a.exchange(i.pat.id, i.secret).value,
        lambda a, i, m: a.revoke(m),
        "token.revoked",
        "done",
    ),
    "purge all tokens": (
        lambda a, i: a.exchange(i.pat.id, i.secret),
        lambda a, i, m: list(purge_access_tokens(a.operations.actor(None))),
        "token.purged",
        "done",
    ),
    "a wrong secret": (
        None,
        lambda a, i, m: wrong(a, i),
        "credentials.refused",
        "refused",
    ),
    "a wrong shape": (None, lambda a, i, m: refused(a, "Bearer x"), "credentials.refused", "refused"),
    "a disabled PAT": (
        lambda a, i: a.disable(i.pat.id),
        lambda a, i, m: refused(a, basic_of(i)),
        "credentials.refused",
        "refused",
    ),
    "an ended access token": (
        ended_token,
        lambda a, i, m: refused(a, bearer(m)),
        "credentials.refused",
        "refused",
    ),
    "a secret that was rotated away": (
        lambda a, i: a.rotate(i.pat.id, overlap=timedelta(0)),
        lambda a, i, m: refused(a, basic_of(i)),
        "secret.reused",
        "refused",
    ),
    "a scope at the gate": (
        None,
        lambda a, i, m: request(app(a), "/admin", authorization=basic_of(i)),
        "scope.refused",
        "refused",
    ),
    "a scope by require_scope": (
        None,
        lambda a, i, m: request(with_scope(a), "/", authorization=basic_of(i)),
        "scope.refused",
        "refused",
    ),
    "a scope at forward-auth": (None, lambda a, i, m: verify(a, basic_of(i)), "scope.refused", "refused"),
    "too many requests": (
        lambda a, i: [a.authenticate(basic_of(i)) for _ in range(3)],
        lambda a, i, m: request(app(a), "/", authorization=basic_of(i)),
        "quota.exceeded",
        "refused",
    ),
    "too many exchanges": (
        lambda a, i: [a.exchange(i.pat.id, i.secret) for _ in range(2)],
        lambda a, i, m: a.exchange(i.pat.id, i.secret),
        "quota.exceeded",
        "refused",
    ),
    "too many creations": (
        maker_of_two,
        lambda a, i, m: made_by(a, m, "third"),
        "quota.exceeded",
        "refused",
    ),
    "too many requests of a person": (
        lambda a, i: a.operations.admit_person(Person(ALICE, frozenset()), ending=False),
        lambda a, i, m: a.operations.admit_person(Person(ALICE, frozenset()), ending=False),
        "quota.exceeded",
        "refused",
    ),
    "too many refusals": (
        lambda a, i: [_fails(lambda: wrong(a, i)) for _ in range(2)],
        lambda a, i, m: wrong(a, i),
        "quota.exceeded",
        "refused",
    ),
    # what is none
    "a good request": (None, lambda a, i, m: request(app(a), "/", authorization=basic_of(i)), "", ""),
    "a public path": (None, lambda a, i, m: request(app(a), "/open"), "", ""),
    "no credentials": (None, lambda a, i, m: request(app(a), "/"), "", ""),
    "a change of nothing": (None, lambda a, i, m: a.update(i.pat.id, name=i.pat.name), "", ""),
    "a second delete": (lambda a, i: a.delete(i.pat.id), lambda a, i, m: a.delete(i.pat.id), "", ""),
    "a read": (None, lambda a, i, m: [a.get(i.pat.id), a.list(owner_id="alice")], "", ""),
    "an introspection": (None, lambda a, i, m: a.introspect(i.token), "", ""),
}


def _fails(call: Callable[[], object]) -> None:
    with pytest.raises(PatAuthError):
        call()


@pytest.mark.parametrize("name", ROWS)
def test_each_operation_is_exactly_one_event_with_the_members_of_its_type(
    make_at: Make, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    """TOB-PYPI26-4: an event that is missing or malformed is noticed by nobody else."""
    before, act, kind, outcome = ROWS[name]
    small = {
        "request_quota": "3/600", "exchange_quota": "2/600", "create_quota": "2/600", "person_quota": "1/600",
        "failure_quota": "2/600",
    }  # fmt: skip
    authority = make_at(**small)
    issued = issue(authority)
    made = before(authority, issued) if before else None
    caplog.set_level(logging.INFO, "patauth.audit")
    caplog.clear()
    try:
        act(authority, issued, made)
    except PatAuthError:
        assert outcome != "done"
    found = [json.loads(one.getMessage()) for one in caplog.records if one.name == "patauth.audit"]
    assert [event["type"] for event in found] == ([kind] if kind else [])
    for event in found:
        check(event)
        assert event["outcome"] == outcome
    for secret in (issued.secret, issued.token, issued.secret[5:-6], basic_of(issued)[6:]):
        assert secret not in caplog.text


def check(event: dict[str, Any]) -> None:
    """Check an event against the schema."""
    for member, kind in ENVELOPE.items():
        assert type(event[member]) is kind, member
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", event["time"])
    assert re.fullmatch(r"[0-9a-f]{32}", event["id"])
    assert event["type"] in get_args(Type)
    members = set(event) - set(ENVELOPE)
    always = ALWAYS[event["type"]]
    assert always <= members
    assert members <= always | SOMETIMES.get(event["type"], set()) | OF_REQUESTS
    assert all(re.fullmatch(r"[a-z]+(?:[A-Z][a-z]+)*", member) for member in event), "camelCase"


def test_the_schema_knows_every_type_but_those_that_other_parts_emit() -> None:
    assert set(get_args(Type)) - set(ALWAYS) == {"pat.new_address", "pat.expiring", "pat.expired"}
    assert set(ALWAYS) == {kind for _, _, kind, _ in ROWS.values() if kind}


class TestRequest:
    """All events of a request name it, and where it came from."""

    def events_of(self, caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
        return [json.loads(one.getMessage()) for one in caplog.records if one.name == "patauth.audit"]

    def test_an_inbound_id_and_the_address_are_in_the_events_of_a_management_call(
        self, make_at: Make, caplog: pytest.LogCaptureFixture
    ) -> None:
        authority = make_at()
        issued = issue(authority, scope=[MANAGE])
        caplog.set_level(logging.INFO, "patauth.audit")
        answer = request(
            PatAuthMiddleware(Echo(), authority, surfaces=["isc"]),
            f"/personal-access-tokens/v1/{issued.pat.id}",
            method="PATCH",
            authorization=basic_of(issued),
            headers={"X-Request-Id": "req-7", "Content-Type": "application/json-patch+json"},
            data=json.dumps([put("/name", "new")]),
        )
        assert answer.status_code == 200
        (event,) = self.events_of(caplog)
        assert (event["type"], event["requestId"], event["address"]) == (
            "pat.updated",
            "req-7",
            "203.0.113.9",
        )

    def test_what_the_app_does_in_a_request_has_its_id_and_what_it_does_later_has_none(
        self, make_at: Make, caplog: pytest.LogCaptureFixture
    ) -> None:
        authority = make_at()
        issued = issue(authority)

        def view(environ: dict[str, Any], start_response: Any) -> list[bytes]:
            authority.update(issued.pat.id, name="in a view")
            authority.update(issued.pat.id, name="in a view again")
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [b"ok"]

        caplog.set_level(logging.INFO, "patauth.audit")
        wrapped = PatAuthMiddleware(view, authority)
        for _ in range(2):
            request(wrapped, "/", authorization=basic_of(issued), headers={"X-Request-Id": "bad id"})
        authority.update(issued.pat.id, name="later")
        one, again, other, _, later = self.events_of(caplog)
        assert re.fullmatch("[0-9a-f]{32}", one["requestId"])
        assert one["requestId"] == again["requestId"] != other["requestId"]
        assert not {"requestId", "address"} & set(later)

    def test_a_secret_that_is_sent_as_the_id_is_in_no_event(
        self, make_at: Make, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO, "patauth.audit")
        issued = issue(make_at())
        for sent, is_taken in ((issued.secret, False), ("0af7651916cd43dd8448eb211c80319c", True)):
            request(app(make_at()), "/", authorization="Basic eDp5", headers={"X-Request-Id": sent})
            assert (self.events_of(caplog)[-1]["requestId"] == sent) is is_taken
        assert issued.secret not in caplog.text

    def test_an_app_that_fails_leaves_no_request_behind(
        self, make_at: Make, caplog: pytest.LogCaptureFixture
    ) -> None:
        authority = make_at()
        issued = issue(authority)

        def view(environ: dict[str, Any], start_response: Any) -> list[bytes]:
            raise OSError("broken")

        with pytest.raises(OSError, match="broken"):
            request(PatAuthMiddleware(view, authority), "/", authorization=basic_of(issued))
        caplog.set_level(logging.INFO, "patauth.audit")
        authority.delete(issued.pat.id)
        (event,) = self.events_of(caplog)
        assert "requestId" not in event


def test_a_handler_that_fails_fails_no_request(make_at: Make, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise RuntimeError("hush: the log host is away")

    authority = make_at()
    trail, handler = logging.getLogger("patauth.audit"), Broken()
    trail.addHandler(handler)
    level = trail.level
    trail.setLevel(logging.INFO)
    try:
        issued = issue(authority)
        authority.delete(issued.pat.id)
    finally:
        trail.removeHandler(handler)
        trail.setLevel(level)
    assert authority.operations.events.dropped == 2
    told = [one.getMessage() for one in caplog.records if one.name == "patauth"]
    assert told == ["events: the sink log failed: RuntimeError"], "once a minute, without its text"


def test_none_means_no_events(make_at: Make, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "patauth.audit")
    issue(make_at(events="none"), owner=Owner("bob"))
    assert [one for one in caplog.records if one.name == "patauth.audit"] == []


def test_why_something_was_removed_is_in_the_event(authority: Authority, events: Any) -> None:
    made = issue(authority, "a"), issue(authority, "b")
    events()
    authority.delete(made[0].pat.id, "left in a log")
    authority.revoke_owner("alice", "has left us")
    told = [(one["type"], one["reason"]) for one in events()]
    assert told == [("pat.revoked", "left in a log"), ("owner.revoked", "has left us")]


def test_a_long_list_is_cut_and_says_how_much_more_there_is(authority: Authority, events: Any) -> None:
    """Who changes a PAT again and again must not fill a stream with its scopes."""
    scope = [f"s{number}{'x' * 100}" for number in range(256)]
    issue(authority, scope=scope)
    (event,) = events()
    *kept, more = event["scope"]
    assert (kept, more) == (scope[: len(kept)], f"and {256 - len(kept)} more")
    assert 1500 < sum(map(len, kept)) <= 2000
