"""Whatever is sent: no 500, no accept, no way around the gate, and no secret in any sink."""

from __future__ import annotations

import contextlib
import io
import logging
import re
import traceback
import warnings
from base64 import b64encode
from typing import Any
from urllib.parse import urlencode
from wsgiref.validate import validator

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from patauth import Authority, InvalidCredentials, InvalidRequest, PatAuthError, PatAuthMiddleware
from tests.support.authorities import Make, basic, basic_of, issue, wrong_secret
from tests.support.internals import hasher_of, store_of
from tests.support.searches import examples
from tests.support.wsgi import Echo

latin = st.text(st.characters(max_codepoint=255), max_size=300)
words = st.sampled_from(
    [
        "Basic ",
        "Bearer ",
        "basic",
        "bearer\t",
        "pat_",
        "pata_",
        "pats_",
        "0" * 32,
        "a" * 43,
        ":",
        ",",
        "=",
        "==",
        " ",
    ]
)
headers = st.one_of(
    latin,
    st.lists(st.one_of(words, latin), max_size=8).map("".join),
    st.binary(max_size=200).map(lambda data: "Basic " + b64encode(data).decode()),
    st.text(max_size=100).map(
        lambda text: "Basic " + b64encode(text.encode("utf-8", "surrogatepass")).decode()
    ),
)


@pytest.fixture
def authority(make: Make) -> Authority:
    return make(failure_quota="1000000/1")


def send(app: Any, environ: dict[str, Any]) -> tuple[int, list[tuple[str, str]], bytes]:
    """One request without a server, so with whatever a server might let through."""
    statuses: list[tuple[int, list[tuple[str, str]]]] = []
    values = {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/",
        "QUERY_STRING": "",
        "REMOTE_ADDR": "203.0.113.9",
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": io.StringIO(),
        **environ,
    }
    body = b"".join(app(values, lambda status, fields, *_: statuses.append((int(status[:3]), fields))))
    return *statuses[0], body


@given(headers)
@example("Basic " + b64encode(b"\x00" * 32 + b":").decode())
@example("\x00")
def test_no_header_is_accepted_by_luck_or_ends_in_a_500(authority: Authority, header: str) -> None:
    app = Echo()
    gate = PatAuthMiddleware(app, authority)
    status, fields, body = send(gate, {"HTTP_AUTHORIZATION": header})
    assert status in (400, 401)
    assert app.seen == []
    for name, value in fields:
        assert re.fullmatch(r"[\x20-\x7e]*", name + value)
    assert body.isascii()
    status, _, _ = send(
        gate,
        {
            "HTTP_AUTHORIZATION": header,
            "PATH_INFO": "/oauth/token",
            "REQUEST_METHOD": "POST",
            "CONTENT_TYPE": "application/x-www-form-urlencoded",
            "CONTENT_LENGTH": "29",
            "wsgi.input": io.BytesIO(b"grant_type=client_credentials"),
        },
    )
    assert status in (400, 401)


@given(st.text(max_size=200), st.text(max_size=200))
def test_verification_calls_raise_only_our_errors(authority: Authority, first: str, second: str) -> None:
    for call in (
        lambda: authority.authenticate(first),
        lambda: authority.verify_basic(first, second),
        lambda: authority.verify_bearer(first),
        lambda: authority.exchange(first, second, scope=first),
    ):
        with pytest.raises((InvalidCredentials, InvalidRequest)):
            call()


separators = st.sampled_from(["/", "//", "\\", ";", "%2f", "%5c", "%3b", "%00", "\x00", "%252f", "?", "#"])
segments = st.sampled_from(["static", "admin", "..", ".", "%2e", "%2e%2e", "", "x", "ADMIN", "\xe2\x84\xa6"])
paths = st.one_of(
    st.lists(st.tuples(separators, segments), max_size=6).map(lambda parts: "".join(a + b for a, b in parts)),
    latin.map(lambda text: "/" + text),
)


