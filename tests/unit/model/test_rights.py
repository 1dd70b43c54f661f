"""What each right allows, against the oracle of `tests.support.rights`."""

from __future__ import annotations

import itertools

from hypothesis import given

from patauth.model.rights import EVERYTHING, allows, is_right
from patauth.model.scopes import covers
from tests.support import rights
from tests.support.rights import FEW, LISTED, REACHES, VERBS, catalogues, word_sets
from tests.support.tables import each


class TestAllows:
    """Rights, against an oracle that spells out what each is worth."""

    @given(word_sets, catalogues)
    def test_it_is_what_the_oracle_says_for_each_reach_and_verb(self, held, catalogue):
        may = rights.powers(held, catalogue)
        for reach in REACHES:
            for verb in VERBS:
                assert allows(held, reach, verb, catalogue) == (f"{verb} {reach}" in may), (
                    reach,
                    verb,
                )

    def test_so_it_is_for_each_right_beside_each_that_is_listed(self):
        for held, catalogue in itertools.product(FEW, LISTED):
            may = rights.powers(held, catalogue)
            for reach, verb in itertools.product(REACHES, VERBS):
                assert allows(held, reach, verb, catalogue) == (f"{verb} {reach}" in may), held

    @each("reach", REACHES)
    @each("verb", ["read", "manage"])
    def test_both_spellings_are_the_same_right(self, reach, verb):
        right = f"{reach}-personal-access-tokens:{verb}"
        for held, wanted in (("idn:", "sp:"), ("sp:", "idn:"), ("idn:", "idn:"), ("sp:", "sp:")):
            assert covers({held + right}, [wanted + right])
            assert allows({held + right}, reach, verb)

    @each("catalogue", [(), ("reports:read",), tuple(rights.RIGHTS), rights.LOOK_ALIKES])
    def test_everything_reads_and_deletes_ones_own_and_never_makes_any(self, catalogue):
        assert allows({EVERYTHING}, "my", "read", catalogue)
        assert allows({EVERYTHING}, "my", "delete", catalogue)
        for reach in REACHES:
            assert not allows({EVERYTHING}, reach, "manage", catalogue)
            if reach != "my":
                assert not allows({EVERYTHING}, reach, "delete", catalogue)

    @each("right", rights.RIGHTS)
    def test_everything_stands_for_a_right_to_read_that_the_catalogue_lists(self, right):
        for reach in REACHES[1:]:
            expected = right in rights.READING and f"read {reach}" in rights.RIGHTS[right]
            assert allows({EVERYTHING}, reach, "read", {right}) == expected

    @each("scope_", rights.LOOK_ALIKES)
    def test_what_only_looks_like_a_right_is_none(self, scope_):
        assert not is_right(scope_)
        for reach in REACHES:
            for verb in VERBS:
                assert not allows({scope_}, reach, verb, {scope_})

    @given(word_sets, word_sets, catalogues)
    def test_more_scopes_never_allow_less(self, held, more, catalogue):
        for reach in REACHES:
            for verb in VERBS:
                if allows(held, reach, verb, catalogue):
                    assert allows(held | more, reach, verb, catalogue | more)
