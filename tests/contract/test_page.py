"""The page for people: a secret is seen once, nothing is half done, and 10 000 PATs cost no more than 100."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from patauth import Authority, InvalidCredentials, Person
from patauth.store.owners import Owners
from patauth.store.pats import Pats
from patauth.store.transport import pool
from patauth.store.transport.protocol import Unanswered
from tests.support.authorities import ALICE, Make, basic, bearer, issue
from tests.support.clocks import Clock
from tests.support.interventions import Before, standing_in
from tests.support.rights import MY_MANAGE
from tests.support.servers import Server, binaries, commands_of, one_engine, shared_engines, until
from tests.support.tables import each
from tests.support.tenants import fill_owner, round_trips
from tests.support.threads import all_at_once
from tests.support.visitor import MANY, SCOPES, Alone, Page, Sent, Visitor

HOUR = 3_600_000
Events = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def authority(make: Make, clock: Clock) -> Authority:
    return make(clock=clock, **MANY)


@pytest.fixture
def alice(authority: Authority, clock: Clock) -> Visitor:
    return Visitor(Alone(authority, clock))


def passes(authority: Authority, value: str) -> bool:
    try:
        return bool(authority.authenticate(value))
    except InvalidCredentials:
        return False


# -- a secret is seen once -----------------------------------------------------------------------------------


def test_a_token_lives_from_its_form_to_its_end_and_its_secret_is_in_two_answers_alone(
    authority: Authority, alice: Visitor, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    answers: list[Page] = []

    def told(answer: Page) -> Page:
        answers.append(answer)
        return answer

    made = told(alice.send(told(alice.get("/new?name=ci")).form.with_(scope=SCOPES)))
    pat_id, token, secret = (made.secrets[name] for name in ("id", "token", "secret"))
    assert made.secrets == {"id": pat_id, "token": token, "secret": secret}
    assert authority.authenticate(bearer(token)).scopes == frozenset(SCOPES)
    assert passes(authority, basic(pat_id, secret))
    told(alice.get())
    turned = told(alice.send(told(alice.get(f"/{pat_id}/rotate")).form.with_(overlap="day")))
    new = turned.secrets["token"]
    assert passes(authority, bearer(new))
    assert passes(authority, bearer(token))
    assert [time["datetime"] for time in turned.read.all("time")] == ["2030-01-02T00:00Z"]
    clock.advance(24 * HOUR)
    assert (passes(authority, bearer(new)), passes(authority, bearer(token))) == (True, False)
    for action, works in (("disable", False), ("enable", True), ("revoke", False)):
        moved = told(alice.send(told(alice.get(f"/{pat_id}/{action}")).form))
        assert moved.status == 303
        told(alice.get(moved.response.headers["Location"]))
        assert passes(authority, bearer(new)) == works
    told(alice.send(told(alice.get("/new")).form.with_(name="")))
    secrets = [token, secret, turned.secrets["secret"], new]
    for answer in answers:
        shown = [one for one in secrets if one in answer.text]
        assert len(shown) == (2 if answer.secrets else 0)
        read = answer.read
        assert not [
            one for one in secrets if one in str(answer.response.headers) + read.title + str(read.values())
        ]
        assert answer.response.headers["Cache-Control"] == "no-store"
    assert len([answer for answer in answers if answer.secrets]) == 2
    kinds = [json.loads(one.getMessage())["type"] for one in caplog.records if one.name == "patauth.audit"]
    assert [kind for kind in kinds if kind.startswith("pat.")] == [
        "pat.created", "pat.rotated", "pat.disabled", "pat.enabled", "pat.revoked",
    ]  # fmt: skip
    assert not [one for one in secrets if one in caplog.text]


Then = Callable[[Authority, Visitor, str], object]
THEN: dict[str, Then] = {
    "nothing": lambda *_: None,
    "renamed": lambda authority, _, pat_id: authority.update(pat_id, name="renamed"),
    "rotated": lambda authority, _, pat_id: authority.rotate(pat_id),
    "disabled": lambda authority, _, pat_id: authority.disable(pat_id),
    "revoked": lambda authority, _, pat_id: authority.delete(pat_id),
    "another of that name": lambda authority, alice, pat_id: (
        authority.update(pat_id, name="renamed"),
        issue(authority, "ci"),
    ),
}
OTHER: dict[str, dict[str, Any]] = {
    "another name": {"name": "other"},
    "another scope": {"scope": SCOPES[1]},
    "another description": {"description": "of something else"},
    "what would be refused": {"name": "", "scope": [], "networks": "x"},
}


@shared_engines
@each("then", THEN)
def test_a_form_that_is_sent_again_makes_nothing_and_shows_no_secret(
    fresh: Make, clock: Clock, then: str
) -> None:
    authority = fresh(**MANY)
    alice = Visitor(Alone(authority, clock))
    form = alice.new()
    made = alice.send(form)
    pat_id = made.secrets["id"]
    THEN[then](authority, alice, pat_id)
    before = authority.list()
    was_renamed = "name" in then
    again = alice.send(form)
    assert (again.status, again.secrets) == (409, {})
    if was_renamed:  # then nothing says that it is the same
        assert again.problem.startswith("From this form, “ renamed ” was made already.")
    else:
        assert again.problem.startswith("This token was made already, and its secret was shown then.")
        links = {tag["href"].removeprefix(alice.base) for tag in again.read.all("a")}
        assert ("/new" in links, f"/{pat_id}/rotate" in links) == (True, then != "revoked")
    assert authority.list() == before


@shared_engines
@each("what", OTHER)
def test_a_form_that_made_a_token_and_says_something_else_now_is_a_new_form(
    fresh: Make, clock: Clock, what: str
) -> None:
    """Somebody went back from the secret, and typed the next one."""
    authority = fresh(**MANY)
    alice = Visitor(Alone(authority, clock))
    form = alice.new()
    alice.send(form)
    typed = form.with_(**OTHER[what])
    again = alice.send(typed)
    assert (again.status, again.secrets) == (409, {})
    assert again.problem.startswith(
        "From this form, “ ci ” was made already. Something else stands in it now"
    )
    for field in ("name", "description", "networks", "expires_in"):
        assert again.form.fields[field] == typed.fields[field]
    assert again.form.fields["form_key"] != form.fields["form_key"]
    assert len(authority.list()) == 1
    done = alice.send(again.form.with_(name="second", scope=SCOPES, networks=""))
    assert done.status == 200
    assert len(authority.list()) == 2


@shared_engines
def test_a_form_belongs_to_the_person_who_sends_it(authority: Authority, alice: Visitor) -> None:
    """Who learns the key of a form of another's makes a token of their own, and learns nothing."""
    form = alice.new()
    made = alice.send(form)
    bob = Visitor(alice.app, "bob")
    his = bob.send(bob.new("his", form_key=form.fields["form_key"]))
    assert (his.status, his.secrets["id"] != made.secrets["id"]) == (200, True)
    assert [pat.owner.id for pat in authority.list()].count("bob") == 1