@given(
    paths,
    st.sampled_from(["", "/app", "/static"]),
    st.sampled_from(["GET", "POST", "OPTIONS", "HEAD", "FOO"]),
)
@settings(max_examples=examples(100))
def test_no_path_reaches_what_is_protected_without_credentials(
    authority: Authority, path: str, script: str, method: str
) -> None:
    """`public` is one folder here: what reaches the application lies in it, plainly."""
    app = Echo()
    gate = PatAuthMiddleware(app, authority, public=["/static/*", "/app/static/*"])
    status, _, _ = send(gate, {"PATH_INFO": path, "SCRIPT_NAME": script, "REQUEST_METHOD": method})
    if app.seen:
        assert (script + path).startswith(("/static/", "/app/static/"))
    else:
        assert status in (400, 401)


@given(
    st.binary(max_size=400),
    st.sampled_from(
        [
            "application/x-www-form-urlencoded",
            "application/x-www-form-urlencoded; charset=utf-16",
            "multipart/form-data; boundary=b",
            "multipart/form-data; boundary=" + "b" * 300,
            "multipart/form-data",
            "application/json",
            "text/plain; a=\xff",
            "",
        ]
    ),
    st.sampled_from(["", "client_secret=x", "%ff=%ff", "a=1&a=2", "\xff"]),
)
def test_no_body_ends_in_a_500(authority: Authority, body: bytes, kind: str, query: str) -> None:
    gate = PatAuthMiddleware(Echo(), authority)
    status, _, _ = send(
        gate,
        {
            "REQUEST_METHOD": "POST",
            "PATH_INFO": "/oauth/token",
            "QUERY_STRING": query,
            "CONTENT_TYPE": kind,
            "CONTENT_LENGTH": str(len(body)),
            "wsgi.input": io.BytesIO(body),
        },
    )
    assert 400 <= status < 500


def test_no_prefix_suffix_or_extension_of_a_credential_is_accepted(authority: Authority) -> None:
    """Every length of all three kinds (Zitadel GHSA-6mq3: a cut token passed)."""
    issued = issue(authority, request_quota="1000000/1")
    access = authority.exchange(issued.pat.id, issued.secret).value
    for text in (issued.token, access):
        for at in range(1, len(text)):
            for cut in (text[:at], text[at:], text[:at] + text[at + 1 :], text + text[:at]):
                with pytest.raises((InvalidCredentials, InvalidRequest)):
                    authority.verify_bearer(cut)
    for at in range(1, len(issued.secret)):
        for cut in (issued.secret[:at], issued.secret[at:], issued.secret + issued.secret[:at]):
            with pytest.raises(InvalidCredentials):
                authority.verify_basic(issued.pat.id, cut)
    authority.verify_basic(issued.pat.id, issued.secret)


def test_wrong_shapes_cost_no_store_call_and_no_hash(make_at: Make) -> None:
    """An Authority whose store is nowhere still refuses them as what they are."""
    authority = make_at(url="unix:///nonexistent/socket")
    for value in ("Basic Og==", "Bearer x", "Basic " + "a" * 400, basic("0" * 32, "pats_" + "0" * 49)):
        with pytest.raises(InvalidCredentials):
            authority.authenticate(value)
    assert hasher_of(authority).computed == 0


