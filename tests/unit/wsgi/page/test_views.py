"""What people see: each text is text, each error stands at its field, and nobody gets more than they hold."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from patauth import Authority, Owner, Person
from patauth.model.dates import DAY, format_ms
from patauth.wsgi import page
from patauth.wsgi.page.texts import Languages
from tests.support.authorities import ALICE, Make, basic_of, issue
from tests.support.clocks import NOW, Clock
from tests.support.rights import ALL_MANAGE, MY_MANAGE
from tests.support.tables import each
from tests.support.visitor import MANY, PEOPLE, SCOPES, Alone, Page, Sent, Visitor, by_cookie

TEXTS = Languages([Path(page.__file__).parent / "texts"])


@pytest.fixture
def authority(make: Make, clock: Clock) -> Authority:
    return make(clock=clock, **MANY)


@pytest.fixture
def alice(authority: Authority, clock: Clock) -> Visitor:
    return Visitor(Alone(authority, clock))


# -- texts are texts -----------------------------------------------------------------------------------------

HOSTILE = [
    '<script>alert(1)</script>"><b onfocus=alert(1) autofocus x="',
    "' onfocus='alert(1)' x=' ` onfocus=alert(1) x=`",
    "</title></textarea></option></code><h1><!-- --> <![CDATA[ ]]> <?php ?>",
    "&lt;b&gt; &amp;quot; &#39; &nbsp javascript:alert(1)",
    "{secret} {name} {0} {name.__class__} {{ 7*7 }} {% include 'base.html' %} {# #} %s %(name)s ${TOKEN}",
    "\u200f\u05d0\u05d1\u061c\u200e abc \ufffd\ufeff\u200b\u00ad.",  # overrides of direction are no names
    "\u1ecd\u0308" * 64,
    "\U0001d54f" * 128,
]


def all_pages(fresh: Make, clock: Clock, text: str) -> dict[str, Page]:
    """Each page, with a text wherever people or applications may write one."""
    words = {"a:<b>'&{x}": text, "c": text}
    owner = Owner("alice", name=text)
    authority = fresh(scopes=words, **MANY)
    visitor = Visitor(Alone(authority, clock, identify=lambda _: Person(owner, [*words, MY_MANAGE])))
    given: dict[str, Any] = {"owner": owner, "scope": list(words), "description": text}
    made = issue(
        authority, text, **given, expires_in=timedelta(days=3), networks=["203.0.113.0/24", "2001:db8::/32"]
    )
    authority.authenticate(basic_of(made), address="203.0.113.9")
    at = f"/{made.pat.id}"
    pages = {
        "list": visitor.get(
            "?q=" + quote(text) + "&lang=" + quote(text) + "&" + quote(text) + "=" + quote(text)
        ),
        "link": visitor.get(f"/new?name={quote(text)}&scope={quote(text)}&expires_in={quote(text)}"),
        **{one: visitor.get(f"{at}/{one}") for one in ("edit", "rotate", "disable", "enable", "revoke")},
        "rotated": visitor.send(visitor.get(at + "/rotate").form),
        "changed": visitor.get("?changed=" + made.pat.id),
        "no reason": visitor.send(visitor.get(at + "/revoke").form.with_(reason=text + "\x00" + text)),
        "none": visitor.get(f"/{'0' * 32}/edit?x=" + quote(text)),
    }
    assert visitor.send(visitor.get(at + "/revoke").form.with_(reason=text)).status == 303
    pages["revoked"] = visitor.get("?show=revoked&sort=name")
    pages["made"] = visitor.send(visitor.new(text, list(words)))
    return pages


def test_what_people_and_applications_write_is_text_on_every_page_and_never_markup(
    fresh: Make, clock: Clock
) -> None:
    usual = all_pages(fresh, clock, "plain")
    expected = {
        "list": 5, "edit": 6, "rotate": 3, "disable": 3, "enable": 3, "revoke": 3, "link": 4, "rotated": 2,
        "changed": 4, "no reason": 3, "none": 1, "revoked": 4, "made": 2,
    }  # fmt: skip
    for text in HOSTILE:
        for name, shown in all_pages(fresh, clock, text).items():
            assert shown.status == usual[name].status, (text, name)
            read, plain = shown.read, usual[name].read
            assert read.parts == plain.parts, (text, name)
            found = sum(text in one for one in [*read.texts, *read.values()])
            assert found >= expected[name], (text, name)


def test_what_was_typed_is_shown_again_as_it_was_typed(alice: Visitor) -> None:
    fields = ("name", "description", "networks", "expires_at", "form_key")
    plain = alice.send(alice.new(**dict.fromkeys([*fields, "expires_in"], "plain"), scope=SCOPES)).read.parts
    for text in [*HOSTILE, "\x00\x01\x1b[31m\x7f\x85", "\u202eabc\u2066", "a\nb\r\nc", "\ud7ff\ue000\uffff"]:
        answer = alice.send(alice.new(**dict.fromkeys(fields, text), expires_in=text, scope=[text, *SCOPES]))
        assert answer.status == 400
        assert answer.read.parts == plain
        typed = answer.form.fields
        assert {name: typed[name] for name in fields} == {name: [text] for name in fields}, text
        assert typed["scope"] == list(SCOPES)
    pat_id = alice.send(alice.new("to change")).secrets["id"]
    form = alice.get(f"/{pat_id}/edit").form
    for text in HOSTILE:
        answer = alice.send(form.with_(networks=text, description=text * 3, sequence=text, expires_at=text))
        assert answer.status == 400
        for name in ("networks", "sequence", "expires_at"):
            assert answer.form.fields[name] == [text]


@each(
    "text", ["\r\nSet-Cookie: x=1", "\nx", "\x00", "é", "//evil.example", "https://evil.example/", "%0d%0a"]
)
def test_nothing_of_a_url_gets_into_a_field_of_an_answer(
    authority: Authority, alice: Visitor, text: str
) -> None:
    pat_id = issue(authority).pat.id
    form = alice.get(f"/{pat_id}/disable").form
    for name in ("lang", "changed", "next"):
        answer = alice.ask("POST", form.action + f"?{name}={quote(text)}", data=form.fields)
        location = answer.response.headers["Location"]
        assert location == f"{alice.base}?changed={pat_id}&done=disable"
        assert len(answer.response.headers.getlist("Set-Cookie")) == 0
        assert alice.get(location).status == 200
    authority.delete(pat_id)


def test_networks_and_the_place_of_the_last_use_are_shown(authority: Authority, alice: Visitor) -> None:
    issued = issue(authority, networks=["203.0.113.0/24", "2001:db8::/32"])
    authority.authenticate(basic_of(issued), address="2001:db8::9")
    text = " ".join(alice.get().read.texts)
    assert "203.0.113.0/24, 2001:db8::/32" in text
    assert "from  2001:db8::9" in text


# -- errors --------------------------------------------------------------------------------------------------

TOMORROW = format_ms(NOW + DAY)[:10]
# What is wrong with a form, its status, the field, and the text.
WRONG_NEW: list[tuple[dict[str, Any], int, str, str]] = [
    ({"name": ""}, 400, "name", "name"),
    ({"name": "  "}, 400, "name", "name"),
    ({"name": "x" * 129}, 400, "name", "name"),
    ({"name": "a\x00"}, 400, "name", "name"),
    ({"name": "\u202egnp"}, 400, "name", "name"),
    ({"name": []}, 400, "name", "name"),
    ({"name": "taken"}, 409, "name", "name_taken"),
    ({"description": "x" * 257}, 400, "description", "description"),
    ({"description": "a\nb"}, 400, "description", "description"),
    ({"scope": []}, 400, "scope", "scope"),
    ({"scope": ["not:held"]}, 400, "scope", "scope"),
    ({"scope": ["reports:read", "admin"]}, 400, "scope", "scope"),
    ({"scope": ["sp:scopes:all"]}, 400, "scope", "scope"),
    ({"scope": ["idn:all-personal-access-tokens:manage"]}, 400, "scope", "scope"),
    ({"scope": [""]}, 400, "scope", "scope"),
    ({"scope": ["reports:read reports:write"]}, 400, "scope", "scope"),
    ({"scope": ["x" * 129]}, 400, "scope", "scope"),
    ({"scope": [f"s{number}" for number in range(257)]}, 400, "scope", "scope"),
    ({"expires_in": []}, 400, "expires_in", "expiry"),
    ({"expires_in": "soon"}, 400, "expires_in", "expiry"),
    ({"expires_in": "0d"}, 400, "expires_in", "expiry"),
    ({"expires_in": "-1d"}, 400, "expires_in", "expiry"),
    ({"expires_in": "91d"}, 400, "expires_in", "expiry"),
    ({"expires_in": "9" * 400 + "d"}, 400, "expires_in", "expiry"),
    ({"expires_in": "1e9d"}, 400, "expires_in", "expiry"),
    ({"expires_in": "keep"}, 400, "expires_in", "expiry"),
    ({"expires_in": "never"}, 400, "expires_in", "expiry"),
    ({"expires_in": "never", "never_acknowledged": "yes"}, 400, "expires_in", "expiry"),
    ({"expires_in": "custom"}, 400, "expires_in", "expiry"),
    ({"expires_in": "custom", "expires_at": "2029-12-31"}, 400, "expires_in", "expiry"),
    ({"expires_in": "custom", "expires_at": "2030-04-02"}, 400, "expires_in", "expiry"),
    ({"expires_in": "custom", "expires_at": "9999-12-31"}, 400, "expires_in", "expiry"),
    ({"expires_in": "custom", "expires_at": "0000-00-00"}, 400, "expires_in", "expiry"),
    ({"networks": "anywhere"}, 400, "networks", "network"),
    ({"networks": "192.0.2.1, 203.0.113.0/33"}, 400, "networks", "network"),
    ({"networks": " ".join(f"203.0.113.{number}" for number in range(33))}, 400, "networks", "networks"),
]
WRONG_CHANGE: dict[str, list[tuple[dict[str, Any], int, str, str]]] = {
    "edit": [
        row for row in WRONG_NEW if row[0] not in ({"expires_in": "keep"}, {"expires_in": "never"})
    ],
    "rotate": [
        ({"overlap": "year"}, 400, "overlap", "overlap"),
        ({"overlap": []}, 400, "overlap", "overlap"),
    ],
    "revoke": [
        ({"reason": "x" * 257}, 400, "reason", "reason"),
        ({"reason": "a\x1b[0m"}, 400, "reason", "reason"),
    ],
}  # fmt: skip


@pytest.fixture
def limited(make: Make, clock: Clock) -> Authority:
    """PATs live at most 90 days here."""
    return make(clock=clock, max_lifetime=90 * 86400, **MANY)


def test_all_that_is_wrong_with_a_form_is_said_at_once(limited: Authority, clock: Clock) -> None:
    visitor = Visitor(Alone(limited, clock))
    given = {"name": "", "scope": [], "expires_in": "custom", "networks": "10.0.0.0/33"}
    refused = visitor.send(visitor.new().with_(**given))
    assert (refused.status, set(refused.wrong)) == (400, {"name", "scope", "expires_in", "networks"})
    links = [tag["href"] for tag in refused.read.all("a") if tag["href"].startswith("#")]
    assert sorted(links) == sorted(["#main", "#name", "#scope", "#expires_in", "#networks"])


def check_wrong(answer: Page, row: tuple[dict[str, Any], int, str, str], locale: str) -> None:
    given, status, field, text = row
    words = TEXTS.of(locale, None)
    assert (answer.status, answer.wrong) == (status, [field]), given
    assert answer.read.all("html")[0]["lang"] == locale
    said = words(
        "error." + text, value=given.get("networks", "").split(", ")[-1] if text == "network" else ""
    )
    assert "".join(answer.problem.split()) == "".join((words("error.summary") + said).split())
    assert [tag["href"] for tag in answer.read.all("a") if tag["href"] == "#" + field] == ["#" + field]
    (place,) = [tag.attributes for tag in answer.read.tags if tag.attributes.get("id") == field]
    ids = {tag.attributes.get("id") for tag in answer.read.tags}
    assert set(place["aria-describedby"].split()) <= ids
    assert f"{field}-wrong" in place["aria-describedby"].split()
    assert not answer.secrets


@each("locale", TEXTS.locales)
def test_each_error_stands_at_its_field_in_each_language_and_what_was_typed_stays(
    limited: Authority, clock: Clock, locale: str
) -> None:
    visitor = Visitor(Alone(limited, clock))
    pat_id = next((pat.id for pat in limited.list()), None) or issue(limited, "taken").pat.id
    other = issue(limited, f"other {locale}").pat
    before = limited.list()
    # All errors in English, and one of each text in the other languages.
    seen: set[tuple[str, str]] = set()
    forms = {"new": visitor.get(f"/new?lang={locale}").form.with_(name="free", scope=SCOPES[:1])}
    forms |= {one: visitor.get(f"/{other.id}/{one}?lang={locale}").form for one in WRONG_CHANGE}
    for name, rows in {"new": WRONG_NEW, **WRONG_CHANGE}.items():
        for row in rows:
            if locale != "en" and (name, row[3]) in seen:
                continue
            seen.add((name, row[3]))
            answer = visitor.send(forms[name].with_(**row[0]))
            check_wrong(answer, row, locale)
            sent, typed = forms[name].with_(**row[0]).fields, answer.form.fields
            for field in {"name", "description", "networks", "expires_at", "reason"} & set(sent):
                assert typed.get(field) == (sent[field] or [""]), (row, field)
    assert limited.list() == before
    assert pat_id != other.id


def test_a_token_where_people_read_it_is_refused_at_its_field_and_goes_into_no_link(
    authority: Authority, alice: Visitor
) -> None:
    made = issue(authority, "held")
    for secret in (made.token, made.secret):
        for field in ("name", "description"):
            answer = alice.send(alice.new().with_(**{field: f"my {secret}"}))
            assert (answer.status, answer.wrong) == (400, [field])
            assert answer.problem.startswith("Please correct this This holds a secret")
        revoke = alice.get(f"/{made.pat.id}/revoke").form.with_(reason=secret)
        assert (alice.send(revoke).status, alice.send(revoke).wrong) == (400, ["reason"])
        for path in ("?q=", "?page=2&q=", "/new?name=", "?lang=de&x="):
            shown = alice.get(path + secret)
            assert (shown.status, secret in shown.text) == (200, False)
        assert rows(alice.get("?q=" + secret)) == ["held"]
    assert [pat.name for pat in authority.list()] == ["held"]


def test_a_language_that_there_is_not_is_in_no_link(alice: Visitor) -> None:
    assert "lang=x" not in alice.get("?lang=" + "x" * 5000).text
    assert "?lang=pt-BR" in alice.get("/new?lang=PT-br").form.action


@each(
    "quota, seconds, words",
    [
        ("person", 119, "Too many requests. Try again in 119 s."),
        ("person", 120, "Too many requests. Try again in 2 min."),
        ("person", 121, "Too many requests. Try again in 3 min."),
        ("create", 3600, "You have made many tokens. You can make another in 60 min."),
        ("create", 86_400, "You have made many tokens. You can make another in 24 h."),
    ],
)
def test_a_wait_is_told_in_a_unit_that_fits_it(
    fresh: Make, clock: Clock, quota: str, seconds: int, words: str
) -> None:
    limits = {"person_quota": "3/1", "create_quota": "3/1", f"{quota}_quota": f"1/{seconds}"}
    authority = fresh(**{**MANY, **limits})
    alice, other = (Visitor(Alone(authority, clock), who) for who in ("alice", "bob"))
    if quota == "person":
        assert alice.get().status == 200
        assert alice.get().problem == words
    else:
        issue(authority, "one")
        form = alice.new("two")
        assert alice.send(form).status == 200
        clock.advance(1000)
        assert alice.send(alice.new("three")).problem == words
    assert other.get().status == 200


def test_who_can_make_no_token_now_is_told_and_gets_no_form(fresh: Make, clock: Clock) -> None:
    authority = fresh(**{**MANY, "max_pats_per_owner": 1})
    alice = Visitor(Alone(authority, clock))
    assert alice.get("/new").forms
    issue(authority)
    shown = alice.get("/new?lang=de")
    assert (shown.status, shown.forms, TEXTS.of("de", None)("list.full") in shown.text) == (200, [], True)
    authority.disable_owner("alice")
    shown = alice.get("/new")
    assert (shown.forms, "All your tokens are disabled" in shown.text) == ([], True)


def test_a_disabled_owner_is_offered_what_is_not_refused_and_told_why_the_rest_is(
    authority: Authority, alice: Visitor
) -> None:
    pat_id = issue(authority, expires_in=timedelta(days=3)).pat.id
    rotate, new = alice.get(f"/{pat_id}/rotate").form, alice.new("second")
    authority.disable_owner("alice")
    links = [tag["href"] for tag in alice.get().read.all("a") if pat_id in tag["href"]]
    offered = [f"{alice.base}/{pat_id}/{one}" for one in ("edit", "revoke")]
    assert links == offered
    for one in (new, rotate):
        answer = alice.send(one)
        assert answer.status == 403
        assert answer.problem.startswith("All your tokens are disabled, so none gets a new secret.")
    assert alice.send(alice.get(offered[0]).form.with_(expires_in="90d")).status == 303


def test_a_token_that_never_expires_is_confirmed(authority: Authority, alice: Visitor) -> None:
    form = alice.new(expires_in="never")
    answer = alice.send(form)
    assert (answer.status, answer.wrong) == (400, ["never_acknowledged"])
    assert answer.problem == "Please correct this Confirm that the token never expires."
    assert alice.send(answer.form.with_(never_acknowledged="yes")).status == 200
    assert authority.list()[0].expires_ms is None


def test_what_concerns_the_whole_form_stands_above_it(make: Make, clock: Clock) -> None:
    authority = make(clock=clock, max_pats_per_owner=1)
    visitor = Visitor(Alone(authority, clock))
    form, second = visitor.new("one"), visitor.new("two")
    made = visitor.send(form)
    assert made.status == 200
    full = visitor.send(second)
    assert (full.status, full.wrong, full.form.fields["name"]) == (409, [], ["two"])
    assert full.problem == "You have as many tokens as are allowed. Revoke one first."
    listed = visitor.get()
    assert "1 of 1 used" in "".join(listed.read.texts)
    assert not [tag for tag in listed.read.all("a") if tag["href"].endswith("/new")]
    broken = visitor.send(second.with_(form_key="short"))
    assert (broken.status, broken.wrong) == (400, [])
    assert broken.problem.startswith("This was not done")
    pat_id = made.secrets["id"]
    stale = visitor.get(f"/{pat_id}/edit").form
    authority.update(pat_id, name="renamed")
    changed = visitor.send(stale.with_(description="mine"))
    assert (changed.status, changed.form.fields["name"], changed.form.fields["description"]) == (
        409,
        ["renamed"],
        [""],
    )
    assert changed.problem.startswith("This token was changed in the meantime")
    assert visitor.send(changed.form.with_(description="mine")).status == 303
    assert authority.get(pat_id).description == "mine"


def test_what_has_expired_is_shown_and_can_only_be_revoked(
    authority: Authority, alice: Visitor, clock: Clock
) -> None:
    pat_id = issue(authority, expires_in=timedelta(hours=1)).pat.id
    paused = issue(authority, "paused", expires_in=timedelta(hours=1)).pat.id
    authority.disable(paused)
    forms = {one: alice.get(f"/{pat_id}/{one}").form for one in ("edit", "rotate", "disable", "enable")}
    clock.advance(3_600_000)
    links = [
        tag["href"] for tag in alice.get().read.all("a") if pat_id in tag["href"] or paused in tag["href"]
    ]
    assert sorted(links) == sorted(f"{alice.base}/{one}/revoke" for one in (pat_id, paused))
    for form in forms.values():
        answer = alice.send(form.with_(name="x") if "name" in form.fields else form)
        assert (answer.status, "has expired" in answer.problem) == (400, True)
    assert alice.send(alice.get(f"/{pat_id}/revoke").form).status == 303


# -- nobody gets more than they hold -------------------------------------------------------------------------


def test_the_form_offers_what_the_person_holds_and_takes_nothing_else(make: Make, clock: Clock) -> None:
    catalogue = {"reports:read": "See reports", "reports:write": "Change reports", "admin": "Everything"}
    authority = make(clock=clock, scopes=catalogue, max_lifetime=86400 * 30, **MANY)
    visitor = Visitor(Alone(authority, clock))
    shown = visitor.get("/new?scope=admin+reports:read")
    offered = [tag["value"] for tag in shown.read.all("input", name="scope")]
    assert set(offered) == {*SCOPES, MY_MANAGE}
    assert shown.form.fields["scope"] == ["reports:read"]
    assert [tag["value"] for tag in shown.read.all("input", name="expires_in")] == ["7d", "30d", "custom"]
    assert not shown.read.all("input", name="never_acknowledged")
    day = shown.read.all("input", type="date")[0]
    assert (day["min"], day["max"]) == ("2030-01-02", "2030-01-30")
    made = visitor.send(shown.form.with_(name="ci", expires_in="custom", expires_at=day["max"]))
    assert made.status == 200
    pat_id = made.secrets["id"]
    given: list[dict[str, Any]] = [
        {"scope": ["admin"]},
        {"scope": ["reports:read", "admin"]},
        {"scope": ["sp:scopes:all"]},
        {"expires_in": "31d"},
        {"expires_in": "never", "never_acknowledged": "yes"},
        {"expires_in": "custom", "expires_at": "2030-01-31"},
    ]
    for more in given:
        assert visitor.send(visitor.get(f"/{pat_id}/edit").form.with_(**more)).status == 400, more
        assert visitor.send(visitor.new("other").with_(**more)).status == 400, more
    assert [pat.scope for pat in authority.list()] == [("reports:read",)]


@each(
    "longest, days, new, edit, latest",
    [
        (30, 0, "30s", "keep", None),
        (600, 0, "600s", "keep", None),
        (3 * 3600 + 5, 0, "10800s", "keep", None),
        (86_400 * 2 - 1, 0, "169200s", "keep", None),
        (86_400 * 30, 5, "7d 30d custom", "keep 7d custom", "2030-01-30"),
        (86_400 * 30, 25, "7d 30d custom", "keep custom", "2030-01-30"),
        (86_400 * 30, 29, "7d 30d custom", "keep", None),
        (None, 25, "7d 30d 60d 90d custom never", "keep 7d 30d 60d 90d custom never", None),
    ],
)
def test_the_form_offers_no_expiry_that_would_be_refused(
    fresh: Make, clock: Clock, longest: int | None, days: int, new: str, edit: str, latest: str | None
) -> None:
    authority = fresh(max_lifetime=longest, **MANY)
    alice = Visitor(Alone(authority, clock))

    def offered(shown: Page) -> list[str]:
        return [tag["value"] for tag in shown.read.all("input", name="expires_in")]

    def last_days(shown: Page) -> list[str]:
        return [tag.get("max", "2099-12-31") for tag in shown.read.all("input", type="date")]

    shown = alice.get("/new")
    assert offered(shown) == new.split()
    for value in offered(shown):
        form = alice.new(value, expires_in=value, never_acknowledged="yes")
        form = form.with_(expires_at=last_days(shown)) if value == "custom" else form
        assert alice.send(form).status == 200, value
    pat_id = issue(authority, expires_in=timedelta(seconds=longest or 9e6)).pat.id
    clock.advance(days * DAY)
    shown = alice.get(f"/{pat_id}/edit")
    assert offered(shown) == edit.split()
    assert last_days(shown) == [latest or "2099-12-31"] * ("custom" in edit)
    assert ("No later than" in shown.text) == (latest is not None)


def test_a_token_with_more_than_its_owner_holds_is_not_rotated_enabled_or_widened(
    authority: Authority, alice: Visitor
) -> None:
    """The application has given it; the person may still narrow, disable and revoke it."""
    made = issue(authority, "strong", scope=["admin", "reports:read"]).pat
    assert alice.send(alice.get(f"/{made.id}/rotate").form).status == 403
    wider = alice.get(f"/{made.id}/edit").form.with_(expires_in="90d")
    assert alice.send(wider).status == 400
    same = alice.get(f"/{made.id}/edit").form
    assert same.fields["scope"] == ["admin", "reports:read"]
    assert alice.send(same.with_(name="renamed")).status == 303
    assert authority.get(made.id).scope == ("admin", "reports:read")
    assert alice.send(alice.get(f"/{made.id}/edit").form.with_(scope="reports:read")).status == 303
    assert alice.send(alice.get(f"/{made.id}/edit").form.with_(scope=["reports:read", "admin"])).status == 400
    authority.disable(made.id)
    refused = alice.send(alice.get(f"/{made.id}/enable").form)
    assert (refused.status, "operator" in refused.problem) == (403, True)
    assert alice.send(alice.get(f"/{made.id}/revoke").form).status == 303


def test_the_list_offers_to_enable_what_this_person_may_enable(authority: Authority, clock: Clock) -> None:
    app = Alone(
        authority, clock, identify=by_cookie({**PEOPLE, "root": Person(ALICE, [*SCOPES, ALL_MANAGE])})
    )
    by_owner, by_operator, working = (issue(authority, name).pat.id for name in "abc")
    authority.disable(by_operator)
    alice, root = Visitor(app), Visitor(app, "root")
    assert alice.send(alice.get(f"/{by_owner}/disable").form).status == 303

    def offered(visitor: Visitor) -> set[str]:
        links = [tag["href"].removeprefix(visitor.base + "/") for tag in visitor.get().read.all("a")]
        return {link for link in links if link.endswith("able")}

    assert offered(alice) == {f"{by_owner}/enable", f"{working}/disable"}
    assert offered(root) == {f"{by_owner}/enable", f"{by_operator}/enable", f"{working}/disable"}
    for one in offered(root):
        assert root.send(root.get("/" + one).form).status == 303
    assert {pat.id for pat in authority.list() if pat.state == "active"} == {by_owner, by_operator}
    authority.disable_owner("alice")
    assert offered(alice) == set()


@each("who", ["alice", "an operator"])
def test_ids_of_others_and_of_nobody_look_the_same(authority: Authority, alice: Visitor, who: str) -> None:
    """Also to somebody who may manage them, by other means: the page does not say whose a token is."""
    alice = Visitor(alice.app, who)
    bobs = issue(authority, f"bobs {who}", owner=Owner("bob")).pat
    gone = issue(authority, f"gone {who}", owner=Owner("bob")).pat
    authority.delete(gone.id, reason="bobs reason")
    for action in ("edit", "rotate", "disable", "enable", "revoke"):
        texts = set()
        for pat_id in (bobs.id, gone.id, "0" * 32):
            form = alice.new()._replace(action=f"{alice.base}/{pat_id}/{action}")
            for answer in (
                alice.get(f"/{pat_id}/{action}"),
                alice.send(form.with_(sequence="1", overlap="now")),
            ):
                assert answer.status == 404
                texts.add(answer.text.replace(pat_id, "ID"))
        assert len(texts) == 1, action
    for pat_id in (bobs.id, gone.id, "0" * 32, "x", ""):
        assert alice.get(f"?changed={pat_id}").read.parts == alice.get().read.parts
    assert authority.get(bobs.id).sequence == 1


def test_a_link_fills_the_form_in_and_does_nothing_else(authority: Authority, alice: Visitor) -> None:
    shown = alice.get(
        "/new?name=ci&scope=reports:write+admin&expires_in=90d&networks=0.0.0.0/0&description=x"
    )
    fields = shown.form.fields
    assert (fields["name"], fields["scope"], fields["expires_in"]) == (["ci"], ["reports:write"], ["90d"])
    assert (fields["networks"], fields["description"]) == ([""], [""])
    assert alice.get("/new?name=ci&expires_in=never").form.fields["expires_in"] == ["30d"]
    assert authority.list() == []


def test_a_scope_that_its_owner_no_longer_holds_is_marked_and_said(
    authority: Authority, alice: Visitor
) -> None:
    pat_id = issue(authority, scope=["reports:read", "admin"]).pat.id
    shown = alice.get(f"/{pat_id}/edit")
    assert shown.text.count("You no longer hold this.") == 1
    wider = alice.send(shown.form.with_(expires_in="90d"))
    assert (wider.status, wider.wrong) == (400, ["scope"])
    assert "You no longer hold all that is ticked." in wider.problem
    rotated = alice.send(alice.get(f"/{pat_id}/rotate").form)
    assert (rotated.status, rotated.problem.startswith("This token can do more than you can pass on.")) == (
        403,
        True,
    )
    assert "lang=" not in rotated.problem
    narrower = shown.form.with_(scope="reports:read", expires_in="90d")
    assert alice.send(narrower).status == 303


# -- the list ------------------------------------------------------------------------------------------------


def test_the_list_says_what_each_token_is_and_names_what_ends_soon(
    authority: Authority, alice: Visitor, clock: Clock
) -> None:
    issue(authority, "soon", expires_in=timedelta(days=6))
    clock.advance(1000)
    issue(authority, "later", scope=["a", "b", "c", "d"])
    clock.advance(1000)
    used = issue(authority, "used", never_expires=True)
    authority.authenticate(basic_of(used))
    clock.advance(1000)
    paused = issue(authority, "paused")
    authority.disable(paused.pat.id)
    gone = issue(authority, "gone")
    authority.delete(gone.pat.id, reason="lost it")
    shown = alice.get()
    text = " ".join(" ".join(shown.read.texts).split())
    assert "These tokens stop working soon: soon ." in text
    assert "4 of 1000 used" in text
    assert "a, b and 2 more" in text
    names = {
        "all": ["paused", "used", "later", "soon"],
        "active": ["used", "later", "soon"],
        "expiring": ["soon"],
        "disabled": ["paused"],
        "revoked": ["gone"],
        "unused": ["paused", "later", "soon"],
        "expired": [],
    }
    for show, expected in names.items():
        found = alice.get(f"?show={show}")
        assert rows(found) == expected, show
    assert rows(alice.get("?sort=name")) == ["later", "paused", "soon", "used"]
    assert rows(alice.get("?sort=expiry"))[0] == "soon"
    assert rows(alice.get("?sort=used"))[0] == "used"
    assert rows(alice.get("?q=OO")) == ["soon"]
    assert rows(alice.get("?show=revoked&q=gone")) == ["gone"]
    assert "lost it" in " ".join(alice.get("?show=revoked").read.texts)
    assert "No token matches." in alice.get("?q=nothing").text
    for beyond in ("2", "999999"):
        assert rows(alice.get(f"?page={beyond}")) == names["all"]
    clock.advance(31 * DAY)
    assert rows(alice.get("?show=expired")) == ["later", "soon"]


def rows(shown: Page) -> list[str]:
    """The names of the tokens of a list, from the top."""
    return [piece.partition("<")[0].strip() for piece in shown.text.split("<tr><th><bdi>")[1:]]


def test_pages_of_the_list_keep_what_was_asked_for(make: Make, clock: Clock) -> None:
    authority = make(clock=clock, **MANY)
    visitor = Visitor(Alone(authority, clock))
    for number in range(103):
        issue(authority, f"t{number:03}")
    page_of = "?show=active&sort=name&q=t&lang=de"
    seen = []
    where: str | None = page_of
    while where is not None:
        shown = visitor.get(where)
        seen += rows(shown)
        where = next((tag["href"] for tag in shown.read.all("a", rel="next")), None)
    assert seen == [f"t{number:03}" for number in range(103)]
    assert "101–103 von 103" in "".join(shown.read.texts)
    assert shown.read.all("html")[0]["lang"] == "de"


def test_after_a_change_the_list_says_what_was_done_as_long_as_it_is_so(
    authority: Authority, alice: Visitor
) -> None:
    pat_id = issue(authority, "ci").pat.id
    told = {
        "edit": "“ ci ” is saved.",
        "disable": "“ ci ” is disabled. Programs that use it are refused.",
        "enable": "“ ci ” is enabled. Programs can use it again.",
    }

    def note(where: str) -> str:
        shown = alice.get(where)
        (tag,) = shown.read.all("p", role="status")
        assert tag.keys() >= {"autofocus", "tabindex"}
        return " ".join(" ".join(shown.read.texts).split())

    places = {}
    alice.send(alice.get(f"/{pat_id}/disable").form)
    alice.send(alice.get(f"/{pat_id}/enable").form)
    for action, words in told.items():
        done = alice.send(alice.get(f"/{pat_id}/{action}").form)
        places[action] = done.response.headers["Location"]
        assert words in note(places[action]), action
    assert told["disable"] not in note(places["disable"])
    places["revoke"] = alice.send(alice.get(f"/{pat_id}/revoke").form).response.headers["Location"]
    for place in places.values():
        assert "“ ci ” is revoked. Programs that use it are refused." in note(place)


def test_a_row_has_all_scopes_and_a_revoked_one_no_expiry(authority: Authority, clock: Clock) -> None:
    reader = Visitor(Alone(authority, clock), "a reader")
    pat_id = issue(authority, scope=["a", "b", "c", "d"], expires_in=timedelta(days=50)).pat.id
    shown = reader.get()
    assert "c, d" in shown.read.texts
    assert "2030-02-20" in shown.text
    authority.delete(pat_id)
    shown = reader.get("?show=revoked")
    assert (rows(shown), "2030-02-20" in shown.text) == (["ci"], False)


def test_what_ends_soon_is_a_link_to_its_expiry(authority: Authority, clock: Clock) -> None:
    alice, reader = (Visitor(Alone(authority, clock), who) for who in ("alice", "a reader"))
    pat_id = issue(authority, "soon", expires_in=timedelta(days=3)).pat.id
    place = f"{alice.base}/{pat_id}/edit"
    assert [tag["href"] for tag in alice.get().read.all("a")].count(place) == 2
    assert "These tokens stop working soon:" in reader.get().text
    assert not reader.get().read.all("a", href=place)


def test_a_page_beyond_the_last_is_the_last(make: Make, clock: Clock) -> None:
    authority = make(clock=clock, **MANY)
    alice = Visitor(Alone(authority, clock))
    for number in range(60):
        issue(authority, f"t{number:03}")
    for page_number in ("2", "9", "999999"):
        shown = alice.get(f"?sort=name&page={page_number}")
        assert rows(shown) == [f"t{number:03}" for number in range(50, 60)]
        assert "51–60 of 60" in "".join(shown.read.texts)


def test_the_secret_stands_without_a_link_that_would_lose_it_and_with_a_line_that_opens_something(
    fresh: Make, clock: Clock
) -> None:
    for example, url in (
        (None, "http://app.example/mount/"),
        ("/api/me?a=1&b=2", "'http://app.example/api/me?a=1&b=2'"),
        ("https://api.example/me", "https://api.example/me"),
    ):
        authority = fresh(**MANY, page_example_url=example)
        alice = Visitor(Alone(authority, clock), mount="/mount")
        made = alice.send(alice.new())
        assert f'curl -H "Authorization: Bearer $TOKEN" {url}' in made.read.texts
        assert not made.read.all("nav")
        assert alice.get().read.all("nav")


def test_the_empty_list_says_what_a_token_is(alice: Visitor) -> None:
    empty = alice.get()
    assert "You have no tokens yet" in empty.text
    assert not empty.read.all("table")
    assert [tag["href"] for tag in empty.read.all("a", class_="button")] == [alice.base + "/new"]
    assert 'curl -H "Authorization: Bearer $TOKEN" http://app.example/' in empty.read.texts
    assert "You have no tokens yet" not in alice.get("?q=x").text


# -- confirmation --------------------------------------------------------------------------------------------


class Host:
    """A host that asks people to confirm who they are, and counts how often."""

    words = "alice has not typed her password"

    def __init__(self) -> None:
        self.times = 0
        self.is_sure = False

    def __call__(self, environ: dict[str, Any]) -> bool:
        self.times += 1
        if not self.is_sure:
            raise RuntimeError(self.words)
        return True


ASKED: dict[str, dict[str, Any]] = {
    "make": {"name": "new", "description": "typed"},
    "rotate": {"overlap": "week"},
    "enable": {},
    "edit more scopes": {"scope": SCOPES, "description": "typed"},
    "edit later": {"expires_in": "90d", "description": "typed"},
    "edit everywhere": {"networks": "", "description": "typed"},
    "edit elsewhere": {"networks": "198.51.100.0/24", "description": "typed"},
    "edit never": {"expires_in": "never", "never_acknowledged": "yes", "description": "typed"},
}
NOT_ASKED: dict[str, dict[str, Any]] = {
    "revoke": {"reason": "lost"},
    "disable": {},
    "edit name": {"name": "renamed", "description": "typed"},
    "edit fewer scopes": {"scope": SCOPES[:1]},
    "edit sooner": {"expires_in": "7d"},
    "edit narrower": {"networks": "203.0.113.7"},
    "edit nothing": {},
}


def asked_of(fresh: Make, clock: Clock, what: str) -> tuple[Authority, Visitor, Host, Sent]:
    """A form of somebody with a PAT that can grow in every way but one: of `enable`, which is disabled."""
    host = Host()
    authority = fresh(login_url="/login?back={next}&x=1", **MANY)
    visitor = Visitor(Alone(authority, clock, reauthenticate=host))
    scope = SCOPES if "fewer" in what else SCOPES[:1]
    pat_id = issue(authority, scope=scope, networks=["203.0.113.0/24"]).pat.id
    action = what.partition(" ")[0]
    if action == "enable":
        visitor.send(visitor.get(f"/{pat_id}/disable").form)
    form = visitor.new() if what == "make" else visitor.get(f"/{pat_id}/{action}").form
    return authority, visitor, host, form


@each("what", ASKED)
def test_before_a_token_can_do_more_the_host_asks_who_it_is_and_what_was_typed_stays(
    fresh: Make, clock: Clock, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    authority, visitor, host, form = asked_of(fresh, clock, what)
    form = form.with_(**ASKED[what])
    before = authority.list()
    answer = visitor.send(form)
    assert (answer.status, answer.secrets, host.times) == (403, {}, 1)
    assert answer.problem.startswith("Confirm first who you are, then send this again.")
    assert "password" not in answer.text + caplog.text
    assert authority.list() == before
    (sign_in,) = [tag["href"] for tag in answer.read.all("a") if tag["href"].startswith("/login")]
    here = form.action + ("/new" if what == "make" else "")
    assert parse_qs(urlsplit(sign_in).query) == {"back": [here], "x": ["1"]}
    kept = {name: value for name, value in answer.form.fields.items() if name != "csrf_token"}
    assert kept == {name: value for name, value in form.fields.items() if name in kept}
    assert set(kept) >= {name for name in ASKED[what] if ASKED[what][name]}
    host.is_sure = True
    done = visitor.send(answer.form)
    assert (done.status, host.times) == (200 if what in ("make", "rotate") else 303, 2)
    assert authority.list() != before


@each("what", NOT_ASKED)
def test_nobody_is_asked_before_a_token_can_do_less(fresh: Make, clock: Clock, what: str) -> None:
    authority, visitor, host, form = asked_of(fresh, clock, what)
    before = authority.list()
    assert visitor.send(form.with_(**NOT_ASKED[what])).status == 303
    assert host.times == 0
    assert (authority.list() == before) == (what == "edit nothing")


def test_a_form_that_is_refused_anyway_is_not_asked_about(fresh: Make, clock: Clock) -> None:
    _, visitor, host, form = asked_of(fresh, clock, "make")
    for more, status in (({"name": "ci"}, 409), ({"scope": ["admin"]}, 400), ({"csrf_token": ""}, 403)):
        assert visitor.send(form.with_(name="new").with_(**more)).status == status
    assert host.times == 0


# -- quotas --------------------------------------------------------------------------------------------------


def test_too_many_requests_of_a_person_are_told_when_to_come_again(make: Make, clock: Clock) -> None:
    authority = make(clock=clock, person_quota="3/30", create_quota="1/100")
    alice = Visitor(Alone(authority, clock))
    form = alice.new("typed")
    for _ in range(2):
        assert alice.get().response.headers["RateLimit-Policy"] == '"persons";q=3;w=30'
    limited = alice.get("?lang=de")
    assert (limited.status, limited.response.headers["Retry-After"], limited.forms) == (429, "10", [])
    assert "in 10 s" in limited.problem
    assert limited.response.headers["RateLimit"] == '"persons";r=0;t=10'
    sent = alice.send(form)
    assert (sent.status, sent.response.headers["Retry-After"]) == (429, "10")
    assert sent.problem == "Too many requests. Try again in 10 s."
    assert sent.form.fields["name"] == ["typed"]
    assert authority.list() == []
    assert Visitor(alice.app, "bob").get().status == 200
    clock.advance(30_000)
    assert alice.send(sent.form).status == 200
    again = alice.send(alice.new("second"))
    assert (again.status, again.problem) == (429, "You have made many tokens. You can make another in 100 s.")
    assert again.response.headers["RateLimit-Policy"] == '"creations";q=1;w=100'
    assert [pat.name for pat in authority.list()] == ["typed"]
