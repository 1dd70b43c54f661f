"""How the page looks: templates, texts and assets, from this folder and from the application's own.

The application's folder (setting `page_folder`) may hold

    base.html           begins with {% extends "patauth/base.html" %} and fills blocks, such as header
    texts/nl.toml       another language, or other words

Everything of the application's is read and tried at the start, and never again.

Assets have a part of their hash in their names, so a cache may keep them as long as it likes.
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from jinja2 import (
    ChoiceLoader,
    Environment,
    FileSystemLoader,
    PrefixLoader,
    StrictUndefined,
    TemplateSyntaxError,
    nodes,
)
from markupsafe import Markup
from werkzeug.http import parse_accept_header

from ...errors import ConfigurationError
from ...model import dates
from ...model.caller import Person
from ...model.pat import Owner
from ..answers import Answer, bytes_answer
from ..routing import get_only
from .texts import TAG, Languages

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

HERE = Path(__file__).parent

_FOREVER = 365 * 86_400  # s
_TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
# Nothing comes from elsewhere or runs inline, and no other page shows this one inside of it (CSP level 3).
_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; form-action 'self';"
    " frame-ancestors 'none'; base-uri 'none'"
)
_FIELDS = [
    ("Content-Security-Policy", _POLICY),
    # With `no-referrer`, browsers send `Origin: null` with forms, and over http they say nothing else.
    ("Referrer-Policy", "same-origin"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("X-Frame-Options", "DENY"),
    ("Vary", "Accept-Language, Cookie"),
]


class Asset(NamedTuple):
    """A file, as it is and compressed (RFC 9110 §8.4.1.3)."""

    plain: Answer
    compressed: Answer

    def answer(self, environ: WSGIEnvironment) -> Answer:
        """Answer a request for the file, as its browser accepts it."""
        accepted = parse_accept_header(environ.get("HTTP_ACCEPT_ENCODING", ""))
        chosen = self.compressed if accepted["gzip"] else self.plain
        return get_only(lambda: chosen)(environ)


class Assets:
    """The style, the script and the icon, each under a name with a part of its hash."""

    def __init__(self, folder: Path) -> None:
        self._names: dict[str, str] = {}
        self._assets: dict[str, Asset] = {}
        for file in sorted(folder.iterdir()):
            content = file.read_bytes()
            name = f"{file.stem}.{hashlib.sha256(content).hexdigest()[:12]}{file.suffix}"
            self._names[file.name] = name
            self._assets[name] = Asset(
                _static(content, file.suffix),
                _static(gzip.compress(content, mtime=0), file.suffix, ("Content-Encoding", "gzip")),
            )

    def name_of(self, file: str) -> str:
        """Return the name under which a file is served."""
        return self._names[file]

    def find(self, name: str) -> Asset | None:
        """Return the file of a name; None for one that there is not."""
        return self._assets.get(name)


def _static(content: bytes, suffix: str, *fields: tuple[str, str]) -> Answer:
    vary = ("Vary", "Accept-Encoding")
    return bytes_answer(200, content, _TYPES[suffix], [vary, *fields], public_for=_FOREVER)


class Rendering:
    """Makes answers of templates. It never changes, and threads may share it."""

    def __init__(self, own: Path | None) -> None:
        self.assets = Assets(HERE / "assets")
        self.languages = Languages([HERE / "texts"] if own is None else [HERE / "texts", own / "texts"])
        ours = FileSystemLoader(HERE / "templates")
        loaders = [*([FileSystemLoader(own)] if own else []), ours, PrefixLoader({"patauth": ours})]
        self._environment = Environment(
            loader=ChoiceLoader(loaders),
            autoescape=True,
            undefined=StrictUndefined,
            auto_reload=False,  # what was tried is what is shown
            trim_blocks=True,
            lstrip_blocks=True,
        )
        if own is not None:
            self._check(own)

    def answer(
        self, status: int, template: str, context: dict[str, Any], fields: Iterable[Any] = ()
    ) -> Answer:
        """Return a page. No cache keeps it."""
        body = self._environment.get_template(template).render(context).encode()
        return bytes_answer(status, body, "text/html; charset=utf-8", [*_FIELDS, *fields])

    def _check(self, own: Path) -> None:
        """Raise `ConfigurationError` for something in an application's folder that could not be shown."""
        for file in sorted([*own.glob("*.toml"), *own.glob("*/*.toml")]):
            if TAG.fullmatch(file.stem) and file.parent != own / "texts":
                raise ConfigurationError(f"page_folder: {file} is not read; move it to {own / 'texts'}")
        for file in sorted(own.glob("*.html")):
            self._check_template(file)
        for person in (None, Person(Owner("example"), ())):
            visit = Example(self, person)
            try:
                self._environment.get_template("base.html").render(visit=visit, t=self.languages.of("", None))
            except RecursionError:
                raise ConfigurationError(
                    "page_folder: base.html extends or includes itself, by way of others"
                ) from None
            except Exception as problem:  # whatever an expression of the application's raises
                raise ConfigurationError(
                    f"page_folder: base.html cannot be shown: {type(problem).__name__}: {problem}"
                ) from None

    def _check_template(self, file: Path) -> None:
        try:
            tree = self._environment.parse(file.read_text("utf-8"))
            self._environment.get_template(file.name)
        except TemplateSyntaxError as problem:
            raise ConfigurationError(
                f"page_folder: {file}, line {problem.lineno}: {problem.message}"
            ) from None
        except (OSError, UnicodeError) as problem:
            raise ConfigurationError(f"page_folder: {file} cannot be read: {problem}") from None
        parents = {
            one.template.value
            for one in tree.find_all(nodes.Extends)
            if isinstance(one.template, nodes.Const)
        }
        if file.name in parents:
            raise ConfigurationError(f"page_folder: {file} extends itself; extend patauth/{file.name}")
        if "patauth/base.html" in parents:
            filled = {one.name for one in tree.body if isinstance(one, nodes.Block)}
            known = self._environment.get_template("patauth/base.html").blocks
            if unknown := sorted(filled - set(known)):
                raise ConfigurationError(
                    f"page_folder: {file}: there is no block {unknown[0]}; fill {', '.join(known)}"
                )


