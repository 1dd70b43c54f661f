"""Scopes: what is one, what covers it, and what an access token gets."""

from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patauth.errors import InvalidScope
from patauth.model import scopes
from patauth.model.rights import EVERYTHING, allows
from patauth.model.scopes import DEFAULT_IGNORED
from tests.support import rights
from tests.support.rights import FEW, LISTED, REACHES, VERBS, catalogues, word_sets, words
from tests.support.tables import each

# RFC 6750 §3.1: what an error_description may hold.
DESCRIPTION = re.compile(r"[\x20-\x21\x23-\x5B\x5D-\x7E]+")

tokens = st.text(
    st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters='"\\'), min_size=1, max_size=128
)
few = st.sampled_from(["a", "b", "c", "reports:read", EVERYTHING, "openid", "urn:zitadel:iam:x"])
scope_lists = st.lists(few, max_size=6)
scope_sets = st.frozensets(few, max_size=5)


class TestParse:
    def test_an_empty_parameter_counts_as_omitted(self):
        assert scopes.parse("") == ()

    def test_a_text_of_a_subclass_becomes_a_plain_one(self):
        class Text(str):
            pass

        (scope,) = scopes.check([Text("a")])
        assert type(scope) is str

    def test_order_is_kept_and_doubles_are_dropped(self):
        assert scopes.parse("b a b c a") == ("b", "a", "c")

    @given(st.lists(tokens, min_size=1, max_size=20))
    def test_every_list_that_the_grammar_allows_is_read(self, listed):
        assert scopes.parse(" ".join(listed)) == tuple(dict.fromkeys(listed))

    @each(
        "text",
        [
            pytest.param("a  b", id="double space"),
            pytest.param(" a", id="leading space"),
            pytest.param("a ", id="trailing space"),
            pytest.param(" ", id="only a space"),
            pytest.param("a\tb", id="tab"),
            pytest.param("a\n", id="trailing line feed"),
            pytest.param("a\r\nX-Evil: 1", id="line break"),
            pytest.param('a"b', id="quote"),
            pytest.param("a\\b", id="backslash"),
            pytest.param("a\x00", id="NUL"),
            pytest.param("a\x7f", id="DEL"),
            pytest.param("é", id="Latin-1"),
            pytest.param("а", id="Cyrillic a"),
            pytest.param("a\u00a0b", id="no-break space"),
            pytest.param("\ud800", id="lone surrogate"),
            pytest.param("a" * 129, id="129 characters"),
            pytest.param(" ".join(f"s{n}" for n in range(257)), id="257 scopes"),
            pytest.param(" ".join(["a"] * 257), id="257 scopes, all the same"),
            pytest.param("a" * 1_000_000, id="a megabyte"),
        ],
    )
    def test_what_the_grammar_or_the_limits_forbid_is_refused(self, text):
        with pytest.raises(InvalidScope) as caught:
            scopes.parse(text)
        assert DESCRIPTION.fullmatch(str(caught.value))

    def test_the_limits_themselves_are_allowed(self):
        most = [f"{n:0128d}" for n in range(256)]
        assert scopes.parse(" ".join(most)) == tuple(most)

    @given(st.text(max_size=60))
    def test_any_text_is_read_or_refused_with_a_text_fit_for_a_header(self, text):
        pieces = text.split(" ")
        if not text or all(re.fullmatch(r"[!#-\[\]-~]+", piece) for piece in pieces):
            assert set(scopes.parse(text)) == set(pieces) - {""}
        else:
            with pytest.raises(InvalidScope) as caught:
                scopes.parse(text)
            assert DESCRIPTION.fullmatch(str(caught.value))


class TestCheck:
    @given(st.lists(tokens, max_size=20))
    def test_a_list_follows_the_same_rules_as_a_text(self, listed):
        assert scopes.check(listed) == scopes.parse(" ".join(listed))

    def test_any_iterable_will_do(self):
        assert scopes.check(name for name in ("a", "b")) == ("a", "b")
        assert scopes.check({"a"}) == ("a",)

    @each("value", ["reports:read", "", b"a", {"a": 1}, None, 5])
    def test_what_is_no_list_is_refused_with_an_example(self, value):
        with pytest.raises(InvalidScope, match=r"give a list of texts, such as \['reports:read'"):
            scopes.check(value)

    @each("value", [["a", 1], ["a", None], ["a", ["b"]], ["a", "b c"], ["a", ""], ["a", b"b"]])
    def test_the_message_gives_the_place_of_the_wrong_entry(self, value):
        with pytest.raises(InvalidScope, match=r"^scope 2 "):
            scopes.check(value)

    def test_a_scope_has_1_to_128_characters(self):
        assert scopes.check(["a" * 128]) == ("a" * 128,)
        with pytest.raises(InvalidScope, match=r"^scope 2 .*128"):
            scopes.check(["a", "a" * 129])
        with pytest.raises(InvalidScope, match=r"^scope 2 is empty"):
            scopes.check(["a", "", "b"])
        with pytest.raises(InvalidScope, match=r"^scope 2 is empty"):
            scopes.parse("a  b")

    def test_an_endless_list_is_refused_at_the_limit(self):
        def endless():
            while True:
                yield "a"

        with pytest.raises(InvalidScope, match="more than 256"):
            scopes.check(endless())


