"""The documentation site, without building it: navigation, links to the outside, and one place for addresses.

tests/system/test_site.py builds it and looks at it.
"""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import click
from click.testing import CliRunner

import patauth
from docs.site import links, navigation, reference
from patauth.cli import program
from tests.support.documents import OF_SITE, blocks, read
from tests.support.paths import ROOT
from tests.support.tables import each

LISTED = [page for listed in navigation.parts().values() for page in listed]
GENERATED = {"python", "frameworks", "cli", "http"}


def project() -> dict[str, Any]:
    return tomllib.loads(read("pyproject.toml"))


def test_every_page_is_in_the_navigation_once() -> None:
    expected = {name.removeprefix("docs/").removesuffix(".md") for name in OF_SITE} - {navigation.START}
    assert Counter(LISTED) == Counter(expected)


def test_a_page_that_is_named_nowhere_stands_where_its_folder_does() -> None:
    """So a new page is found, before anybody gives it a better place."""
    patterns = [pattern for part in navigation.PARTS.values() for pattern in part if "*" in pattern]
    assert sorted(patterns) == ["*", "how-to/*", "reference/*"]


def test_the_first_page_leads_to_each_part_of_the_navigation() -> None:
    linked = set(re.findall(r"\]\(([^)#]+)\.md", read("docs/index.md")))
    for part in navigation.PARTS:
        if part != "Project":
            assert linked & set(navigation.parts()[part]), part


def test_generated_reference_is_not_in_the_repository() -> None:
    """A page of it has a head, and a mark for each text that is made when the site is built."""
    marks = []
    for name in OF_SITE:
        if name.startswith("docs/reference/"):
            found = re.findall(r"^<!-- generated: (\w+) -->$", read(name), re.M)
            assert len(found) == 1, name
            assert read(name).endswith(f"<!-- generated: {found[0]} -->\n"), name
            marks += found
    assert set(marks) == GENERATED
    assert len(marks) == len(GENERATED)


def test_the_reference_has_every_public_name() -> None:
    made = reference.fill("", "<!-- generated: python -->")
    assert sorted(re.findall(r"auto\w+:: patauth\.(\w+)", made)) == sorted(patauth.__all__)


def test_the_reference_has_groups_and_nothing_that_only_patauth_or_its_tests_use() -> None:
    made = reference.fill("", "<!-- generated: python -->")
    _, called, values, errors = re.split(r"^## .*$", made, flags=re.M)
    assert re.search(r"autoclass:: patauth\.Authority\(settings\)$", called, re.M)
    (verifier,) = re.findall(r"autoclass:: patauth\.JWTVerifier(\(.*\))", called)
    assert verifier == (
        "(jwks, *, issuer, audience=None, tenant='default', leeway=30, interval=10, max_age=300)"
    )
    assert "autoclass:: patauth.Owner\n   :members:\n   :exclude-members: stored\n" in values
    assert "autoexception" not in called + values
    assert set(re.findall(r"auto(\w+)::", errors)) == {"exception"}


def all_commands(group: click.Group, *path: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    for name, command in group.commands.items():
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from all_commands(command, *path, name)


def test_the_reference_has_every_command_with_the_help_that_it_prints() -> None:
    """Except for the options that all commands have, which are shown once."""
    made = reference.fill("", "<!-- generated: cli -->")
    for path, command in all_commands(program):
        name = f"patauth {' '.join(path)}"
        printed = CliRunner().invoke(program, [*path, "--help"], prog_name="patauth", terminal_width=78)
        own, common = reference.without_common_options(printed.output)
        assert f"{'#' * (len(path) + 1)} `{name}`\n\n```text\n{own}\n```" in made, name
        assert [word for word in common.split() if word in ("--store", "--output", "--quiet", "-h,")] == [
            "--store", "--output", "--quiet", "-h,"
        ], name  # fmt: skip
        in_table = f"| [`{name}`](#{name.replace(' ', '-')}) | {command.get_short_help_str(200)} |" in made
        assert in_table is not isinstance(command, click.Group), name
    assert re.findall(r"^  -h, --help", made, re.M) == ["  -h, --help"]


def test_the_reference_has_every_path_of_the_description() -> None:
    made = reference.fill("", "<!-- generated: http -->")
    requests = set(re.findall(r"^(?:GET|POST|PUT|PATCH|DELETE) /\S+$", made, re.M))
    assert {"POST /oauth/token", "DELETE /personal-access-tokens/v1/{id}", "GET /openapi.json"} <= requests
    assert len(requests) > 45


def test_each_setting_has_a_section_on_the_site() -> None:
    """The page has tables; there a setting has a heading, so that links and the search can name it."""
    made = reference.opened(read("docs/settings.md"))
    headings = set(re.findall(r"^### `(\w+)`$", made, re.M))
    assert headings == {field.name for field in fields(patauth.Settings)}
    assert (
        "### `request_quota`\n\n`PATAUTH_REQUEST_QUOTA` · quota · default `100/10`\n\nRequests of each"
        in made
    )
    assert not re.search(r"^\|", made, re.M)


def test_links_to_files_outside_lead_to_a_page_of_the_site_or_to_the_file() -> None:
    text = (
        "[a](../SECURITY.md#b) [c](../examples/flask_factory) [d](../examples/client.sh) [e](https://e.org)"
    )
    assert links.for_site("gate", text) == (
        "[a](security.md#b) [c](examples.md) [d](../examples/client.sh) [e](https://e.org)"
    )
    assert "](../security.md)" in links.for_site("how-to/flask", "[x](../../SECURITY.md)")
    code = "```md\n[a](../SECURITY.md)\n```\n"
    assert links.for_site("gate", code) == code


def test_a_link_with_the_name_of_a_file_gets_the_title_of_the_page() -> None:
    assert links.for_site("gate", "see [jwt.md](jwt.md#keys), or [this](jwt.md)") == (
        "see [](jwt.md#keys), or [this](jwt.md)"
    )


@each("page", links.MIRRORED)
def test_a_mirrored_page_says_in_the_repository_where_its_text_is(page: str) -> None:
    file = links.MIRRORED[page]
    assert f"(../{file})" in read(f"docs/{page}.md")
    assert links.for_site(page, "").startswith(read(file).split("\n")[0])


def test_addresses_of_the_project_begin_alike_and_lead_to_files() -> None:
    """Where the repository is stands in pyproject.toml alone."""
    described = project()
    urls = described["project"]["urls"]
    source = urls["Source"]
    hook = described["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]
    for substitution in hook["substitutions"]:
        assert f"\\1{source}/" in substitution["replacement"]
    for name, url in urls.items():
        assert url.startswith(source), name
        file = url.removeprefix(source).removeprefix("/blob/main/")
        assert (ROOT / file).exists(), url


def test_the_readme_on_a_package_index_has_no_relative_link() -> None:
    hook = project()["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]
    text = read("README.md")
    for substitution in hook["substitutions"]:
        text = re.sub(substitution["pattern"], substitution["replacement"], text)
    for target in re.findall(r"\]\(([^)]+)\)", text):
        assert target.startswith("https://"), target
    assert "/raw/main/docs/pictures/overview.png" in text


def test_the_site_is_built_by_the_commands_that_are_told() -> None:
    build = "python -m sphinx -W --keep-going docs build/docs"
    assert build in "".join(blocks("CONTRIBUTING.md", "sh"))
    assert build.replace("python -m sphinx ", "python -m sphinx -q ") in read(".ci/run")
