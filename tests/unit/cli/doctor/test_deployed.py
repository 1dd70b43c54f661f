"""What `patauth doctor --url` finds when it asks a running app."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from click.testing import CliRunner

from patauth import Authority, PatAuthMiddleware, Settings
from patauth.cli import program
from patauth.cli.doctor.deployed import judge_deployed
from tests.support.authorities import Make
from tests.support.processes import free_port
from tests.support.servers import one_engine
from tests.support.tables import each
from tests.support.tls import serving_tls
from tests.support.wsgi import Echo, folding, serving

SETTINGS = Settings.of(store_url="memory:")


def found(url: str, settings: Settings = SETTINGS) -> list[str]:
    return [f"{finding.level} {finding.check}" for finding in judge_deployed(url, settings)]


def without_authorization(app: Any) -> Any:
    def dropped(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        environ.pop("HTTP_AUTHORIZATION", None)
        return app(environ, start_response)

    return dropped


def always(status: str, *fields: tuple[str, str], body: bytes = b"") -> Any:
    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response(status, list(fields))
        return [body]

    return app


@one_engine
def test_it_shows_whether_credentials_arrive(make: Make) -> None:
    for given in ({}, {"challenges": ["basic"]}, {"challenges": ["bearer"]}):
        gate = PatAuthMiddleware(Echo(), make(), public=["/pub"], **given)
        with serving(gate) as url:
            assert found(f"{url}/reports") == ["ok url", "warning headers"]
            assert found(f"{url}/reports?a=b") == ["ok url", "warning headers"]
            assert found(f"{url}/pub") == ["problem url"]
        with serving(without_authorization(gate)) as url:
            assert found(f"{url}/reports") == ["problem url"]


def test_what_is_no_answer_of_patauth_is_no_verdict() -> None:
    for app, expected in (
        (always("200 OK"), "problem url"),
        (always("404 Not Found"), "problem url"),
        (always("301 Moved Permanently", ("Location", "http://127.0.0.1:9/")), "warning url"),
        (always("503 Service Unavailable"), "warning url"),
        (always("429 Too Many Requests"), "warning url"),
        (always("401 Unauthorized", ("WWW-Authenticate", "Digest x")), "warning url"),
        (always("401 Unauthorized", body=b"[1]"), "warning url"),
        (always("401 Unauthorized", body=b"[" * 60_000), "warning url"),
    ):
        with serving(app) as url:
            assert found(url) == [expected]
    assert found(f"http://127.0.0.1:{free_port()}/") == ["problem url"]


@one_engine
def test_a_chain_that_merges_underscores_is_seen_where_patauth_shows_it(make: Make) -> None:
    """By a token header or a preflight; without the settings for either, it is unknown."""
    for given, shows in (
        ({"token_headers": ["X-API-Key"]}, True),
        ({"cors_origins": ["https://app.example"]}, True),
        ({"cors_origins": ["*"]}, True),
        ({"token_headers": ["Token"]}, False),
        ({}, False),
    ):
        authority: Authority = make(**given)
        gate = PatAuthMiddleware(Echo(), authority)
        with folding(gate) as url:  # wsgiref
            assert found(url, authority.settings) == [
                "ok url",
                "problem headers" if shows else "warning headers",
            ]
        with serving(gate) as url:
            assert found(url, authority.settings) == ["ok url", "ok headers" if shows else "warning headers"]


@one_engine
def test_no_credentials_that_anybody_has_are_sent(make: Make) -> None:
    """The token is a new one each time, and well formed, so the store is asked."""
    authority, seen = make(), []

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        seen.append(environ["HTTP_AUTHORIZATION"])
        start_response("401 Unauthorized", [])
        return []

    with serving(app) as url:
        found(url)
        found(url)
    assert seen[0] != seen[1]
    for value in seen:
        authority.operations.format.parse(value)


@each(
    "url",
    [
        "app.example",
        "ftp://app.example/",
        "https://u:p@app.example/",
        "http://a/#x",
        "http://a:x/",
        "http://a/ b",
    ],
)
def test_a_url_that_cannot_be_asked_is_a_usage_error(url: str) -> None:
    result = CliRunner().invoke(program, ["doctor", "--store", "memory:", "--url", url])
    assert result.exit_code == 2
    assert "--url" in result.stderr
    assert "u:p" not in result.stderr


@one_engine
def test_the_command_asks_the_url_and_reads_the_files(make: Make, tmp_path: Path) -> None:
    (tmp_path / "site").write_text("WSGIScriptAlias / /srv/app.wsgi\nWSGIPassAuthorization Off\n")
    with serving(PatAuthMiddleware(Echo(), make())) as url:
        words = ["doctor", "--store", "memory:", "--output", "json", "--url", url]
        result = CliRunner().invoke(program, [*words, "--server-config", str(tmp_path / "site")])
    levels = {one["check"]: one["level"] for one in json.loads(result.stdout)["findings"]}
    assert (levels["url"], levels["mod_wsgi"], result.exit_code) == ("ok", "problem", 1)


@one_engine
def test_without_a_store_it_asks_and_reads_and_says_that_no_store_was_examined(
    make: Make, tmp_path: Path
) -> None:
    (tmp_path / "site").write_text("WSGIScriptAlias / /srv/app.wsgi\nWSGIPassAuthorization On\n")
    doctor = ["doctor", "--output", "json", "--server-config", str(tmp_path / "site")]
    assert CliRunner().invoke(program, doctor).exit_code == 0
    with serving(PatAuthMiddleware(Echo(), make())) as url:
        result = CliRunner().invoke(program, [*doctor, "--url", url])
    found = {one["check"]: one for one in json.loads(result.stdout)["findings"]}
    assert (found["url"]["level"], found["mod_wsgi"]["level"], result.exit_code) == ("ok", "ok", 0)
    assert (found["store"]["level"], found["store"]["finding"]) == (
        "warning",
        "No store is named, so it was not examined.",
    )


def test_a_certificate_that_nobody_vouches_for_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is sent then. Where the system trusts it, the answer counts."""
    seen: list[bytes] = []

    def answer(asked: bytes) -> bytes:
        seen.append(asked)
        return b'HTTP/1.1 401 U\r\nContent-Length: 25\r\n\r\n{"error":"invalid_token"}\n'

    with serving_tls(tmp_path, answer) as store_url:
        url = f"https://localhost:{urlsplit(store_url).port}/reports"
        assert found(url) == ["problem url"]
        assert seen == []
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "localhost.pem"))
        assert found(url) == ["ok url", "warning headers"]
        assert len(seen) == 1