class TestCovers:
    @given(scope_sets, scope_lists, scope_sets)
    def test_each_wanted_scope_is_held_or_in_the_catalogue_of_who_holds_everything(
        self, held, wanted, catalogue
    ):
        reach = held | (catalogue if EVERYTHING in held else set())
        assert scopes.covers(held, wanted, catalogue) == (set(wanted) <= reach)

    @given(scope_sets, scope_sets)
    def test_wanting_everything_takes_holding_it_by_name(self, held, catalogue):
        assert scopes.covers(held, [EVERYTHING], catalogue) == (EVERYTHING in held)

    def test_everything_without_a_catalogue_covers_only_itself(self):
        assert not scopes.covers({EVERYTHING}, ["reports:read"])

    def test_nothing_wanted_is_always_covered(self):
        assert scopes.covers((), ())

    @each("arguments", [("ab", ["a"]), ({"a"}, "a"), ({"a"}, ""), ({EVERYTHING}, ["a"], "ab")])
    def test_a_plain_text_is_never_taken_for_a_collection_of_scopes(self, arguments):
        with pytest.raises(TypeError):
            scopes.covers(*arguments)

    def test_the_catalogue_may_be_the_mapping_of_the_settings(self):
        assert scopes.covers((EVERYTHING,), ["reports:read"], {"reports:read": "Read reports"})


class TestNarrow:
    @given(scope_lists, scope_sets, scope_sets)
    def test_what_is_issued_is_what_was_asked_and_is_held_or_all_that_is_held(
        self, requested, held, catalogue
    ):
        asked = [name for name in requested if name not in ("openid", "urn:zitadel:iam:x")]
        held = tuple(held)
        if scopes.covers(held, asked, catalogue):
            issued = scopes.narrow(scopes.check(requested), held, catalogue, DEFAULT_IGNORED)
            assert issued == (tuple(dict.fromkeys(asked)) or held)
            assert scopes.covers(held, issued, catalogue)
        else:
            with pytest.raises(InvalidScope):
                scopes.narrow(requested, held, catalogue, DEFAULT_IGNORED)

    def test_zitadels_own_request_gets_all_that_the_pat_holds(self):
        requested = scopes.parse("openid urn:zitadel:iam:org:project:id:zitadel:aud")
        assert scopes.narrow(requested, ("a", "b"), (), DEFAULT_IGNORED) == ("a", "b")

    def test_an_ignored_scope_is_matched_whole_unless_it_ends_in_a_star(self):
        with pytest.raises(InvalidScope):
            scopes.narrow(["openid2"], ("a",), (), DEFAULT_IGNORED)
        with pytest.raises(InvalidScope):
            scopes.narrow(["urn:zitadel"], ("a",), (), DEFAULT_IGNORED)

    def test_with_an_empty_ignore_list_nothing_is_ignored(self):
        with pytest.raises(InvalidScope):
            scopes.narrow(["openid"], ("a",), (), ())

    def test_the_error_names_up_to_three_scopes_that_are_missing(self):
        with pytest.raises(InvalidScope, match=r"personal access token: b c d and 2 more$"):
            scopes.narrow(["a", "b", "c", "d", "e", "f"], ("a",), (), ())

    def test_the_error_names_nothing_that_everything_stands_for(self):
        with pytest.raises(InvalidScope, match=r"personal access token: c$"):
            scopes.narrow(["a", "b", "c"], (EVERYTHING, "b"), {"a": ""}, ())

    @given(st.lists(tokens, min_size=1, max_size=5))
    def test_whatever_is_missing_the_text_is_fit_for_a_header(self, requested):
        with pytest.raises(InvalidScope) as caught:
            scopes.narrow([f"x{name}"[:128] for name in requested], (), (), ())
        assert DESCRIPTION.fullmatch(str(caught.value))


