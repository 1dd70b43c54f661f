"""What a form means for an operation."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from patauth import InvalidRequest, Owner, PersonalAccessToken
from patauth.model.expiry import Expiry
from patauth.operations.pat_change import PatChange
from patauth.wsgi.page import forms
from patauth.wsgi.page.forms import Form

KEY = "A" * 22
PRESETS = ("7d", "30d", "600s")
PAT = PersonalAccessToken(
    id="0" * 32,
    name="ci",
    scope=("reports:read", "reports:write"),
    owner=Owner("alice"),
    tenant="default",
    created_ms=0,
    changed_ms=0,
    sequence=3,
    expires_ms=1_900_000_000_000,
    description="builds",
    networks=("192.0.2.0/24", "2001:db8::/32"),
)


def form(**given: object) -> Form:
    fields = {"name": "ci", "scope": ["reports:read"], "expires_in": "30d", "form_key": KEY, **given}
    return Form({name: [value] if isinstance(value, str) else value for name, value in fields.items()})  # type: ignore[misc]


class TestNewPat:
    def test_it_says_what_was_typed(self) -> None:
        new = forms.new_pat(
            form(
                name=" ci ",
                scope=["a", "b"],
                description=" builds ",
                networks="192.0.2.1\r\n2001:db8::/32, 10.0.0.0/8\n",
            ),
            PRESETS,
        )
        assert (new.owner, new.name, list(new.scope or ()), new.once) == (None, "ci", ["a", "b"], KEY)
        assert new.description == "builds"
        assert list(new.networks or ()) == ["192.0.2.1", "2001:db8::/32", "10.0.0.0/8"]
        assert (new.expiry, new.never_acknowledged) == (Expiry(after_ms=30 * 86_400_000), False)

    def test_what_is_left_empty_is_not_there(self) -> None:
        new = forms.new_pat(form(description="  ", networks=" \n"), PRESETS)
        assert (new.description, new.networks) == (None, None)

    @pytest.mark.parametrize(
        ("given", "expiry"),
        [
            ({"expires_in": "7d"}, Expiry(after_ms=7 * 86_400_000)),
            ({"expires_in": "600s"}, Expiry(after_ms=600_000)),
            ({"expires_in": "never"}, Expiry()),
            ({"expires_in": "custom", "expires_at": "2030-01-31"}, Expiry(at_ms=1_896_134_399_000)),
        ],
    )
    def test_the_expiry_is_a_time_from_now_a_whole_day_or_never(
        self, given: dict[str, str], expiry: Expiry
    ) -> None:
        assert forms.new_pat(form(**given), PRESETS).expiry == expiry

    @pytest.mark.parametrize(
        "given",
        [
            {"expires_in": ""},
            {"expires_in": "soon"},
            {"expires_in": "1s"},
            {"expires_in": "99999w"},
            {"expires_in": "31d"},
            {"expires_in": "keep"},
            {"expires_in": "custom"},
            {"expires_in": "custom", "expires_at": "2030-02-30"},
            {"expires_in": "custom", "expires_at": "2030-01-31T00:00:00Z#"},
        ],
    )
    def test_another_expiry_is_wrong_at_its_field(self, given: dict[str, str]) -> None:
        with pytest.raises(InvalidRequest) as caught:
            forms.new_pat(form(**given), PRESETS)
        assert caught.value.field == "expiry"

    @pytest.mark.parametrize("key", ["", "A" * 21, "A" * 23, "A" * 21 + "/"])
    def test_a_form_without_its_key_is_refused(self, key: str) -> None:
        with pytest.raises(InvalidRequest):
            forms.new_pat(form(form_key=key), PRESETS)


class TestChange:
    def test_a_form_that_was_not_touched_changes_nothing(self) -> None:
        change = forms.change_of(forms.of_pat(PAT), PAT, PRESETS)
        assert change == PatChange(name="ci", description="builds")
        bare = replace(PAT, description=None, networks=())
        assert forms.change_of(forms.of_pat(bare), bare, PRESETS) == PatChange(name="ci", description="")

    def test_what_was_emptied_is_taken_away(self) -> None:
        typed = Form({**forms.of_pat(PAT).fields, "description": [""], "networks": [""]})
        change = forms.change_of(typed, PAT, PRESETS)
        assert (change.description, change.networks) == ("", ())

    def test_the_order_of_scopes_is_no_change(self) -> None:
        typed = Form({**forms.of_pat(PAT).fields, "scope": ["reports:write", "reports:read"]})
        assert forms.change_of(typed, PAT, PRESETS).scope is None

    def test_it_ends_at_one_of_the_times_that_were_to_choose_from(self) -> None:
        for choice in ("1s", "99999w", "60d"):
            typed = Form({**forms.of_pat(PAT).fields, "expires_in": [choice]})
            with pytest.raises(InvalidRequest) as caught:
                forms.change_of(typed, PAT, PRESETS)
            assert caught.value.field == "expiry"

    def test_it_tells_which_state_of_the_token_it_was_made_for(self) -> None:
        assert forms.sequence(forms.of_pat(PAT)) == 3
        for text in ("", "-1", "x", "9" * 16):
            with pytest.raises(InvalidRequest):
                forms.sequence(Form({"sequence": [text]}))


def test_a_form_tells_of_a_token_by_name_scopes_and_description() -> None:
    typed = form(name=" ci ", scope=["reports:write", "reports:read"], description=" builds ")
    assert forms.tells_of(typed, PAT)
    for more in ({"name": "other"}, {"scope": ["reports:read"]}, {"description": ""}):
        assert not forms.tells_of(
            Form({**typed.fields, **{k: [v] if isinstance(v, str) else v for k, v in more.items()}}), PAT
        )


def test_a_link_fills_in_what_the_form_has() -> None:
    query = {"name": "<ci>", "scope": "a b", "expires_in": "90d", "networks": "10.0.0.0/8"}
    filled = forms.prefilled(query, ["7d", "30d", "90d"])
    assert (filled.text("name"), filled.all("scope"), filled.text("expires_in")) == (
        "<ci>",
        ["a", "b"],
        "90d",
    )
    assert filled.text("networks") == ""
    assert forms.prefilled({"expires_in": "365d"}, ["7d", "30d"]).text("expires_in") == "30d"
    assert forms.prefilled({}, ["600s"]).text("expires_in") == "600s"


def test_the_old_secret_works_for_one_of_four_times() -> None:
    assert forms.overlap(Form({"overlap": ["day"]})) == timedelta(days=1)
    with pytest.raises(InvalidRequest) as caught:
        forms.overlap(Form({"overlap": ["year"]}))
    assert caught.value.field == "overlap"


def test_all_that_is_wrong_with_single_fields_is_found_at_once() -> None:
    assert forms.mistakes(form()) == []
    assert forms.mistakes(forms.of_pat(PAT)) == []
    wrong = form(
        name=" ",
        description="\x00",
        scope=[],
        expires_in="custom",
        expires_at="2030-02-30",
        networks="10.0.0.0/8 10.1.1.300",
    )
    assert [mistake.field for mistake in forms.mistakes(wrong)] == [
        "name", "description", "scope", "expiry", "networks[1]",
    ]  # fmt: skip
