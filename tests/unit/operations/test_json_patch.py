"""JSON Patch, against the library `jsonpatch` and the public test vectors."""

from __future__ import annotations

import copy
import json
import re
import time
from typing import Any

import jsonpatch
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from patauth.errors import InvalidRequest
from patauth.operations.json_patch import MAX_DEPTH, MAX_OPERATIONS, MAX_SIZE, apply, check
from tests.support.paths import DATA
from tests.support.searches import examples
from tests.support.tables import each

VECTORS = DATA / "json-patch-tests"
SAFE = re.compile(r"[\x20-\x21\x23-\x5B\x5D-\x7E]+")  # what an error_description may have, RFC 6750 §3.1
FIELD = re.compile(r"operations|document|operation \d+( (op|path|from|value))?")


def text(value: Any) -> str:
    """JSON text to compare by: Python says True == 1 == 1.0."""
    return json.dumps(value, sort_keys=True)


def patched(document: dict[str, Any], *operations: Any, allowed: Any = None) -> dict[str, Any]:
    return apply(document, check(list(operations), allowed))


def outcome(document: dict[str, Any], operations: Any) -> str | None:
    """The outcome as text; None if refused. Nothing else may be raised, and nothing handed in changed."""
    before = copy.deepcopy((document, operations))
    try:
        return text(apply(document, check(operations, None)))
    except InvalidRequest as error:
        assert SAFE.fullmatch(str(error))
        assert FIELD.fullmatch(error.field)
        return None
    finally:
        assert text(document) == text(before[0])
        assert repr(operations) == repr(before[1])


def oracle(document: Any, operations: Any) -> str | None:
    try:
        result = jsonpatch.apply_patch(document, operations)
    except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException):
        return None
    # By design: the document of a PAT stays an object.
    return text(result) if isinstance(result, dict) else None


def cases() -> list[Any]:
    found = []
    for name, records in (("spec_tests", 17), ("tests", 78)):
        vectors = json.loads((VECTORS / f"{name}.json").read_text("utf-8"))
        assert len(vectors) == records
        for number, case in enumerate(vectors):
            # Records without a patch are headings.
            if "patch" in case and not case.get("disabled") and isinstance(case["doc"], dict):
                found.append(pytest.param(case, id=f"{name}-{number}-{case.get('comment', '')}"))
    return found


class TestVectors:
    """The public test cases: https://github.com/json-patch/json-patch-tests."""

    def test_all_are_there(self):
        assert len(cases()) == 62
        assert sum("error" in case.values[0] for case in cases()) == 12

    @each("case", cases())
    def test_the_outcome_is_as_told_and_as_that_of_the_library(self, case):
        if case["patch"] == []:
            # By design: nothing to do is a mistake of the caller. The only departure.
            assert outcome(case["doc"], []) is None
            return
        found = outcome(case["doc"], case["patch"])
        assert found == oracle(case["doc"], case["patch"])
        if "error" in case:
            assert found is None
        else:  # only of `test` operations if nothing is expected
            assert found == text(case.get("expected", case["doc"]))


# Few names, so that paths often lead somewhere; some are odd for an array, or for a pointer.
PLAIN = ["a", "b", "0", "1"]
ODD = ["-", "", "01", "-1", "٣", "1\n", "a/b", "m~n"]
names = st.sampled_from(PLAIN) | st.sampled_from(ODD)
scalars = st.sampled_from([None, True, False, 0, 1, 1.0, -0.0, 2, "a", "é", "1"])
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=6,
)
documents = st.dictionaries(names, values, max_size=4)
pointers = st.lists(names, max_size=3).map(
    lambda tokens: "".join("/" + token.replace("~", "~0").replace("/", "~1") for token in tokens)
)


@st.composite
def operation(draw: st.DrawFn) -> dict[str, Any]:
    """Mostly right."""
    made: dict[str, Any] = {
        "op": draw(st.sampled_from(["add", "remove", "replace", "move", "copy", "test"])),
        "path": draw(pointers),
        "from": draw(pointers),
        "value": draw(values),
        "more": 1,
    }
    if draw(st.integers(0, 9)) == 0:
        del made[draw(st.sampled_from(sorted(made)))]
    return made


