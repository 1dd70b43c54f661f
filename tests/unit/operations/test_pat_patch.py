"""What a JSON Patch makes of a PAT: the rules, without any store."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patauth import Owner, PersonalAccessToken, Settings
from patauth.errors import InvalidRequest, InvalidScope, PatAuthError
from patauth.model.dates import DAY, format_ms
from patauth.model.scopes import covers
from patauth.operations.conditions import require_changeable
from patauth.operations.pat_patch import PATCHABLE, PatPatch
from patauth.operations.permissions import NO_LIMIT, Limit
from tests.support.tables import each

NOW = 1_893_456_000_000  # 2030-01-01T00:00:00Z
DATED = PersonalAccessToken(
    id="0" * 32,
    name="ci",
    scope=("a", "b"),
    owner=Owner("alice"),
    tenant="default",
    created_ms=NOW - DAY,
    changed_ms=NOW - DAY,
    sequence=1,
    expires_ms=NOW + 30 * DAY,
    last_used_ms=NOW - 5,
)
ENDLESS = replace(DATED, expires_ms=None, never_acknowledged=True)
DATE, SURE = "/expirationDate", "/userAwareTokenNeverExpires"


def settings(**given: Any) -> Settings:
    return Settings.of(store_url="memory:", **given)


PLAIN = settings()


def put(path: str, value: Any) -> dict[str, Any]:
    return {"op": "replace", "path": path, "value": value}


NOTHING = Limit((frozenset(),), 0, frozenset())


def apply(
    pat: PersonalAccessToken,
    *operations: dict[str, Any],
    limit: Limit = NO_LIMIT,
    policy: Settings = PLAIN,
    now: int = NOW,
) -> PersonalAccessToken:
    """What an update makes of a PAT by a JSON Patch."""
    return applied(PatPatch(list(operations), PATCHABLE), pat, now, limit, policy)


def applied(
    patch: PatPatch, pat: PersonalAccessToken, now: int, limit: Limit, policy: Settings
) -> PersonalAccessToken:
    require_changeable(pat, now)
    return patch.change_of(pat).apply(pat, now, limit, policy)


def test_each_member_is_changed_alone_and_the_change_is_counted_and_dated() -> None:
    for operation, change in [
        (put("/name", "cafe\u0301"), {"name": "caf\u00e9"}),
        (put("/scope", ["c", "a", "c"]), {"scope": ("c", "a")}),
        ({"op": "add", "path": "/scope/-", "value": "c"}, {"scope": ("a", "b", "c")}),
        ({"op": "remove", "path": "/scope/0"}, {"scope": ("b",)}),
        (put(DATE, "2030-01-01T00:00:00.001Z"), {"expires_ms": NOW + 1}),
        (put(SURE, True), {"never_acknowledged": True}),
    ]:
        assert apply(DATED, operation) == replace(DATED, **change, changed_ms=NOW, sequence=2)


@each("pat", [DATED, ENDLESS])
def test_what_changes_nothing_gives_back_the_same(pat: PersonalAccessToken) -> None:
    written = None if pat.expires_ms is None else format_ms(pat.expires_ms)
    for operations in [
        [put("/name", "ci")],
        [put("/name", "x"), put("/name", "ci")],
        [put("/scope", ["a", "b", "a"])],
        [put(DATE, written), put(SURE, pat.never_acknowledged)],
        [{"op": "test", "path": "/name", "value": "ci"}],
        [{"op": "copy", "path": "/name", "from": "/name"}],
    ]:
        assert apply(pat, *operations) is pat


def test_a_clock_that_went_back_never_dates_a_change_before_the_last_one() -> None:
    assert apply(DATED, put("/name", "x"), now=NOW - 9 * DAY).changed_ms == DATED.changed_ms


@each(
    "operation",
    [
        put("/name", ""),
        put("/name", 1),
        put("/name", None),
        put("/name", ["x"]),
        put("/name", "x" * 129),
        put("/name", "a\nb"),
        put("/scope", []),
        put("/scope", None),
        put("/scope", "a"),
        put("/scope", {"a": 1}),
        put("/scope", ["a b"]),
        put("/scope", [["a"]]),
        put("/scope", [None]),
        put("/scope", [f"s{number}" for number in range(257)]),
        put("/scope/2", "c"),
        put("/scope/01", "c"),
        put("/scope/-", "c"),
        put(DATE, 1),
        put(DATE, True),
        put(DATE, ["2031-01-01T00:00:00Z"]),
        put(DATE, "2031-01-01"),
        put(DATE, "2031-01-01T00:00:00"),
        put(DATE, "tomorrow"),
        put(DATE, "2030-01-01T00:00:00Z"),
        put(DATE, "9999-12-31T23:59:59.999-00:01"),
        put(DATE + "/0", "x"),
        put(SURE, 1),
        put(SURE, "true"),
        put(SURE, []),
        put(SURE, 0),
        put(SURE, ""),
        {"op": "remove", "path": "/name"},
        {"op": "remove", "path": "/scope"},
        {"op": "move", "from": "/name", "path": DATE},
        {"op": "copy", "from": "/scope", "path": "/name"},
        {"op": "copy", "from": DATE, "path": SURE},
        {"op": "copy", "from": "/name", "path": DATE},
        {"op": "test", "path": "/name", "value": "other"},
        {"op": "test", "path": "/scope/2", "value": None},
    ],
)
def test_what_cannot_be_is_refused(operation: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest):
        apply(DATED, operation)


def test_an_expired_one_is_refused_whatever_is_asked_for() -> None:
    for operation in (put("/name", "x"), put(DATE, "2040-01-01T00:00:00Z"), put("/name", "ci")):
        with pytest.raises(InvalidRequest, match="has expired"):
            apply(DATED, operation, now=NOW + 30 * DAY)
    assert apply(DATED, put("/name", "x"), now=NOW + 30 * DAY - 1).name == "x"
    assert apply(replace(DATED, disabled=True), put("/name", "x")).name == "x"


def test_one_patch_serves_many_pats_and_is_changed_by_none() -> None:
    operations = [{"op": "add", "path": "/scope/-", "value": "c"}, put("/scope/0", "z")]
    patch = PatPatch(operations, PATCHABLE)
    for _ in range(3):
        assert applied(patch, DATED, NOW, NO_LIMIT, PLAIN).scope == ("z", "b", "c")
    assert operations == [{"op": "add", "path": "/scope/-", "value": "c"}, put("/scope/0", "z")]


class TestFields:
    """Only the members that are let, by every operation."""

    def test_others_than_the_four_are_never_let(self) -> None:
        for fields in (("owner",), ("id", "created"), ()):
            with pytest.raises(InvalidRequest, match="members that can be patched: none"):
                PatPatch([put("/owner", {"id": "bob"})], fields)
        with pytest.raises(InvalidRequest, match="members that can be patched: name"):
            PatPatch([put("/owner", {"id": "bob"})], ("name", "owner"))

    def test_what_is_not_let_stays_as_it_is(self) -> None:
        for pat in (DATED, ENDLESS):
            patch = PatPatch([put("/name", "x"), put("/scope", ["a"])], ("name", "scope"))
            after = applied(patch, pat, NOW, NO_LIMIT, PLAIN)
            assert (after.expires_ms, after.never_acknowledged) == (pat.expires_ms, pat.never_acknowledged)
        for operation in (
            put(DATE, None),
            put(SURE, True),
            {"op": "copy", "from": DATE, "path": "/name"},
            {"op": "test", "path": SURE, "value": True},
        ):
            with pytest.raises(InvalidRequest):
                PatPatch([operation], ("name", "scope"))


class TestNever:
    """P5: an expiry of never is acknowledged in the same patch."""

    WAYS = (
        {"op": "replace", "path": DATE, "value": None},
        {"op": "add", "path": DATE, "value": None},
        {"op": "remove", "path": DATE},
        {"op": "replace", "path": DATE},
        {"op": "add", "path": DATE},
    )

    @each("pat", [DATED, ENDLESS, replace(ENDLESS, never_acknowledged=False)])
    @each("way", WAYS)
    @each("sure", [None, False, True])
    @each("first", [True, False])
    def test_only_if_true_is_said_beside_it(
        self, pat: PersonalAccessToken, way: dict[str, Any], sure: bool | None, first: bool
    ) -> None:
        said = [] if sure is None else [put(SURE, sure)]
        operations = [*said, way] if first else [way, *said]
        if sure:
            after = apply(pat, *operations)
            assert (after.expires_ms, after.never_acknowledged) == (None, True)
        else:
            with pytest.raises(InvalidRequest, match="in the same patch") as caught:
                apply(pat, *operations)
            assert caught.value.field == "never_acknowledged"

    def test_an_expiry_that_is_moved_elsewhere_is_removed(self) -> None:
        moved = {"op": "move", "from": DATE, "path": "/name"}
        with pytest.raises(InvalidRequest, match="in the same patch"):
            apply(DATED, moved)
        with pytest.raises(InvalidRequest, match="in the same patch"):
            apply(replace(DATED, never_acknowledged=True), moved)
        after = apply(DATED, moved, put(SURE, True))
        assert (after.name, after.expires_ms) == ("2030-01-31T00:00:00.000Z", None)

    def test_a_test_is_no_acknowledgement_and_neither_is_an_earlier_patch(self) -> None:
        acknowledged = apply(DATED, put(SURE, True))
        assert acknowledged.expires_ms == DATED.expires_ms, "it changes nothing by itself"
        for operations in [
            [put(DATE, None)],
            [{"op": "test", "path": SURE, "value": True}, put(DATE, None)],
            [put(DATE, None), put(SURE, True), put(SURE, False)],
            [put(DATE, None), put(SURE, True), {"op": "remove", "path": SURE}],
        ]:
            with pytest.raises(InvalidRequest, match="in the same patch"):
                apply(acknowledged, *operations)

    def test_the_acknowledgement_stands_as_long_as_there_is_no_expiry(self) -> None:
        for operation in (put(SURE, False), put(SURE, None), {"op": "remove", "path": SURE}):
            with pytest.raises(InvalidRequest):
                apply(ENDLESS, operation)
            after = apply(ENDLESS, operation, put(DATE, "2031-01-01T00:00:00Z"))
            assert not after.never_acknowledged
        assert apply(ENDLESS, put(DATE, "2031-01-01T00:00:00Z")).never_acknowledged

    def test_other_changes_of_one_that_never_expires_need_no_acknowledgement(self) -> None:
        assert apply(ENDLESS, put("/name", "x")).expires_ms is None
        assert apply(replace(ENDLESS, never_acknowledged=False), put("/name", "x")).expires_ms is None


class TestDates:
    @each(
        "text",
        [
            "2030-01-31T00:00:00Z",
            "2030-01-31T00:00:00.000Z",
            "2030-01-31T00:00:00.000000+00:00",
            "2030-01-31T00:00:00.000999Z",
            "2030-01-31t00:00:00z",
            "2030-01-31T05:30:00+05:30",
            "2030-01-30T23:59:00-00:01",
        ],
    )
    def test_one_instant_is_the_same_however_it_is_spelled(self, text: str) -> None:
        assert apply(DATED, {"op": "test", "path": DATE, "value": text}) is DATED
        assert apply(DATED, put(DATE, text)) is DATED

    @each("text", ["2030-01-31T00:00:00.001Z", "2030-01-31T00:00:00+00:01", None])
    def test_another_instant_fails_the_test(self, text: str | None) -> None:
        with pytest.raises(InvalidRequest, match="the test failed"):
            apply(DATED, {"op": "test", "path": DATE, "value": text}, put("/name", "x"))

    def test_a_test_without_a_value_asks_for_never(self) -> None:
        assert apply(ENDLESS, {"op": "test", "path": DATE}) is ENDLESS
        with pytest.raises(InvalidRequest, match="the test failed"):
            apply(DATED, {"op": "test", "path": DATE})


class TestPolicy:
    """Settings hold for what changes; what stays may be older than they are."""

    def test_the_catalogue_is_asked_for_what_is_added_alone(self) -> None:
        policy = settings(scopes={"b": "", "c": ""})
        assert apply(DATED, put("/name", "x"), policy=policy).scope == ("a", "b")
        assert apply(DATED, put("/scope", ["c", "a"]), policy=policy).scope == ("c", "a")
        right = "idn:my-personal-access-tokens:read"
        assert apply(DATED, put("/scope", [right]), policy=policy).scope == (right,)
        with pytest.raises(InvalidScope, match="catalogue"):
            apply(DATED, put("/scope", ["a", "d"]), policy=policy)
        dropped = apply(DATED, put("/scope", ["b"]), policy=policy)
        with pytest.raises(InvalidScope, match="catalogue"):
            apply(dropped, put("/scope", ["a", "b"]), policy=policy)

    def test_the_longest_life_is_asked_for_a_changed_expiry_alone(self) -> None:
        policy = settings(max_lifetime="10d")
        for pat in (DATED, ENDLESS):
            after = apply(pat, put("/name", "x"), put("/scope", ["z"]), put(SURE, True), policy=policy)
            assert after.expires_ms == pat.expires_ms
            last = DATED.created_ms + 10 * DAY
            assert apply(pat, put(DATE, format_ms(last)), policy=policy).expires_ms == last
            with pytest.raises(InvalidRequest, match="within 864000 seconds"):
                apply(pat, put(DATE, format_ms(last + 1)), policy=policy)
        with pytest.raises(InvalidRequest, match="within 864000 seconds"):
            apply(DATED, put(DATE, None), put(SURE, True), policy=policy)
        bound = Limit(None, NOW + 40 * DAY, frozenset())
        assert apply(DATED, put("/scope", ["a", "b", "z"]), policy=policy, limit=bound).sequence == 2


class TestGrowth:
    """The caller's limit bounds what grows, and nothing else."""

    def test_nobody_needs_more_to_change_a_name_or_to_take_away(self) -> None:
        for pat in (DATED, ENDLESS):
            for operations in [
                [put("/name", "x")],
                [put("/scope", ["b"])],
                [put("/scope", ["b", "a"])],
                [put(DATE, "2030-01-02T00:00:00Z")],
                [put("/name", "x"), put("/scope", ["a"]), put(DATE, "2030-01-31T00:00:00Z")],
                [put(SURE, True)],
            ]:
                apply(pat, *operations, limit=NOTHING)

    def test_a_scope_that_is_covered_already_is_nothing_more(self) -> None:
        policy = settings(scopes={"a": "", "b": ""})
        everything = replace(DATED, scope=("sp:scopes:all",))
        assert apply(everything, put("/scope", ["a"]), limit=NOTHING, policy=policy).scope == ("a",)
        managing = replace(DATED, scope=("idn:all-personal-access-tokens:manage",))
        narrower = ["sp:my-personal-access-tokens:read"]
        assert apply(managing, put("/scope", narrower), limit=NOTHING).scope == tuple(narrower)

    LIMIT = Limit((frozenset({"a", "c"}), frozenset({"a", "b", "c"})), NOW + 40 * DAY, frozenset())

    @each(
        ("before", "operations", "error"),
        [
            ({"scope": ("a",)}, [put("/scope", ["a", "c"])], None),
            ({"scope": ("a",)}, [put("/scope", ["a", "b"])], InvalidScope),
            ({"scope": ("a",)}, [put("/scope", ["sp:scopes:all"])], InvalidScope),
            ({"scope": ("a",)}, [put(DATE, format_ms(NOW + 40 * DAY))], None),
            ({"scope": ("a",)}, [put(DATE, format_ms(NOW + 40 * DAY + 1))], InvalidRequest),
            ({"scope": ("a",)}, [put(DATE, None), put(SURE, True)], InvalidRequest),
            # what was beyond the caller before: it may shrink, but whatever grows must be theirs in full
            ({"scope": ("a", "b")}, [put("/scope", ["a", "b", "c"])], InvalidScope),
            ({"scope": ("a", "b")}, [put("/scope", ["a", "c"])], None),
            ({"scope": ("a", "b")}, [put(DATE, format_ms(NOW + 31 * DAY))], InvalidScope),
            ({"scope": ("a",), "expires_ms": None}, [put("/scope", ["a", "c"])], InvalidRequest),
            ({"scope": ("a",), "expires_ms": None}, [put(DATE, format_ms(NOW + 90 * DAY))], None),
            (
                {"scope": ("a",), "expires_ms": None},
                [put("/scope", ["a", "c"]), put(DATE, format_ms(NOW + 40 * DAY))],
                None,
            ),
        ],
    )
    def test_what_grows_is_all_within_what_the_caller_can_pass_on(
        self, before: dict[str, Any], operations: list[dict[str, Any]], error: type[PatAuthError] | None
    ) -> None:
        pat = replace(DATED, **before)
        if error is None:
            assert apply(pat, *operations, limit=self.LIMIT).sequence == 2
        else:
            with pytest.raises(error) as caught:
                apply(pat, *operations, limit=self.LIMIT)
            assert type(caught.value) is error