def test_a_form_that_was_refused_makes_one_token_once_it_is_right(
    authority: Authority, alice: Visitor
) -> None:
    issue(authority, "taken")
    refused = alice.send(alice.new("taken"))
    assert refused.status == 409
    first, second = (alice.send(refused.form.with_(name=name)) for name in ("free", "free too"))
    assert (first.status, second.status) == (200, 409)
    assert sorted(pat.name for pat in authority.list()) == ["free", "taken"]


def test_a_form_that_is_sent_several_times_at_once_makes_one_token(
    authority: Authority, alice: Visitor, events: Events
) -> None:
    form = alice.new()
    events()
    answers = all_at_once([lambda: alice.send(form)] * 6)
    assert sorted(answer.status for answer in answers) == [200, 409, 409, 409, 409, 409]
    (made,) = [answer for answer in answers if answer.secrets]
    assert [event["type"] for event in events()] == ["pat.created"]
    assert [pat.id for pat in authority.list()] == [made.secrets["id"]]
    assert passes(authority, bearer(made.secrets["token"]))


def test_a_rotation_that_is_sent_again_or_at_once_happens_once_and_both_secrets_work(
    authority: Authority, alice: Visitor, events: Events
) -> None:
    old = issue(authority)
    form = alice.get(f"/{old.pat.id}/rotate").form
    events()
    answers = [*all_at_once([lambda: alice.send(form)] * 4), alice.send(form)]
    assert sorted(answer.status for answer in answers) == [200, 409, 409, 409, 409]
    (turned,) = [answer for answer in answers if answer.secrets]
    for answer in answers:
        if answer is not turned:
            assert answer.problem.startswith("This token was changed in the meantime")
            assert answer.form.fields["sequence"] == ["2"]
    assert [event["type"] for event in events()] == ["pat.rotated"]
    for token in (old.token, turned.secrets["token"]):
        assert passes(authority, bearer(token))