@st.composite
def places(draw: st.DrawFn, document: Any) -> str:
    """A path that leads somewhere in the document, or is one step beyond."""
    path = ""
    while isinstance(document, dict | list) and (not path or draw(st.booleans())):
        steps = list(document) if isinstance(document, dict) else list(range(len(document)))
        beyond = not steps or draw(st.integers(0, 3)) == 0
        step = draw(names if beyond else st.sampled_from(steps))
        path += "/" + str(step).replace("~", "~0").replace("/", "~1")
        if beyond:
            break
        document = document[step]
    return path


@st.composite
def patches(draw: st.DrawFn) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A document and operations, in most examples such that each can be done after those before it."""
    document = current = draw(documents)
    operations = []
    strict = draw(st.integers(0, 3)) > 0
    for _ in range(draw(st.integers(1, 8))):
        made = draw(operation())
        for member in ("path", "from"):
            if member in made and draw(st.integers(0, 7)):
                made[member] = draw(places(current))
        if made.get("op") == "test" and draw(st.booleans()):
            made.update(path="", value=current)
        try:
            current = jsonpatch.apply_patch(current, [made])
        except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException):
            if strict:
                continue
        operations.append(made)
    return document, operations or [{"op": "test", "path": "", "value": document}]


class TestLibrary:
    @settings(max_examples=examples(100))
    @given(patches())
    def test_what_the_library_does_is_done_and_what_it_refuses_is_refused(self, both):
        document, operations = both
        assert outcome(document, operations) == oracle(document, operations)

    @each(
        ("there", "given", "equal"),
        [
            (1, True, False),
            (0, False, False),
            (True, 1, False),
            (False, 0.0, False),
            ([0, [1]], [0, [True]], False),
            ({"x": {"y": False}}, {"x": {"y": 0}}, False),
            (None, False, False),
            (None, 0, False),
            ("1", 1, False),
            ([], {}, False),
            ([1, 2], [2, 1], False),
            ([1], [1, 2], False),
            ({"x": 1}, {"x": 1, "y": 1}, False),
            ("a", ["a"], False),
            (1, 1.0, True),
            (0.0, -0.0, True),
            ([1, {"x": 2}], [1.0, {"x": 2.0}], True),
            ({"x": 1, "y": [None]}, {"y": [None], "x": 1}, True),
            (True, True, True),
        ],
    )
    def test_equality_is_that_of_json(self, there, given, equal):
        """RFC 6902 §4.6."""
        test = {"op": "test", "path": "/a", "value": given}
        assert (outcome({"a": there}, [test]) is not None) is equal

    @each("index", ["01", "-1", "+1", "1.0", "1e0", "٣", "²", "1\n", " 1", "", "x", "0_0"])
    @each("op", ["add", "remove", "replace", "move", "copy", "test"])
    def test_an_index_is_ascii_digits_without_a_leading_zero(self, op, index):
        """RFC 6901 §4."""
        list_ = list(range(12))
        for path, source in ((f"/a/{index}", "/b"), ("/b", f"/a/{index}")):
            if source == "/b" or op in ("move", "copy"):
                made = {"op": op, "path": path, "from": source, "value": 1}
                assert outcome({"a": list_, "b": 1}, [made]) is None

    @each("op", ["remove", "replace", "test", "copy", "move"])
    def test_only_what_is_put_has_a_place_after_the_last_item(self, op):
        made = {"op": op, "path": "/a/-" if op in ("remove", "replace", "test") else "/b", "from": "/a/-"}
        assert outcome({"a": [1, 2]}, [{**made, "value": 1}]) is None
        assert patched({"a": [1]}, {"op": "add", "path": "/a/-", "value": 2}) == {"a": [1, 2]}
        assert patched({"a": [1]}, {"op": "copy", "path": "/a/-", "from": "/a/0"}) == {"a": [1, 1]}

    @each("digits", [20, 4301, 1000])
    def test_an_index_or_number_of_any_length_ends_in_an_answer(self, digits):
        index = "1" * min(digits, 1000)
        assert outcome({"a": [1]}, [{"op": "replace", "path": f"/a/{index}", "value": 1}]) is None
        number = 10**digits
        with pytest.raises(InvalidRequest, match="operation 1: the test failed at '/a'"):
            patched({"a": number}, {"op": "test", "path": "/a", "value": number + 1})
        with pytest.raises(InvalidRequest, match="operation 1 from: there is nothing at '/b'"):
            patched({"a": number}, {"op": "copy", "path": "/c", "from": "/b"})
        with pytest.raises(InvalidRequest, match="operation 1 path: cannot add: there is no such place"):
            patched({"a": number}, {"op": "add", "path": "/b/c", "value": 1})


class TestAllOrNothing:
    @given(patches(), st.integers(0, 6))
    def test_a_failure_at_any_place_changes_nothing_and_names_the_place(self, both, at):
        document, operations = both
        good = []
        for one in operations:  # those that can be done, one after the other
            if outcome(document, [*good, one]) is not None:
                good.append(one)
        at = min(at, len(good))
        before = text(document)
        failing = {"op": "remove", "path": "/there/is/no/such/thing"}
        with pytest.raises(InvalidRequest) as caught:
            patched(document, *good[:at], failing, *good[at:])
        assert caught.value.field == f"operation {at + 1} path"
        assert text(document) == before

    def test_a_failed_test_undoes_what_was_done_before_it(self):
        document = {"a": [1]}
        with pytest.raises(InvalidRequest, match="operation 2: the test failed at '/a'; nothing was changed"):
            patched(
                document,
                {"op": "add", "path": "/a/-", "value": 2},
                {"op": "test", "path": "/a", "value": [1]},
            )
        assert document == {"a": [1]}


def containers(value: Any) -> list[int]:
    """The identities of all lists and objects in a value, doubles included."""
    if isinstance(value, dict):
        return [id(value), *(one for item in value.values() for one in containers(item))]
    if isinstance(value, list):
        return [id(value), *(one for item in value for one in containers(item))]
    return []


class TestAliases:
    @given(patches())
    def test_no_list_or_object_is_in_two_places(self, both):
        """Neither twice in the outcome, nor in it and in what was handed in."""
        document, operations = both
        try:
            checked = check(operations, None)
            again = check(operations, None)
            done = apply(document, checked)
        except InvalidRequest:
            return
        found = containers(done)
        assert len(set(found)) == len(found)
        assert not set(found) & set(containers([document, operations, checked, again]))
        assert not set(containers(checked)) & set(containers([operations, again]))

    def test_a_copy_and_a_value_lead_lives_of_their_own(self):
        value = ["x"]
        document = {"a": [1]}
        operations = check(
            [
                {"op": "copy", "path": "/b", "from": "/a"},
                {"op": "add", "path": "/b/-", "value": 2},
                {"op": "add", "path": "/c", "value": value},
                {"op": "add", "path": "/d", "value": value},
                {"op": "add", "path": "/c/-", "value": "y"},
            ],
            None,
        )
        expected = {"a": [1], "b": [1, 2], "c": ["x", "y"], "d": ["x"]}
        assert apply(document, operations) == expected
        assert apply(document, operations) == expected, "the second time as the first"
        assert (document, value) == ({"a": [1]}, ["x"])

    @given(patches())
    def test_a_patch_that_was_checked_passes_as_it_is(self, both):
        try:
            once = check(both[1], None)
        except InvalidRequest:
            return
        assert text(check(once, None)) == text(once)


class TestAllowed:
    @settings(max_examples=examples(100))
    @given(patches(), st.sets(names, max_size=4))
    def test_other_members_are_neither_changed_nor_read(self, both, others):
        """Whatever they hold, the answer is the same."""
        document, operations = both
        allowed = {*PLAIN, *ODD} - others
        checked = []
        for one in operations:
            try:
                checked += check([one], allowed)
            except InvalidRequest:
                continue
        for one in checked:
            for member in {"path", "from"} & set(one):
                first = one[member].split("/")[1].replace("~1", "/").replace("~0", "~")
                assert first in allowed
        if not checked:
            return
        mine = {name: value for name, value in document.items() if name in allowed}
        rest = {name: value for name, value in document.items() if name in others}
        try:
            done = apply(document, checked)
        except InvalidRequest as error:
            with pytest.raises(InvalidRequest) as caught:
                apply(mine, checked)
            assert str(caught.value) == str(error)
            return
        assert text({name: value for name, value in done.items() if name in others}) == text(rest)
        assert text({**apply(mine, checked), **rest}) == text(done)

    @each(
        "made",
        [
            {"op": "test", "path": "/secret", "value": "x"},
            {"op": "test", "path": "", "value": {}},
            {"op": "copy", "path": "/name", "from": "/secret"},
            {"op": "copy", "path": "/name", "from": ""},
            {"op": "move", "path": "/name", "from": "/secret"},
            {"op": "move", "path": "/secret", "from": "/name"},
            {"op": "replace", "path": "", "value": {}},
            {"op": "add", "path": "/secret/x", "value": 1},
            {"op": "add", "path": "/NAME", "value": 1},
            {"op": "add", "path": "/name~1x", "value": 1},
            {"op": "add", "path": "/", "value": 1},
            {"op": "add", "path": "//name", "value": 1},
            {"op": "remove", "path": "/nam"},
        ],
    )
    def test_the_refusal_says_what_can_be_patched(self, made):
        with pytest.raises(InvalidRequest, match=r"operation 2 (path|from): .* patched: expires, name\b"):
            check([{"op": "remove", "path": "/name"}, made], ["name", "expires"])

    def test_names_are_compared_unescaped(self):
        allowed = ["a/b", "m~n", ""]
        for path in ("/a~1b", "/m~0n/x", "/", "//x"):
            assert check([{"op": "remove", "path": path}], allowed)
        for path in ("/a/b", "/a", "/m~01n", "/m~1n"):
            with pytest.raises(InvalidRequest):
                check([{"op": "remove", "path": path}], allowed)

    def test_a_text_is_no_collection_of_names(self):
        with pytest.raises(TypeError):
            check([{"op": "remove", "path": "/am"}], "name")
        with pytest.raises(TypeError):
            check([{"op": "add", "path": "/a"}], ["a"], value_may_be_missing="a")


class TestCheck:
    @each(
        "operations",
        [None, "", "[]", b"[]", 1, {}, {"op": "remove", "path": "/a"}, {1}, iter([]), object(), []],
    )
    def test_anything_but_a_list_of_some_operations_is_refused(self, operations):
        with pytest.raises(InvalidRequest, match="operations: send "):
            check(operations, None)

    def test_a_single_operation_is_answered_by_what_to_send(self):
        with pytest.raises(InvalidRequest, match="send an array of operations, even if it is only one"):
            check({"op": "remove", "path": "/a"}, None)

    def test_there_are_at_most_32(self):
        one = {"op": "add", "path": "/a", "value": 1}
        assert len(check([one] * MAX_OPERATIONS, None)) == MAX_OPERATIONS == 32
        assert len(check((one,) * 32, None)) == 32
        with pytest.raises(InvalidRequest, match="operations: send 1 to 32 operations"):
            check([one] * 33, None)

    @each(
        ("made", "field"),
        [
            (None, ""),
            ("add", ""),
            ([], ""),
            ({}, " op"),
            ({"op": None, "path": "/a"}, " op"),
            ({"op": [], "path": "/a"}, " op"),
            ({"op": b"remove", "path": "/a"}, " op"),
            ({"op": "Remove", "path": "/a"}, " op"),
            ({"op": "append", "path": "/a", "value": "x"}, " op"),
            ({"op": "remove"}, " path"),
            ({"op": "remove", "path": None}, " path"),
            ({"op": "remove", "path": ["a"]}, " path"),
            ({"op": "remove", "path": jsonpatch.JsonPointer("/a")}, " path"),
            ({"op": "remove", "path": ""}, " path"),
            ({"op": "add", "path": "/a"}, " value"),
            ({"op": "replace", "path": "/a", "Value": 1}, " value"),
            ({"op": "test", "path": "/a"}, " value"),
            ({"op": "copy", "path": "/a", "value": 1}, " from"),
            ({"op": "move", "path": "/a"}, " from"),
            ({"op": "move", "path": "/a", "from": None}, " from"),
            ({"op": "move", "path": "/a/b", "from": "/a"}, " from"),
            ({"op": "move", "path": "/a/b/0", "from": "/a/b"}, " from"),
            ({"op": "move", "path": "/a", "from": ""}, " from"),
            ({"op": "add", "path": "/a", "value": float("nan")}, " value"),
            ({"op": "add", "path": "/a", "value": [float("inf")]}, " value"),
            ({"op": "add", "path": "/a", "value": {1: 2}}, " value"),
            ({"op": "add", "path": "/a", "value": [{None: 2}]}, " value"),
            ({"op": "add", "path": "/a", "value": b"x"}, " value"),
            ({"op": "add", "path": "/a", "value": {1, 2}}, " value"),
        ],
    )
    def test_the_error_names_the_place_and_the_member(self, made, field):
        with pytest.raises(InvalidRequest) as caught:
            check([{"op": "remove", "path": "/b"}, made], None)
        assert caught.value.field == f"operation 2{field}"

    def test_known_members_are_kept_and_others_dropped(self):
        full = {"path": "/a", "from": "/b", "value": (1,), "more": object(), 5: 6}
        kept = [one.keys() - {"op", "path"} for one in check([{"op": op, **full} for op in OPS], None)]
        assert kept == [{"value"}, {"from"}, {"from"}, set(), {"value"}, {"value"}]

    @each("op", ["add", "replace", "test"])
    def test_a_missing_value_is_null_only_for_the_members_that_are_named(self, op):
        def checked(path: str) -> list[dict[str, Any]]:
            return check([{"op": op, "path": path}], None, value_may_be_missing={"expirationDate", "m~n"})

        assert checked("/expirationDate") == [{"op": op, "path": "/expirationDate", "value": None}]
        assert checked("/m~0n")[0]["value"] is None
        for path in ("/name", "/expirationDate/x", "", "/", "/m~n"):
            with pytest.raises(InvalidRequest):
                checked(path)

    @each(
        ("pointer", "tokens"),
        [
            ("", []),
            ("/", [""]),
            ("//", ["", ""]),
            ("/foo/0", ["foo", "0"]),
            ("/a~1b", ["a/b"]),
            ("/m~0n", ["m~n"]),
            ("/~01", ["~1"]),  # RFC 6901 §4 warns of "/"
            ("/~00", ["~0"]),
            ("/ /\n/\x00/é/\ud800", [" ", "\n", "\x00", "é", "\ud800"]),
            ("/c%d", ["c%d"]),
            ("#/a", None),
            ("a", None),
            (" /a", None),
            ("0", None),
            ("-", None),
            ("/~", None),
            ("/a~", None),
            ("/~2", None),
            ("/~a/b", None),
            ("/~/0", None),
            ("/~\n", None),
            ("/~٠", None),
            ("/a" * 16, ["a"] * 16),
            ("/a" * 17, None),
            ("/" * 17, None),
            ("/" + "a" * 1023, ["a" * 1023]),
            ("/" + "a" * 1024, None),
            ("/" + "~" * 1_000_000, None),
        ],
    )
    def test_a_path_is_a_json_pointer(self, pointer, tokens):
        """RFC 6901 §3-4, and bounds of our own."""
        document: Any = "found"
        for token in reversed(tokens or []):
            document = {token: document}
        if tokens is None:
            with pytest.raises(InvalidRequest) as caught:
                check([{"op": "add", "path": pointer, "value": 1}], None)
            assert SAFE.fullmatch(str(caught.value))
            assert len(str(caught.value)) < 200
        elif tokens:
            assert patched(document, {"op": "copy", "path": "/found here", "from": pointer})[
                "found here"
            ] == ("found")
        else:
            assert patched({"a": 1}, {"op": "test", "path": "", "value": {"a": 1}}) == {"a": 1}

    @each("word", ['"', "\\", "'", "\n", "é", "\x7f", "\u202e", "\ud800", "x" * 41])
    def test_an_error_repeats_only_short_and_plain_words(self, word):
        for made in (
            {"op": word, "path": "/a"},
            {"op": "remove", "path": word},
            {"op": "remove", "path": "/" + word},
            {"op": "test", "path": "/" + word, "value": word},
            {"op": "copy", "path": "/a", "from": "/b/" + word},
        ):
            with pytest.raises(InvalidRequest) as caught:
                patched({}, made)
            message = str(caught.value)
            assert SAFE.fullmatch(message)
            assert len(word) == 1 or word not in message
        with pytest.raises(InvalidRequest, match="'/so mewhere!'"):
            patched({}, {"op": "remove", "path": "/so mewhere!"})


OPS = ["add", "copy", "move", "remove", "replace", "test"]


class TestBounds:
    @each(("path", "source"), [("/a/-", "/a"), ("/a/-", ""), ("/{}", "")])
    def test_copies_into_itself_end_before_the_document_is_large(self, path, source):
        document = {"a": [["x" * 10] * 20]}
        bomb = [{"op": "copy", "path": path.format(number), "from": source} for number in range(32)]
        started = time.monotonic()
        with pytest.raises(InvalidRequest, match=r"operation \d+ from: (too large|more than 32 levels)"):
            patched(document, *bomb)
        assert time.monotonic() - started < 5

    @given(
        st.lists(
            st.fixed_dictionaries(
                {
                    "op": st.sampled_from(["copy", "copy", "move", "add"]),
                    "path": st.sampled_from(["/a", "/b", "/c", "/b/-", "/c/x", "/c/y"]),
                    "from": st.sampled_from(["", "/a", "/b", "/c", "/c/x"]),
                    "value": st.sampled_from([[], {}, "y" * 5000, [1] * 500]),
                }
            ),
            min_size=1,
            max_size=32,
        )
    )
    def test_whatever_is_done_stays_within_the_bounds(self, operations):
        def size(value: Any) -> int:
            if isinstance(value, dict):
                return 8 + sum(len(name) + size(item) for name, item in value.items())
            if isinstance(value, list):
                return 8 + sum(map(size, value))
            return 8 + len(value) if isinstance(value, str) else 8

        document: dict[str, Any] = {"a": "x" * 3000, "b": [], "c": {}}
        good: list[dict[str, Any]] = []
        for one in operations:
            try:
                done = patched(document, *good, one)
            except InvalidRequest:
                continue
            good.append(one)
            assert size(done) <= MAX_SIZE
            assert text(done) == oracle(document, good)

    def test_the_work_is_bounded_too(self):
        """What is moved or overwritten counts, although the document does not grow."""
        large = "x" * 10_000
        there_and_back = [
            {"op": "move", "path": "/b", "from": "/a"},
            {"op": "move", "path": "/a", "from": "/b"},
        ]
        assert patched({"a": large}, *there_and_back * 5) == {"a": large}
        with pytest.raises(InvalidRequest, match=r"operation 1\d from: too large"):
            patched({"a": large}, *there_and_back * 10)
        with pytest.raises(InvalidRequest, match=r"operation 1\d value: too large"):
            check([{"op": "add", "path": "/a", "value": large}] * 20, None)

    @each("op", ["add", "replace"])
    def test_the_document_and_what_is_written_count_together(self, op):
        document = {"a": "x" * 100_000, "b": 1}
        one = {"op": op, "path": "/b", "value": "y" * 10_000}
        assert patched(document, *[one] * 3)
        with pytest.raises(InvalidRequest, match="operation 4 value: too large"):
            patched(document, *[one] * 4)

    def test_the_fullest_list_of_scopes_can_be_replaced_twice(self):
        scopes = ["s" * 128] * 256
        one = {"op": "replace", "path": "/scope", "value": scopes}
        assert patched({"scope": scopes, "name": "ci"}, one, one)["scope"] == scopes

    @each(
        "value",
        [
            pytest.param("x" * MAX_SIZE, id="a text"),
            pytest.param({"x" * MAX_SIZE: 1}, id="a name"),
            pytest.param([[]] * 20_000, id="empty lists"),
            pytest.param([None] * 20_000, id="nulls"),
            pytest.param({str(number): {} for number in range(20_000)}, id="empty objects"),
            pytest.param(1 << 400_000, id="a number"),
        ],
    )
    def test_neither_a_value_nor_the_document_can_be_too_large(self, value):
        with pytest.raises(InvalidRequest, match="operation 1 value: too large"):
            check([{"op": "add", "path": "/a", "value": value}], None)
        with pytest.raises(InvalidRequest, match="document: too large"):
            apply({"a": value}, [{"op": "remove", "path": "/a"}])

    def test_a_value_of_many_references_to_one_is_left_early(self):
        value: Any = ["x"]
        for _ in range(25):
            value = [value] * 20
        with pytest.raises(InvalidRequest, match="too large"):
            check([{"op": "add", "path": "/a", "value": value}], None)

    def test_a_value_within_itself_is_refused(self):
        endless: list[Any] = []
        endless.append(endless)
        with pytest.raises(InvalidRequest, match="32 levels deep"):
            check([{"op": "add", "path": "/a", "value": endless}], None)

    @each("op", ["copy", "move"])
    def test_nothing_grows_deeper_than_python_can_follow(self, op):
        """Paths of 16 levels, 32 times over."""
        chain: Any = {}
        for _ in range(14):
            chain = {"x": chain}
        document = {str(number): copy.deepcopy(chain) for number in range(33)}
        deeper = [
            {"op": op, "path": f"/{number + 1}" + "/x" * 14 + "/y", "from": f"/{number}"}
            for number in range(32)
        ]
        with pytest.raises(InvalidRequest, match="operation 2 from: more than 32 levels deep"):
            patched(document, *deeper)

    def test_the_depth_that_is_allowed_is_32_and_counts_the_path(self):
        def nested(levels: int) -> Any:
            return [nested(levels - 1)] if levels else 1

        for path in ("/a", "/a/b"):
            most = MAX_DEPTH - path.count("/")
            assert outcome({"a": {}}, [{"op": "add", "path": path, "value": nested(most)}])
            assert outcome({"a": {}}, [{"op": "add", "path": path, "value": nested(most + 1)}]) is None


LARGE = "x" * 200_000
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.just(LARGE),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text() | st.integers() | st.none(), inner, max_size=3)
    ),
    max_leaves=8,
)
members = st.sampled_from(["op", "path", "from", "value"])
hostile = st.dictionaries(members, anything | pointers | st.sampled_from(OPS), max_size=4)


@settings(max_examples=examples(100))
@example({"a": 1}, [{"op": "add", "path": "/a/b", "value": 1}])
@example({"a": "text"}, [{"op": "add", "path": "/a/0", "value": "x"}])
@example({"a": "text"}, [{"op": "remove", "path": "/a/0"}])
@example({"a": [1]}, [{"op": "test", "path": "/a/-/0", "value": None}])
@example({"a": None}, [{"op": "replace", "path": "/a/b", "value": None}])
@example({}, [{"op": "replace", "path": "", "value": []}, {"op": "add", "path": "/-", "value": 1}])
@given(
    st.dictionaries(names | st.integers(), anything, max_size=3) | documents,
    anything | st.lists(hostile | operation() | anything, max_size=5),
)
def test_whatever_comes_is_done_or_refused(document, operations):
    for allowed in (None, {"a"}):
        try:
            assert isinstance(apply(document, check(operations, allowed)), dict)
        except InvalidRequest as error:
            assert SAFE.fullmatch(str(error))
            assert len(str(error)) < 250


@each("value", [None, [], "text", 1, True])
def test_the_document_stays_an_object(value):
    """In between it may be anything."""
    whole = {"op": "replace", "path": "", "value": value}
    with pytest.raises(InvalidRequest, match="operations: the document has to stay an object"):
        patched({"a": 1}, whole)
    assert patched({"a": 1}, whole, {"op": "add", "path": "", "value": {"b": 2}}) == {"b": 2}
