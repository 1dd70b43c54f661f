"""Read what a request sends: its query, a form, or JSON. Each is read whole, strictly, and within limits.

    query       application/x-www-form-urlencoded in UTF-8, no parameter twice
    read_form   a body of that type, or of multipart/form-data without files; at most 8 KiB
    read_fields a body of that type in which names may repeat, as checkboxes do; at most 64 KiB
    read_json   RFC 8259, without what Python's parser accepts in addition; at most 16 KiB
    read_bytes  any other type, as it is

For any bytes, the only errors are `TooLarge` 413, `UnsupportedMediaType` 415 and `InvalidRequest` 400, in
this order if several apply. A body may contain a secret, so the text and the chain of an error repeat at most
a short plain name of it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from contextlib import suppress
from io import BytesIO
from typing import IO, TYPE_CHECKING, Any, NoReturn
from urllib.parse import unquote_to_bytes

from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.formparser import FormDataParser
from werkzeug.http import parse_options_header
from werkzeug.wsgi import get_input_stream

from ..errors import InvalidRequest
from .errors import UNCOMPRESSED, TooLarge, UnsupportedMediaType

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

MAX_FORM = 8192  # bytes
MAX_PARAMETERS = 64  # of a form or a query
MAX_FIELDS = 65_536  # bytes of a form in which names may repeat
MAX_REPEATED = 1024  # parameters of such a form
MAX_PARTS = 8  # of a multipart body
MAX_JSON = 16_384  # bytes
MAX_DEPTH = 16  # arrays and objects inside each other; no request of this API needs more than three
MAX_DIGITS = 64  # characters of one number; Python's own limit is 4300 for an integer

_PLAIN_LENGTH = 6  # digits of a Content-Length within any of these limits
_FORM_TYPES = ("application/x-www-form-urlencoded", "multipart/form-data")
_NOT_FORM = "the body is not form-urlencoded; escape everything that is not ASCII"
# Names that an error may repeat: shorter than any secret of patauth, and harmless in a log.
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,31}")
# A string of JSON, or the rest of the text after a quote that is not closed, so that one pass is enough. What
# is left has the brackets that count.
_STRING = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
_SURROGATE = re.compile(r"[\ud800-\udfff]")


def query(environ: WSGIEnvironment) -> dict[str, str]:
    """Return the URL's parameters by name; a parameter that was sent empty is the empty text.

    Raise `InvalidRequest` for a repeated parameter, for more than 64, and for anything but ASCII with
    escapes of UTF-8.
    """
    text = environ.get("QUERY_STRING")
    return _unique(_pairs(text)) if text else {}


def read_form(environ: WSGIEnvironment) -> dict[str, str]:
    """Return the parameters of a form in the body; an empty one counts as omitted (RFC 6749 §3.2).

    Raise `TooLarge`, `UnsupportedMediaType`, `InvalidRequest`.
    """
    body = _read(environ, MAX_FORM)
    media_type, options = _media_type(environ, _FORM_TYPES)
    if media_type == "multipart/form-data":
        pairs = _parts(body, options)
    elif body.isascii():
        pairs = _pairs(body.decode("ascii"))
    else:
        raise InvalidRequest(_NOT_FORM)
    return {name: value for name, value in _unique(pairs).items() if value}


def read_fields(environ: WSGIEnvironment) -> dict[str, list[str]]:
    """Return the values of a form in the body by name, in their order. An empty one stays the empty text.

    Raise `TooLarge`, `UnsupportedMediaType`, `InvalidRequest`.
    """
    body = _read(environ, MAX_FIELDS)
    _media_type(environ, _FORM_TYPES[:1])
    if not body.isascii():
        raise InvalidRequest(_NOT_FORM)
    found: dict[str, list[str]] = {}
    for name, value in _pairs(body.decode("ascii"), MAX_REPEATED):
        found.setdefault(name, []).append(value)
    return found


def read_json(environ: WSGIEnvironment, *media_types: str) -> Any:
    """Return the value in the body, of one of `media_types`, whose parameters but for a charset do not count.

    The body is strict RFC 8259: UTF-8 without a byte order mark, names unique within their object, no NaN or
    Infinity, no lone surrogates, no number beyond a float or 64 characters, at most 16 levels. The error for
    the media type of a PATCH lists those that it takes (RFC 5789 §2.2).
    Raise `TooLarge`, `UnsupportedMediaType`, `InvalidRequest`.
    """
    body = _read(environ, MAX_JSON)
    # A POST with neither has no body of another type, but none. A PATCH is told what it may have.
    named = body or environ.get("CONTENT_TYPE") or environ["REQUEST_METHOD"] != "POST"
    options = _media_type(environ, media_types)[1] if named else {}
    if options.get("charset", "utf-8").lower() not in ("utf-8", "utf8"):
        _refuse_type(environ, media_types, f"send {' or '.join(media_types)} in UTF-8")
    text = _utf8(body)
    if not text.strip(" \t\r\n"):
        raise InvalidRequest("the body is empty; send JSON")
    _check_depth(text)
    value = _parsed(text)
    _check_texts(value)
    return value


def read_bytes(environ: WSGIEnvironment, most: int, *media_types: str) -> bytes:
    """Return the body, of one of `media_types`, in at most `most` bytes.

    Raise `TooLarge`, `UnsupportedMediaType`, `InvalidRequest`.
    """
    body = _read(environ, most)
    _media_type(environ, media_types)
    return body


def media_type_of(environ: WSGIEnvironment) -> str:
    """Return the media type of the body in lower case and without parameters; empty if none is named."""
    return parse_options_header(environ.get("CONTENT_TYPE"))[0].lower()


def _read(environ: WSGIEnvironment, most: int) -> bytes:
    """Return the body: as many bytes as are declared, or all of them where the server ends the stream.

    There a filter may have made the body longer than its Content-Length. Were it cut off, a form could lose
    its scope, and ask for all scopes. Raise `TooLarge` for more than `most` bytes, and `InvalidRequest` for
    fewer than declared.
    """
    size = _declared(environ)
    try:
        if 0 < size <= most:
            is_ended = "wsgi.input_terminated" in environ
            body = _taken(environ["wsgi.input"], size, most + 1 if is_ended else size)
        else:
            # One byte more than is allowed: werkzeug cuts a chunked body at its limit without an error.
            body = get_input_stream(environ, max_content_length=most + 1).read()
    except RequestEntityTooLarge:
        body = bytes(most + 1)
    except Exception:  # the server's own, such as for a malformed chunk
        raise InvalidRequest("the request body ended early; send it again") from None
    if len(body) > most:
        raise TooLarge(f"the request body is too large; send at most {most} bytes")
    return body


def _declared(environ: WSGIEnvironment) -> int:
    """Return the Content-Length as nearly all bodies have one; 0 for what werkzeug is left to read."""
    length: str = environ.get("CONTENT_LENGTH", "")
    is_plain = length.isascii() and length.isdigit() and len(length) <= _PLAIN_LENGTH
    return int(length) if is_plain and "HTTP_TRANSFER_ENCODING" not in environ else 0


def _taken(stream: IO[bytes], least: int, most: int) -> bytes:
    """Return the next `most` bytes, or all until the end. werkzeug's streams take ten times as long.

    Raise `EOFError` for fewer than `least`.
    """
    body = b""
    while len(body) < most and (more := stream.read(most - len(body))):
        body += more
    if len(body) < least:
        raise EOFError
    return body


def _media_type(environ: WSGIEnvironment, known: tuple[str, ...]) -> tuple[str, dict[str, str]]:
    """Return which of the `known` types the body has, and the parameters of its Content-Type."""
    given = environ.get("CONTENT_TYPE")
    media_type, options = (given, {}) if given in known else parse_options_header(given)
    if media_type.lower() not in known:
        _refuse_type(environ, known, f"send {' or '.join(known)}")
    if environ.get("HTTP_CONTENT_ENCODING", "").strip().lower() not in ("", UNCOMPRESSED):
        _refuse_type(environ, known, "send the body without a Content-Encoding", UNCOMPRESSED)
    return media_type.lower(), options


def _refuse_type(
    environ: WSGIEnvironment, known: tuple[str, ...], text: str, accept_encoding: str | None = None
) -> NoReturn:
    patch = environ["REQUEST_METHOD"] == "PATCH"
    accept_patch = ", ".join(known) if patch else None
    raise UnsupportedMediaType(text, accept_patch=accept_patch, accept_encoding=accept_encoding)


# -- forms -----------------------------------------------------------------------------------------------


def _pairs(text: str, most: int = MAX_PARAMETERS) -> list[tuple[str, str]]:
    """Return names and values as `urllib.parse.parse_qsl` does, which takes three times as long."""
    # Raised outside of `suppress`: the UnicodeDecodeError holds the text, which may be a secret, and must not
    # be the context of this error.
    if text.isascii() and text.count("&") < most:
        with suppress(UnicodeDecodeError):
            pairs = [pair.partition("=") for pair in text.split("&") if pair]
            return [(_unescaped(name), _unescaped(value)) for name, _, value in pairs]
    raise InvalidRequest(f"the parameters are not form-urlencoded UTF-8, or more than {most}")


def _unescaped(text: str) -> str:
    if "%" not in text and "+" not in text:
        return text
    return unquote_to_bytes(text.replace("+", " ")).decode()


def _parts(body: bytes, options: dict[str, str]) -> list[tuple[str, str]]:
    parser = FormDataParser(_no_file, max_form_memory_size=MAX_FORM, max_form_parts=MAX_PARTS, silent=False)
    problem: InvalidRequest
    try:
        _, form, _ = parser.parse(BytesIO(body), "multipart/form-data", len(body), options)
        # werkzeug returns None for a name that it cannot read. No parameter of this API has such a name.
        return [(name, value) for name, value in form.items(multi=True) if isinstance(name, str)]
    except RequestEntityTooLarge:
        problem = TooLarge(f"the form has too many parts; send at most {MAX_PARTS}")
    except ValueError:
        problem = InvalidRequest("the multipart body is malformed")
    raise problem


def _no_file(*_: object, **__: object) -> IO[bytes]:
    raise TooLarge("the form holds a file; send none")


def _unique(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in pairs:
        if name in found:
            raise _about(name, "this is repeated; send it once", "a parameter is repeated; send each once")
        found[name] = value
    return found


def _about(name: str, problem: str, otherwise: str) -> InvalidRequest:
    """Return the error about a name that the client chose, or with `otherwise` if it must not be repeated."""
    if _PLAIN.fullmatch(name):
        return InvalidRequest(problem, field=name)
    return InvalidRequest(otherwise)


# -- JSON ------------------------------------------------------------------------------------------------


def _utf8(body: bytes) -> str:
    if not body.startswith(b"\xef\xbb\xbf"):
        with suppress(UnicodeDecodeError):  # its attributes hold the body, so it must not be the context
            return body.decode()
    raise InvalidRequest("the body is not UTF-8 without a byte order mark (RFC 8259 section 8.1)")


def _check_depth(text: str) -> None:
    """Raise `InvalidRequest` for too many levels, before Python's parser recurses into them."""
    depth = 0
    for bracket in re.findall(r"[][{}]", _STRING.sub("", text)):
        depth += 1 if bracket in "[{" else -1
        if depth > MAX_DEPTH:
            raise InvalidRequest(f"the body has more than {MAX_DEPTH} levels of arrays and objects")