def rendering_of(own: Path | None) -> Rendering:
    """Return how the page looks with an application's own folder, or without one.

    All applications of a process that have no folder share one, with its compiled templates.
    """
    return Rendering(own) if own else _ours()


@cache
def _ours() -> Rendering:
    return Rendering(None)


class Example(NamedTuple):
    """What a template of an application may ask of a visit, with nobody there."""

    rendering: Rendering
    person: Person | None
    login_url: str | None = None

    def about(self, key: str, name: str) -> str:
        """Return a text with a name put in."""
        return self.rendering.languages.of("", None)(key, name=name)

    def link(self, rest: str = "", /, **query: str | int) -> str:
        """Return the URL of a page; here it leads nowhere."""
        return ""

    def asset(self, file: str) -> str:
        """Return the name under which a file is served."""
        return self.rendering.assets.name_of(file)

    def in_language(self, locale: str) -> str:
        """Return the URL of this page in another language; here it leads nowhere."""
        return ""


def time(ms: int, *, day: bool = False) -> Markup:
    """Return an instant (UTC) as HTML, to the minute or only its day: `2030-01-31 12:00Z`.

    The script says how far away it is. What the element says is what it means (HTML §4.5.14), so that a list
    of fifty does not weigh more than it must.
    """
    text = dates.format_ms(ms)
    return Markup("<time>{}</time>").format(text[:10] if day else f"{text[:10]} {text[11:16]}Z")


def exact(ms: int, words: str) -> Markup:
    """Return an instant as HTML: `words` until the script has put it in the reader's own form."""
    return Markup('<time datetime="{}Z" data-exact>{}</time>').format(dates.format_ms(ms)[:16], words)
