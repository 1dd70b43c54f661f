"""No rule is in `wsgi/page/`: the page shows, and the operations decide. Read from the source by `ast`."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import patauth
from tests.support.tables import each

PAGE = Path(patauth.__file__).parent / "wsgi" / "page"
MODULES = sorted(path.name for path in PAGE.glob("*.py"))

# What the page may take from the rest of patauth: nothing of the store, and nothing that knows who holds a
# scope or a right, or a limit. Each operation asks that for itself.
ALLOWED = {
    "errors": None,  # all of it
    "settings": {"parse_duration"},
    "model.caller": {"Person"},
    "model.dates": None,
    "model.address": {"check_networks"},  # the shape of a field, as below
    "model.expiry": {"FIELD", "Expiry"},
    "model.filters": None,
    "model.leaks": {"CredentialInText", "holds_credential"},
    "model.pat": {"IssuedPat", "Owner", "PersonalAccessToken", "check_description", "check_name"},
    "model.pat_id": {"PatId"},
    "model.quota": {"Decision"},
    "model.rights": {"Verb"},  # a type
    "model.scopes": {"check_some"},
    "model.sorters": {"Sorter"},
    "operations.create": {"AlreadyMade", "NewPat", "create"},
    "operations.disable": {"set_disabled"},
    "operations.lifecycle": None,
    "operations.listing": {"TooMany"},
    "operations.own": {"OwnPats", "actions", "grantable", "lifetime_left", "own_pats"},
    "operations.pat_change": {"PatChange"},
    "operations.permissions": {"Actor", "HoldsMore"},
    "operations.rotate": {"rotate"},
    "operations.update": {"update"},
    "operations.writes": {"Changed", "OwnerDisabled"},
    "wsgi.answers": None,
    "wsgi.api.caller": {"signed_in"},
    "wsgi.api.csrf": None,
    "wsgi.bodies": {"query", "read_fields"},
    "wsgi.errors": None,
    "wsgi.languages": {"choose"},
    "wsgi.routing": None,
    "wsgi.site": {"Site"},
}
# Parts of these that decide, and are for operations alone.
DECIDES = {
    *("covers", "allows", "implies", "is_right", "check_known", "narrow", "limit", "judged"),
    *("settle", "instant", "grows", "apply", "require_all", "require_no_more", "require_confirmed", "sees"),
    *("visible", "is_operator", "scopes_of", "store", "hasher", "credential", "as_host", "holds"),
}
OPERATIONS = {"make", "renew", "update", "set_disabled", "delete"}  # as views.py calls them


def tree(module: str) -> ast.Module:
    return ast.parse((PAGE / module).read_text("utf-8"))


def taken(module: str) -> Iterator[tuple[str, str]]:
    """Yield each name that a module of the page imports from the rest of patauth, with where it is from."""
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import):
            assert not [one.name for one in node.names if one.name.startswith("patauth")], module
        elif isinstance(node, ast.ImportFrom) and node.level != 1:
            if not node.level:
                assert not (node.module or "").startswith("patauth"), module
                continue
            place = ["wsgi"] if node.level == 2 else []
            start = ".".join([*place, *filter(None, [node.module])])
            for one in node.names:
                whole = f"{start}.{one.name}"
                yield (whole, "") if whole in ALLOWED and ALLOWED[whole] is None else (start, one.name)


@each("module", MODULES)
def test_the_page_takes_from_the_rest_of_patauth_what_shows_and_what_acts(module: str) -> None:
    for place, name in taken(module):
        assert place in ALLOWED, (module, place, name)
        names = ALLOWED[place]
        assert names is None or name in names, (module, place, name)


def test_the_list_of_what_the_page_takes_names_nothing_that_it_does_not_take() -> None:
    found = {place for module in MODULES for place, _ in taken(module)}
    assert found == set(ALLOWED)
    names = {(place, name) for module in MODULES for place, name in taken(module)}
    for place, allowed in ALLOWED.items():
        assert {name for one, name in names if one == place} >= (allowed or set()), place


@each("module", MODULES)
def test_nothing_in_the_page_decides_who_may_do_what_or_until_when(module: str) -> None:
    for node in ast.walk(tree(module)):
        assert not isinstance(node, ast.Attribute) or node.attr not in DECIDES, (module, ast.unparse(node))
        if isinstance(node, ast.Compare):
            said = ast.unparse(node)
            # To be equal is only to be as it was.
            ordered = [op for op in node.ops if not isinstance(op, ast.Eq | ast.NotEq | ast.Is | ast.IsNot)]
            assert not (ordered and "scope" in said), (module, said)


def test_each_view_that_changes_something_calls_one_operation() -> None:
    calls = {
        function.name: [
            name
            for node in ast.walk(function)
            if isinstance(node, ast.Call)
            and (name := getattr(node.func, "id", getattr(node.func, "attr", ""))) in OPERATIONS
        ]
        for function in tree("views.py").body
        if isinstance(function, ast.FunctionDef)
    }
    assert {name: called for name, called in calls.items() if called} == {
        "create": ["make"],
        "edit": ["update"],
        "rotate": ["renew"],
        "disable": ["set_disabled"],
        "enable": ["set_disabled"],
        "revoke": ["delete"],
    }


def test_templates_trust_no_text_and_hold_no_script_or_style() -> None:
    files = [*PAGE.rglob("*.html")]
    assert len(files) >= 9
    for file in files:
        found = re.search(
            r"[|] *safe|autoescape|<style|<script>|\s(?:style|on\w+)=|https?:", file.read_text("utf-8")
        )
        assert found is None, (file.name, found)
    for module in MODULES:
        for node in ast.walk(tree(module)):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Markup":
                assert isinstance(node.args[0], ast.Constant), module