def _parsed(text: str) -> Any:
    try:
        return json.loads(
            text,
            object_pairs_hook=_members,
            parse_int=_integer,
            parse_float=_float,
            parse_constant=_constant,
        )
    except json.JSONDecodeError as problem:  # its attributes hold the body, so it must not be the context
        where = f"line {problem.lineno}, column {problem.colno}"
    raise InvalidRequest(f"the body is not JSON: see {where}")


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise _about(name, "this is given twice; give it once", "an object has two members of one name")
        found[name] = value
    return found


def _integer(text: str) -> int:
    _check_digits(text)
    return int(text)


def _float(text: str) -> float:
    _check_digits(text)
    number = float(text)
    if math.isinf(number):
        raise InvalidRequest("a number is too large")
    # JSON has one kind of number, so 900.0 is the integer 900. Beyond 2**53 floats skip whole numbers.
    return int(number) if number.is_integer() and abs(number) < 2**53 else number


def _check_digits(text: str) -> None:
    if len(text) > MAX_DIGITS:
        raise InvalidRequest(f"a number has more than {MAX_DIGITS} characters")


def _constant(text: str) -> NoReturn:
    raise InvalidRequest(f"{text} is not a number in JSON")  # NaN, Infinity or -Infinity


def _check_texts(value: Any, name: str = "") -> None:
    """Raise `InvalidRequest` for a lone surrogate in a text or name, which UTF-8 cannot express."""
    if isinstance(value, str):
        if _SURROGATE.search(value):
            raise _about(name, "this holds half of a surrogate pair", "a text holds half of a surrogate pair")
    elif isinstance(value, list):
        for item in value:
            _check_texts(item, name)
    elif isinstance(value, dict):
        for member, item in value.items():
            _check_texts(member)
            _check_texts(item, member)
