"""Each operation of ZITADEL's API has one effect, one refusal and one event in every form of a call."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from patauth import Authority, Owner, PatAuthMiddleware
from tests.support.authorities import Make, basic, issue, wrong_secret
from tests.support.clocks import NOW, Clock
from tests.support.grpc_port import client_of
from tests.support.rpc import OVER_HTTP, V1, V2, Content, Outcome
from tests.support.servers import shared_engines
from tests.support.wsgi import Echo
from tests.support.zitadel import ALL, JUNE, MY

ADD, LIST, REMOVE = "AddPersonalAccessToken", "ListPersonalAccessTokens", "RemovePersonalAccessToken"
GET = "GetPersonalAccessTokenByIDs"
MANY, FEW = "1000000/1", "2/30"
CALLERS: dict[str, dict[str, Any]] = {
    "alice": {"scope": [MY, "reports:read"]},
    "a reader": {"scope": ["idn:my-personal-access-tokens:read"]},
    "root": {"owner": Owner("root"), "scope": [ALL]},
    "few": {"owner": Owner("few"), "scope": [MY], "request_quota": FEW},
    "busy": {"owner": Owner("busy"), "scope": [MY]},
}
Send = Callable[..., Outcome]
Events = Callable[[], list[dict[str, Any]]]

# Service, method, message, and who calls. `$0`, `$1`... are the PATs that were made before, in their order.
Call = tuple[str, str, Content, str]
OF = {"userId": "alice"}
AFTER = {"timestamp": JUNE, "method": "TIMESTAMP_FILTER_METHOD_AFTER_OR_EQUALS"}
CALLS: list[Call] = [
    (V1, ADD, OF, "alice"),
    (V2, ADD, {**OF, "expirationDate": JUNE}, "alice"),
    (V1, ADD, {**OF, "expirationDate": "2030-06-01T00:00:00.120Z"}, "alice"),
    (V1, ADD, {"userId": "carol"}, "root"),
    (V2, ADD, {"userId": "carol", "expirationDate": JUNE}, "root"),
    (V2, ADD, OF, "alice"),  # one too many
    (V1, ADD, {"userId": "bob"}, "alice"),  # another's
    (V2, ADD, {**OF, "expirationDate": "2029-12-31T23:59:59Z"}, "alice"),  # in the past
    (V2, ADD, {"userId": "me"}, "alice"),
    (V1, GET, {**OF, "tokenId": "$1"}, "alice"),
    (V1, GET, {**OF, "tokenId": "0" * 32}, "alice"),
    (V1, GET, {**OF, "tokenId": "x"}, "alice"),
    (V1, GET, {"userId": "carol", "tokenId": "$3"}, "alice"),
    (V1, LIST, OF, "alice"),
    (V1, LIST, {**OF, "query": {"offset": "1", "limit": 1, "asc": True}}, "alice"),
    (V1, LIST, {**OF, "query": {"limit": 1001}}, "alice"),
    (V1, LIST, {"userId": "nobody"}, "root"),
    (V1, LIST, {"userId": "bob"}, "alice"),
    (V2, LIST, {}, "root"),
    (V2, LIST, {}, "alice"),  # all of the organisation
    (V2, LIST, {"filters": [{"userIdFilter": {"id": "alice"}}, {"expirationDateFilter": AFTER}]}, "alice"),
    (V2, LIST, {"filters": [{"tokenIdFilter": {"id": "$4"}}], "pagination": {"limit": 5}}, "root"),
    (V2, LIST, {"filters": [{}]}, "root"),
    (
        V2,
        LIST,
        {"sortingColumn": "PERSONAL_ACCESS_TOKEN_FIELD_NAME_CREATED_DATE", "pagination": {"asc": True}},
        "root",
    ),
    (V2, LIST, {"pagination": {"limit": 1001}}, "root"),
    (V2, REMOVE, {**OF, "tokenId": "$0"}, "alice"),
    (V2, REMOVE, {**OF, "tokenId": "$0"}, "alice"),  # again
    (V1, REMOVE, {**OF, "tokenId": "$1"}, "alice"),
    (V1, REMOVE, {"userId": "carol", "tokenId": "$3"}, "alice"),
    (V1, REMOVE, {"userId": "carol", "tokenId": "$3"}, "root"),
    (V2, REMOVE, {**OF, "tokenId": "x"}, "alice"),
    *((service, ADD, OF, who) for service in (V1, V2) for who in ("nobody", "a wrong secret", "a reader")),
    *((V1, LIST, {"userId": "few"}, "few") for _ in range(3)),  # the last is past its quota
    *((V2, ADD, {"userId": "busy"}, "busy") for _ in range(4)),  # the last is past its quota for making them
]


def played(authority: Authority, send: Send, events: Events, clock: Clock) -> list[tuple[Call, Any]]:
    """Play all calls in order, one each second; return what each came to, without ids and tokens."""
    clock.now = NOW
    callers = {}
    for who, given in CALLERS.items():
        clock.advance(1000)
        callers[who] = issue(authority, who, never_expires=True, **given)
    values: dict[str, str | None] = {who: "Bearer " + made.token for who, made in callers.items()}
    values["nobody"] = None
    values["a wrong secret"] = basic(callers["alice"].pat.id, wrong_secret(authority))
    made: list[str] = []
    found: list[tuple[Call, Any]] = []
    events()
    for call in CALLS:
        clock.advance(1000)
        service, method, content, who = call
        sent = json.loads(re.sub(r"\$(\d)", lambda label: made[int(label[1])], json.dumps(content)))
        outcome = send(service + method, sent, values[who])
        if outcome.code == 0 and method == ADD:
            made.append(outcome.content["tokenId"])
            assert authority.verify_bearer(outcome.content["token"]).pat_id == made[-1]
        quotas = {name: outcome.fields.get(name) for name in ("retry-after", "ratelimit", "ratelimit-policy")}
        told = [{name: fact for name, fact in one.items() if name != "requestId"} for one in events()]
        found.append((call, (outcome.code, outcome.content, quotas, told)))
    left = sorted((pat.owner.id, pat.expires_ms or 0, pat.name[:8]) for pat in authority.list())
    known = [*made, *(one.pat.id for one in callers.values())]
    return [(call, _labelled(result, known)) for call, result in found] + [(CALLS[-1], left)]


def _labelled(result: Any, known: list[str]) -> Any:
    text = re.sub(r"pat_[0-9a-f]{32}_[0-9A-Za-z]{49}", "a token", json.dumps(result))
    text = re.sub(r'"address": "[^"]*"', '"address": "?"', text)
    for number, pat_id in enumerate(known):
        text = text.replace(pat_id, f"PAT {number}").replace(pat_id[-8:], f"end {number}")
    return json.loads(text)


@contextmanager
def every_form(fresh: Make) -> Iterator[dict[str, tuple[Authority, Send]]]:
    """Yield an Authority with a store of its own for each form, and what sends calls to it."""
    settings = {"max_pats_per_owner": 5, "request_quota": MANY, "create_quota": "3/3600"}
    with ExitStack() as stack:
        found: dict[str, tuple[Authority, Send]] = {}
        for form, call in OVER_HTTP.items():
            authority = fresh(**settings)
            gate = PatAuthMiddleware(Echo(), authority, surfaces=["zitadel"])
            found[form] = authority, lambda *given, call=call, gate=gate: call(gate, *given)
        authority = fresh(**settings)
        found["gRPC"] = authority, stack.enter_context(client_of(authority))
        yield found


@shared_engines
def test_all_forms_have_the_same_effect_the_same_refusal_and_the_same_event(
    fresh: Make, events: Events, clock: Clock
) -> None:
    with every_form(fresh) as forms:
        first, *others = ((form, played(*place, events, clock)) for form, place in forms.items())
        codes = [result[0] for _, result in first[1][:-1]]
        assert set(codes) == {0, 3, 5, 7, 8, 9, 16}
        assert codes.count(0) > 15
        for form, outcomes in others:
            for (call, expected), (_, outcome) in zip(first[1], outcomes, strict=True):
                assert outcome == expected, (form, call)