class TestCoversRights:
    @given(word_sets, word_sets, catalogues)
    def test_it_is_what_the_oracle_says(self, held, wanted, catalogue):
        assert scopes.covers(held, wanted, catalogue) == rights.covered(held, wanted, catalogue)

    def test_so_it_is_for_each_right_beside_each_that_is_listed(self):
        for held, catalogue in itertools.product(FEW, LISTED):
            for wanted in [*rights.RIGHTS, EVERYTHING]:
                expected = rights.covered(held, [wanted], catalogue)
                assert scopes.covers(held, [wanted], catalogue) == expected, (held, wanted, catalogue)

    @given(word_sets, word_sets, words, catalogues)
    def test_who_covers_what_covers_a_scope_covers_that_too(self, held, between, last, catalogue):
        """Transitive: by no chain of makers does anybody come to more than the first one held."""
        between = {one for one in between if scopes.covers(held, [one], catalogue)}
        if scopes.covers(between, [last], catalogue):
            assert scopes.covers(held, [last], catalogue)

    def test_so_it_is_by_each_right_beside_each_that_is_listed(self):
        for held, catalogue in itertools.product(FEW, LISTED):
            for between, last in itertools.product([*rights.RIGHTS, EVERYTHING], repeat=2):
                if scopes.covers(held, [between], catalogue) and scopes.covers([between], [last], catalogue):
                    assert scopes.covers(held, [last], catalogue), (held, between, last, catalogue)

    @given(word_sets, word_sets, word_sets, catalogues, catalogues)
    def test_more_held_or_more_listed_never_covers_less(self, held, more, wanted, catalogue, listed):
        if scopes.covers(held, wanted, catalogue):
            assert scopes.covers(held | more, wanted, catalogue | listed)
            assert all(scopes.covers(held, [one], catalogue) for one in wanted)
        else:
            assert not all(scopes.covers(held, [one], catalogue) for one in wanted)

    @given(word_sets, word_sets, catalogues)
    def test_what_is_covered_allows_nothing_that_its_holder_may_not_do(self, held, passed_on, catalogue):
        if scopes.covers(held, passed_on, catalogue):
            assert rights.powers(passed_on, catalogue) <= rights.powers(held, catalogue)
            for reach in REACHES:
                for verb in VERBS:
                    if allows(passed_on, reach, verb, catalogue):
                        assert allows(held, reach, verb, catalogue)

    def test_everything_covers_no_right_to_manage_even_if_the_catalogue_lists_it(self):
        for right in rights.RIGHTS:
            assert scopes.covers({EVERYTHING}, [right], rights.RIGHTS) == (right in rights.READING)
            assert not scopes.covers({EVERYTHING}, [right])

    def test_no_set_of_rights_covers_everything_or_a_scope_of_the_application(self):
        for wanted in (EVERYTHING, "reports:read", "oauth:introspect"):
            assert not scopes.covers(set(rights.RIGHTS), [wanted], {wanted})


class TestNarrowRights:
    def test_an_exchange_goes_from_more_to_less_and_never_back(self):
        most, least = rights.ALL_MANAGE, "sp:my-personal-access-tokens:read"
        assert scopes.narrow([least], (most,), (), DEFAULT_IGNORED) == (least,)
        with pytest.raises(InvalidScope):
            scopes.narrow([most], (least,), (), DEFAULT_IGNORED)

    @each("asked", rights.RIGHTS)
    @each("held", rights.RIGHTS)
    def test_of_each_two_rights_it_is_granted_if_the_one_is_worth_the_other(self, held, asked):
        if rights.RIGHTS[asked] <= rights.RIGHTS[held]:
            assert scopes.narrow([asked], (held,), (), DEFAULT_IGNORED) == (asked,)
        else:
            with pytest.raises(InvalidScope):
                scopes.narrow([asked], (held,), (), DEFAULT_IGNORED)

    @each("right", rights.RIGHTS)
    def test_everything_is_narrowed_to_rights_to_read_that_are_listed_alone(self, right):
        if right in rights.READING:
            assert scopes.narrow([right], (EVERYTHING,), {right}, ()) == (right,)
        for catalogue in ((), {right} - rights.READING):
            with pytest.raises(InvalidScope):
                scopes.narrow([right], (EVERYTHING,), catalogue, ())


def test_a_pat_has_at_least_one_scope() -> None:
    assert scopes.check_some(["a", "b", "a"]) == ("a", "b")
    with pytest.raises(InvalidScope, match="at least one"):
        scopes.check_some([])


class TestCheckKnown:
    def test_a_long_scope_is_named_by_its_place(self):
        """It may be a secret, sent by mistake; the texts of errors repeat none."""
        short, long = "x" * 48, "x" * 49
        for unknown, shown in ((short, short), (long, "number 2")):
            with pytest.raises(InvalidScope, match=f"^scope: {shown} is not"):
                scopes.check_known(["a", unknown], {"a": ""})

    def test_without_a_catalogue_every_scope_is_known(self):
        scopes.check_known(["anything", *rights.LOOK_ALIKES], None)

    @given(word_sets, catalogues)
    def test_with_one_each_scope_is_in_it_or_a_right(self, some, catalogue):
        known = catalogue | rights.RIGHTS.keys() | {EVERYTHING, "oauth:introspect"}
        if some <= known:
            scopes.check_known(some, catalogue)
        else:
            with pytest.raises(InvalidScope, match="is not in the catalogue"):
                scopes.check_known(some, catalogue)

    def test_an_empty_catalogue_is_one_and_has_no_scopes(self):
        scopes.check_known(rights.RIGHTS, {})
        with pytest.raises(InvalidScope, match=r"^scope: reports:read is not") as caught:
            scopes.check_known(["reports:read"], {})
        assert DESCRIPTION.fullmatch(str(caught.value))