words = st.sampled_from(["a", "b", "c", "sp:scopes:all", "idn:my-personal-access-tokens:manage"])
scope_lists = st.lists(words, min_size=1, max_size=4, unique=True)
expiries = st.none() | st.integers(NOW + 1, NOW + 9)
edits = st.one_of(
    scope_lists.map(lambda scopes: put("/scope", scopes)),
    words.map(lambda word: {"op": "add", "path": "/scope/-", "value": word}),
    st.just({"op": "remove", "path": "/scope/0"}),
    st.builds(lambda ms: put(DATE, None if ms is None else format_ms(ms)), expiries),
    st.just(put(SURE, True)),
    st.just({"op": "move", "from": "/scope/0", "path": "/scope/-"}),
)


@given(
    st.builds(lambda scope, expiry: (tuple(scope), expiry), scope_lists, expiries),
    st.builds(lambda scope, expiry: (frozenset(scope), expiry), scope_lists, expiries),
    st.lists(edits, min_size=1, max_size=4),
)
def test_no_patch_makes_more_of_a_pat_than_it_was_or_its_caller_can_pass_on(
    pat: tuple[tuple[str, ...], int | None],
    caller: tuple[frozenset[str], int | None],
    operations: list[dict[str, Any]],
) -> None:
    catalogue = frozenset("ab")
    policy = settings(scopes=dict.fromkeys("ab", ""))
    before = replace(DATED, scope=pat[0], expires_ms=pat[1])
    limit = Limit((caller[0],), caller[1], catalogue)
    try:
        after = apply(before, *operations, limit=limit, policy=policy)
    except InvalidRequest:
        return
    grew = not covers(before.scope, after.scope, catalogue)
    longer = before.expires_ms is not None and (
        after.expires_ms is None or after.expires_ms > before.expires_ms
    )
    if grew or longer:
        assert covers(caller[0], after.scope, catalogue)
        assert caller[1] is None or (after.expires_ms is not None and after.expires_ms <= caller[1])
    assert (after.id, after.owner, after.tenant, after.created_ms, after.last_used_ms) == (
        before.id,
        before.owner,
        before.tenant,
        before.created_ms,
        before.last_used_ms,
    )