def test_of_two_changes_at_once_one_is_made_and_the_other_is_asked_again(
    authority: Authority, alice: Visitor
) -> None:
    pat_id = issue(authority).pat.id
    form = alice.get(f"/{pat_id}/edit").form
    answers = all_at_once(
        [lambda name=name: alice.send(form.with_(name=name)) for name in ("one", "two", "three")]
    )
    assert sorted(answer.status for answer in answers) == [303, 409, 409]
    name = authority.get(pat_id).name
    for answer in answers:
        assert answer.status == 303 or answer.form.fields["name"] == [name]


# -- the store goes down between two steps -------------------------------------------------------------------

DOWN = "The store of tokens cannot be reached at the moment. Nothing was read. Try again soon."
NOTHING = "The store of tokens cannot do this at the moment. Nothing was done. Send this again soon."
AGAIN_LATER = "The store of tokens did not answer in time. Send this again: it is never made twice."
UNKNOWN = (
    "The store of tokens did not answer in time, so it is not known whether this was done."
    " Look at the list before you try again."
)


@pytest.fixture(scope="module")
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that a test may end; what it had is there when it begins again."""
    server = Server(binaries()["valkey"], tmp_path_factory.mktemp("own"), "--maxmemory-policy", "noeviction")
    yield server
    server.stop()


@pytest.fixture
def shaky(make_at: Make, own_server: Server, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Authority:
    monkeypatch.setattr(pool, "BREAKER_PAUSE", 0.01)
    return make_at(url=own_server.url, clock=clock, **MANY)


ACTIONS = ("edit", "rotate", "disable", "enable", "revoke")
TYPED = {"edit": {"description": "typed"}, "revoke": {"reason": "lost"}, "rotate": {"overlap": "day"}}
Step = tuple[type, str]
BEFORE: dict[str, tuple[Step, ...]] = {
    "make": ((Owners, "charge_request"), (Owners, "charge_creation"), (Pats, "create")),
    "edit": ((Owners, "charge_request"), (Pats, "read"), (Pats, "update")),
    "rotate": ((Pats, "read"), (Pats, "update")),
    "disable": ((Pats, "update"),),
    "enable": ((Pats, "update"),),
    "revoke": ((Owners, "charge_request"), (Pats, "read"), (Pats, "delete")),
}


def form_of(alice: Visitor, what: str, pat_id: str, name: str) -> Sent:
    if what == "make":
        return alice.new(name, description="typed")
    return alice.get(f"/{pat_id}/{what}").form.with_(**TYPED.get(what, {}))


@each("what, step", [(what, step) for what, steps in BEFORE.items() for step in steps])
def test_a_store_that_goes_down_between_two_steps_leaves_nothing_half_done_and_the_page_says_so(
    shaky: Authority, own_server: Server, clock: Clock, what: str, step: Step
) -> None:
    alice = Visitor(Alone(shaky, clock))
    label = f"{what} {step[1]}"
    pat = issue(shaky, label).pat
    if what == "enable":
        alice.send(alice.get(f"/{pat.id}/disable").form)
    form = (
        alice.new("new " + label, description="typed")
        if what == "make"
        else alice.get(f"/{pat.id}/{what}").form
    )
    form = form.with_(**TYPED.get(what, {}))
    before = shaky.list()
    with Before(*step, own_server.kill) as place:
        answer = alice.send(form)
    assert place.count
    try:
        assert (answer.status, answer.secrets) == (503, {})
        assert int(answer.response.headers["Retry-After"]) >= 1
        # What finds no connection has sent nothing.
        sent_it = (AGAIN_LATER if what == "make" else UNKNOWN,) if step == BEFORE[what][-1] else ()
        assert answer.problem.startswith((NOTHING, *sent_it))
        sent = {name: value for name, value in form.fields.items() if name != "csrf_token"}
        assert sent.items() <= answer.form.fields.items()
        if step == (Owners, "charge_request"):
            for path in ("", f"/{pat.id}/{'edit' if what == 'make' else what}"):
                shown = alice.get(path)
                assert (shown.status, shown.problem.startswith(DOWN), shown.forms) == (503, True, [])
    finally:
        own_server.start()
    until(lambda: alice.get().status == 200)  # after failures it waits a moment
    assert shaky.list() == before
    done = alice.send(answer.form if what == "make" else form)
    assert done.status == (200 if what in ("make", "rotate") else 303), done.problem
    assert len(shaky.list()) == len(before) + {"make": 1, "revoke": -1}.get(what, 0)


@one_engine
@each("what", ["make", *ACTIONS])
def test_an_answer_of_the_store_that_is_lost_is_told_as_unknown_and_sent_again_is_done_once(
    authority: Authority, clock: Clock, what: str
) -> None:
    alice = Visitor(Alone(authority, clock))
    old = issue(authority, what)
    if what == "enable":
        alice.send(alice.get(f"/{old.pat.id}/disable").form)
    form = form_of(alice, what, old.pat.id, "new " + what)

    def lost(real: Callable[..., Any], *given: Any, **named: Any) -> Any:
        real(*given, **named)
        raise Unanswered(detail="the answer was lost")

    method = {"make": "create", "revoke": "delete"}.get(what, "update")
    with standing_in(Pats, method, lost):
        answer = alice.send(form)
    assert (answer.status, answer.secrets) == (503, {})
    assert answer.problem.startswith(NOTHING if what == "make" else UNKNOWN)
    again = alice.send(form)
    found = {pat.name: pat for pat in authority.list()}
    if what in ("make", "rotate"):  # what nobody has seen the secret of was taken back
        assert again.status == 200
        assert passes(authority, bearer(again.secrets["token"]))
        assert passes(authority, bearer(old.token))
        assert [name for name in found if name == "new " + what] == ["new make"] * (what == "make")
    elif what == "revoke":
        assert (again.status, what in found) == (404, False)
    elif what == "edit":
        assert again.status == 409
        assert again.problem.startswith("This token was changed in the meantime")
    else:
        assert again.status == 303
        assert found[what].state == ("disabled" if what == "disable" else "active")


@one_engine
def test_a_token_that_may_have_been_made_is_not_made_twice_by_the_form_that_says_so(
    authority: Authority, clock: Clock
) -> None:
    alice = Visitor(Alone(authority, clock))

    def lost(real: Callable[..., Any], *given: Any, **named: Any) -> Any:
        raise Unanswered(detail="the answer was lost")

    with standing_in(Pats, "create", lost), standing_in(Pats, "read", lost):
        answer = alice.send(alice.new())
    assert (answer.status, answer.problem.startswith(AGAIN_LATER)) == (503, True)
    assert alice.send(answer.form).status == 200
    assert len(authority.list()) == 1


@one_engine
def test_a_rotation_that_may_have_happened_does_not_happen_twice_by_the_form_that_says_so(
    authority: Authority, clock: Clock
) -> None:
    """Else the secret that programs have would end, and nobody has seen the one that took its place."""
    alice = Visitor(Alone(authority, clock))
    old = issue(authority)
    calls: list[str] = []

    def lost(real: Callable[..., Any], *given: Any, **named: Any) -> Any:
        if not calls:
            real(*given, **named)
        calls.append("once; it is not known, and not taken back")
        raise Unanswered(detail="the answer was lost")

    with standing_in(Pats, "update", lost):
        answer = alice.send(alice.get(f"/{old.pat.id}/rotate").form.with_(overlap="day"))
    assert (answer.status, answer.form.fields["overlap"]) == (503, ["day"])
    assert answer.problem.startswith(UNKNOWN)
    again = alice.send(answer.form)
    assert (again.status, again.problem.startswith("This token was changed in the meantime")) == (409, True)
    assert passes(authority, bearer(old.token))
    turned = alice.send(again.form)  # what the person has decided after they have read this
    assert passes(authority, bearer(turned.secrets["token"]))


def test_a_full_memory_lets_people_see_disable_and_revoke_their_tokens_and_nothing_else(
    shaky: Authority, own_server: Server, clock: Clock
) -> None:
    alice = Visitor(Alone(shaky, clock))
    lost, paused = issue(shaky, "lost"), issue(shaky, "paused")
    new = alice.new()
    forms = {one: alice.get(f"/{paused.pat.id}/{one}").form for one in ("edit", "rotate", "enable")}
    own_server.client().config_set("maxmemory", 1)
    try:
        assert alice.get().status == 200
        assert alice.get("/new").status == 503
        for form in (new, *forms.values()):
            refused = alice.send(form)
            assert (refused.status, refused.problem.startswith(NOTHING)) == (503, True)
            assert "If you report this, give this number" in refused.problem
        assert alice.send(alice.get(f"/{lost.pat.id}/revoke").form.with_(reason="lost")).status == 303
        assert alice.send(alice.get(f"/{paused.pat.id}/disable").form).status == 303
    finally:
        own_server.client().config_set("maxmemory", 0)
    assert [pat.name for pat in shaky.list(owner_id="alice") if pat.state == "active"] == []
    assert not passes(shaky, bearer(lost.token))


# -- cost ----------------------------------------------------------------------------------------------------


@shared_engines
def test_the_first_page_of_10_000_takes_three_round_trips_and_as_many_commands_as_that_of_100(
    make: Make, clock: Clock, servers: dict[str, Server], engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands, trips = [], []
    for count in (100, 10_000):
        authority = make(clock=clock, **MANY | {"tenant": f"of-{count}", "max_pats_per_owner": 100_000})
        fill_owner(authority, count)
        alice = Visitor(Alone(authority, clock, identify=in_tenant(f"of-{count}")))
        shown = alice.get()
        assert (shown.status, shown.text.count("<tr><th><bdi>")) == (200, 50)
        assert f"{count} of 100000 used" in "".join(shown.read.texts)
        commands.append(commands_of(servers[engine], alice.get))
        seen = round_trips(authority, monkeypatch)
        alice.get()
        trips.append(len(seen))
    assert trips == [3, 3]
    assert commands[0] == commands[1]


def test_the_whole_page_of_50_tokens_weighs_at_most_40_kb(
    authority: Authority, alice: Visitor, clock: Clock
) -> None:
    """A third was used today, a third earlier, and a third never. The assets come compressed."""
    for number in range(60):
        issued = issue(authority, f"a name of 20 char {number:02}", scope=SCOPES)
        if number % 3:
            authority.authenticate(bearer(issued.token))
        if number == 30:
            clock.advance(24 * HOUR)
    shown = alice.get()
    read = shown.read
    paths = [tag["href"] for tag in read.all("link")] + [tag["src"] for tag in read.all("script")]
    answers = {path: alice.get(path, HTTP_ACCEPT_ENCODING="gzip") for path in ["", *paths]}
    weights = {path: len(answer.response.data) for path, answer in answers.items()}
    assert len(weights) == 4
    assert sum(weights.values()) <= 40_000, weights


def in_tenant(tenant: str) -> Callable[[object], Person]:
    return lambda _: Person(ALICE, [*SCOPES, MY_MANAGE], tenant)