def test_no_secret_stands_in_any_log_repr_error_or_traceback(
    make_at: Make, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """A canary over every sink (REQUIREMENTS S1)."""
    caplog.set_level(logging.DEBUG)
    authority = make_at(secret_key="5e" * 32)
    issued = issue(authority)
    access = authority.exchange(issued.pat.id, issued.secret)
    wrong = wrong_secret(authority)
    app = PatAuthMiddleware(validator(Echo()), authority, require={"/admin": "admin"})
    secrets = [
        issued.secret,
        issued.token,
        access.value,
        wrong,
        b64encode(issued.secret.encode()).decode()[4:-4],
    ]
    secrets += ["5e" * 32, basic_of(issued)[10:], issued.secret[5:48]]
    sinks = [
        repr(thing)
        for thing in (
            issued,
            access,
            authority,
            authority.settings,
            authority.operations.format.bearer(access.value),
        )
    ]
    sinks += [
        repr(vars(store_of(authority))),
        repr(authority.operations.format.basic(issued.pat.id, issued.secret)),
        str(issued),
    ]
    other = make_at(url="unix:///nonexistent/socket", secret_key="5e" * 32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for mine in (authority, other):
            for value in (
                basic_of(issued),
                "Bearer " + issued.token,
                "Bearer " + access.value,
                basic("0" * 32, wrong),
            ):
                for call in (
                    lambda mine=mine, value=value: mine.authenticate(value),
                    lambda mine=mine, value=value: mine.authenticate(value + "," + value),
                    lambda mine=mine, value=value: mine.authenticate(value + "="),
                    lambda mine=mine: mine.exchange(issued.pat.id, issued.secret, scope='"' + issued.secret),
                    lambda mine=mine: mine.exchange(issued.secret, issued.pat.id),
                    lambda mine=mine: mine.get(issued.secret),
                    lambda mine=mine: issue(mine, "x", scope=[issued.secret + '"']),
                ):
                    try:
                        sinks.append(repr(call()))
                    except PatAuthError as error:
                        sinks += [
                            repr(error),
                            str(error),
                            str(error.detail),
                            "".join(traceback.format_exception(error)),
                        ]
                for path in ("/", "/admin", "/oauth/token"):
                    with contextlib.suppress(AssertionError):
                        _, fields, body = send(app, {"HTTP_AUTHORIZATION": value, "PATH_INFO": path})
                        sinks += [repr(fields), body.decode()]
    form = urlencode({"client_secret": issued.secret, "client_id": issued.pat.id, "grant_type": "x"}).encode()
    environ = {"CONTENT_TYPE": "application/x-www-form-urlencoded", "CONTENT_LENGTH": str(len(form))}
    sinks.append(
        repr(
            send(
                app,
                {
                    **environ,
                    "REQUEST_METHOD": "POST",
                    "PATH_INFO": "/oauth/token",
                    "wsgi.input": io.BytesIO(form),
                },
            )
        )
    )
    authority.delete(issued.pat.id)
    sinks += [caplog.text, *capfd.readouterr()]
    assert "pat.created" in caplog.text
    assert "credentials.refused" in caplog.text
    for secret in secrets:
        for sink in sinks:
            assert secret not in sink


def test_the_store_holds_no_secret_and_nothing_in_it_is_one(make_at: Make, server: Any, prefix: str) -> None:
    """A dump of every value: no live secret or token in it, and no stored text opens anything (F22)."""
    authority = make_at()
    issued = issue(authority)
    access = authority.exchange(issued.pat.id, issued.secret)
    client = server.client()
    stored: list[bytes] = []
    for key in client.scan_iter(f"{prefix}:*"):
        kind = client.type(key)
        stored.append(key)
        if kind == b"string":
            stored.append(client.get(key))
        elif kind == b"hash":
            stored += [part for pair in client.hgetall(key).items() for part in pair]
        elif kind == b"zset":
            stored += client.zrange(key, 0, -1)
    raw = authority.operations.format.basic(issued.pat.id, issued.secret).secret
    for secret in (issued.secret.encode(), issued.token.encode(), access.value.encode(), raw):
        assert not [value for value in stored if secret in value or secret[5:] in value]
    for value in stored:
        for text in {value.decode("latin-1"), value.hex()}:
            with pytest.raises((InvalidCredentials, InvalidRequest)):
                authority.verify_basic(issued.pat.id, text)
            with pytest.raises((InvalidCredentials, InvalidRequest)):
                authority.verify_bearer(text)
