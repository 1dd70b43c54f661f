"""Reference that is generated from the code: Python, the command line, HTTP.

A page says with a comment in a line of its own where it stands: `<!-- generated: python -->`.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import import_module
from typing import Any

import click

import patauth
from patauth.cli import program
from patauth.wsgi import surfaces
from patauth.wsgi.openapi.document import document

_MARK = re.compile(r"^<!-- generated: ([a-z]+) -->$", re.M)
_METHODS = ("get", "post", "put", "patch", "delete")

# Modules of adapters, in the order of the navigation.
ADAPTERS = (
    "patauth.flask", "patauth.django", "patauth.django.rest", "patauth.asgi", "patauth.fastapi",
    "patauth.testing",
)  # fmt: skip

# What an application holds or calls, in the order of use; the other classes are values and errors.
_CALLED = ("Authority", "PatAuthMiddleware", "require_scope", "JWTVerifier", "metrics_app")
# Class -> members, or arguments, that patauth and its tests use, and nobody else should.
_INTERNAL = {"Owner": "stored"}
_OF_TESTS = {"JWTVerifier": ("clock", "timer")}


def fill(page: str, text: str) -> str:
    """Return the text of a page with what is generated in place of its marks. Raise `KeyError`."""
    return _MARK.sub(lambda mark: _KINDS[mark[1]](), text)


def python_api() -> str:
    """Return the names of `patauth` in groups: what is held and called, the values, the errors."""
    groups: dict[str, list[str]] = {"Verify and manage": [], "Values": [], "Errors": []}
    for name in sorted(patauth.__all__, key=_rank):
        found = getattr(patauth, name)
        if name in _CALLED or not isinstance(found, type):
            groups["Verify and manage"].append(name)
        else:
            groups["Errors" if issubclass(found, Exception) else "Values"].append(name)
    return "\n\n".join(
        f"## {title}\n\n{_rst(line for name in names for line in _directive('patauth', name))}"
        for title, names in groups.items()
    )


def adapters() -> str:
    """Return the public names of the modules for frameworks and tests."""
    return "\n\n".join(_adapter(name) for name in ADAPTERS)


def command_line() -> str:
    """Return a table of all commands, the options that all of them have, and the help of each."""
    contexts = list(_commands(_program()))
    rows = (
        (
            f"[`{one.command_path}`](#{one.command_path.replace(' ', '-')})",
            one.command.get_short_help_str(200),
        )
        for one in contexts
        if not isinstance(one.command, click.Group)
    )
    _, of_all = without_common_options(_program().get_help())
    return "\n\n".join(
        [
            _table(("command", "does"), rows),
            "## Options of every command",
            "They may stand before or after the command.",
            _text(of_all),
            *map(_help, contexts),
        ]
    )


def without_common_options(text: str) -> tuple[str, str]:
    """Split the help of a command into what it alone has, and the options that every command has."""
    found = re.search(r"^  --store URL .*?^  -h, --help .*?(?=^$|\Z)", text + "\n", re.M | re.S)
    assert found, "the options that every command has stand together, --store first and --help last"
    own = text[: found.start()] + text[found.end() :]
    return own.replace("\nOptions:\n\n", "\n").removesuffix("\nOptions:\n").strip("\n"), found[0].strip("\n")


def _help(context: click.Context) -> str:
    own, _ = without_common_options(context.get_help())
    return f"{'#' * (context.command_path.count(' ') + 1)} `{context.command_path}`\n\n{_text(own)}"


def _text(text: str) -> str:
    return "\n".join(["```text", text, "```"])


def _program() -> click.Context:
    """Return the context in which `patauth` runs in a terminal of 80 columns."""
    return click.Context(program, info_name="patauth", terminal_width=78, **program.context_settings)


def _commands(group: click.Context) -> Iterator[click.Context]:
    """Yield the contexts of all commands of a group, each group before its own."""
    assert isinstance(group.command, click.Group)
    for name in group.command.list_commands(group):
        command = group.command.commands[name]
        inner = click.Context(command, info_name=name, parent=group, **command.context_settings)
        yield inner
        if isinstance(command, click.Group):
            yield from _commands(inner)


def http() -> str:
    """Return the operations of all surfaces, from what `GET /openapi.json` describes."""
    settings = patauth.Settings.of(store_url="unix:///nothing/is/asked", issuer="https://app.example")
    with patauth.Authority(settings) as authority:
        described = document(settings, surfaces.describe(authority, [*surfaces.SURFACES, surfaces.OPENAPI]))
    return "\n\n".join(_operations(described))


# -- settings -----------------------------------------------------------------------------------------------


def opened(text: str) -> str:
    """Return a page with each row of its tables of settings as a section, which a link and a search can name.

    The table in the repository has no room for long texts, and no anchors.
    """
    return re.sub(r"(?:^\|.*\n)+", _sections, text, flags=re.M)


def _sections(table: re.Match[str]) -> str:
    head, _, *lines = ([cell.strip() for cell in line.split(" | ")] for line in table[0].splitlines())
    if head != ["| name", "environment", "default", "unit", "meaning |"]:
        return table[0]
    rows = (
        f"### {name.removeprefix('| ')}\n\n{environment} · {unit} · default {default}\n\n"
        f"{meaning.removesuffix(' |')}\n"
        for name, environment, default, unit, meaning in lines
    )
    return "\n".join(rows)


# -- Python -------------------------------------------------------------------------------------------------


def _rank(name: str) -> tuple[int, str]:
    """Sort as `_CALLED` has them, then by name, errors with the base first."""
    found = getattr(patauth, name)
    if name in _CALLED:
        return _CALLED.index(name), ""
    is_error = isinstance(found, type) and issubclass(found, Exception)
    return len(_CALLED) + (len(found.__mro__) if is_error else 0), name


def _adapter(name: str) -> str:
    module = import_module(name)
    about = (inspect.getdoc(module) or "").partition("\n")[0]
    public = getattr(module, "__all__", None) or [
        one for one, found in vars(module).items() if one.startswith("patauth_") and found.__module__ == name
    ]
    lines = (line for one in public for line in _directive(name, one))
    return f"## `{name}`\n\n{about}\n\n{_rst(lines)}"


def _directive(module: str, name: str) -> Iterator[str]:
    """Yield the lines that describe a name. Settings have a page, and errors no members worth a line."""
    found = getattr(import_module(module), name)
    if not isinstance(found, type):
        kind = "function" if hasattr(found, "__wrapped__") or inspect.isfunction(found) else "data"
        yield f".. auto{kind}:: {module}.{name}"
        yield from ["   :no-value:"] * (kind == "data")
    elif issubclass(found, Exception):
        yield f".. autoexception:: {module}.{name}"
        yield "   :show-inheritance:"
    else:
        yield f".. autoclass:: {module}.{name}{_signature(name, found)}"
        yield "   :members:"
        if name in _INTERNAL:
            yield f"   :exclude-members: {_INTERNAL[name]}"
    yield ""


def _signature(name: str, found: type) -> str:
    """Return the arguments of a class without those that only tests pass; nothing if it has none of these."""
    signature = inspect.signature(found)
    public = [
        argument.replace(annotation=inspect.Parameter.empty)
        for argument in signature.parameters.values()
        if not argument.name.startswith("_") and argument.name not in _OF_TESTS.get(name, ())
    ]
    if len(public) == len(signature.parameters):
        return ""
    return str(signature.replace(parameters=public, return_annotation=inspect.Signature.empty))


def _rst(lines: Iterable[str]) -> str:
    return "\n".join(["```{eval-rst}", *lines, "```"])


# -- HTTP ---------------------------------------------------------------------------------------------------


def _operations(described: Mapping[str, Any]) -> Iterator[str]:
    for tag in described["tags"]:
        yield f"## {tag['name']}\n\n{tag['description']}"
        for paths, operation in _alike(described, tag["name"]):
            yield from _operation(paths, operation, described["components"])


def _alike(described: Mapping[str, Any], tag: str) -> Iterator[tuple[list[str], Mapping[str, Any]]]:
    """Yield the operations of a tag, each with all requests that it is the same for."""
    found: dict[str, tuple[list[str], Mapping[str, Any]]] = {}
    for path, item in described["paths"].items():
        for method in _METHODS:
            if tag in item.get(method, {}).get("tags", ()):
                operation = {"parameters": [], **item[method]}
                operation["parameters"] = [*item.get("parameters", ()), *operation["parameters"]]
                same = repr({name: value for name, value in operation.items() if name != "operationId"})
                found.setdefault(same, ([], operation))[0].append(f"{method.upper()} {path}")
    yield from found.values()


def _operation(
    requests: list[str], operation: Mapping[str, Any], components: Mapping[str, Any]
) -> Iterator[str]:
    yield f"### {operation['summary']}"
    yield "\n".join(["```text", *requests, "```"])
    if "description" in operation:
        yield operation["description"]
    parameters = [_resolved(one, components) for one in operation["parameters"]]
    if parameters:
        rows = (
            (f"`{one['name']}`", one["in"], _type(one["schema"], components), one.get("description", ""))
            for one in parameters
        )
        yield _table(("parameter", "in", "type", "meaning"), rows)
    if "requestBody" in operation:
        yield from _body(operation["requestBody"], components)
    answers = (
        (f"`{status}`", _resolved(answer, components)["description"])
        for status, answer in operation["responses"].items()
    )
    yield _table(("answer", "when"), answers)


def _body(body: Mapping[str, Any], components: Mapping[str, Any]) -> Iterator[str]:
    for kind, content in _resolved(body, components)["content"].items():
        schema = _resolved(content["schema"], components)
        needed = schema.get("required", ())
        members = [
            (
                f"`{name}`" + (" (required)" if name in needed else ""),
                _type(one, components),
                _resolved(one, components).get("description", ""),
            )
            for name, one in schema.get("properties", {}).items()
        ]
        yield f"Body: `{kind}`. {schema.get('description', '')}".rstrip()
        if members:
            yield _table(("member", "type", "meaning"), members)


def _resolved(part: Mapping[str, Any], components: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a part of the document in place of a reference to it, with what stands next to the reference."""
    if "$ref" not in part:
        return part
    _, _, kind, name = part["$ref"].split("/")
    return {**components[kind][name], **{key: value for key, value in part.items() if key != "$ref"}}


def _type(schema: Mapping[str, Any], components: Mapping[str, Any]) -> str:
    schema = _resolved(schema, components)
    for several in ("anyOf", "oneOf"):
        if several in schema:
            return " or ".join(dict.fromkeys(_type(one, components) for one in schema[several]))
    kinds = schema.get("type", "any")
    words = " or ".join([kinds] if isinstance(kinds, str) else kinds)
    if "enum" in schema:
        return " or ".join(f"`{one}`" for one in schema["enum"])
    return f"{words} of {_type(schema['items'], components)}" if "items" in schema else words


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


_KINDS: dict[str, Callable[[], str]] = {
    "python": python_api,
    "frameworks": adapters,
    "cli": command_line,
    "http": http,
}
