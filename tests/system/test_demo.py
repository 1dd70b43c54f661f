"""`patauth demo`: the story is true, a step that is not is named, and nothing of it stays."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from click.testing import CliRunner

from patauth import Authority
from patauth.cli import program
from patauth.cli.demo import story as story_module
from patauth.cli.demo.command import KEY_PREFIX
from patauth.cli.demo.request import Reply, Request
from patauth.cli.demo.story import Story
from tests.support.acl import logged_out
from tests.support.forms import hidden, token_of
from tests.support.paths import ROOT
from tests.support.processes import free_port
from tests.support.servers import Server, until

STEPS = 12
# of all requests that are shown; making and revoking the PAT, steps 1 and 9, are none
STATUSES = ["401", "200", "200", "200", "200", "403", "429", "200", "401", "401", "401"]
PAGE_STATUSES = ["200", "200", "403", "200", "409", "200", "200", "200", "303", "401"]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the demo makes its temporary directory; afterwards nothing may be left of it."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)  # for demos within this process
    yield tmp_path
    assert list(tmp_path.glob("patauth-*")) == []
    until(lambda: processes(tmp_path) == [])  # one that is ending may be seen for a moment


def processes(directory: Path) -> list[str]:
    """The command lines of all that works in `directory`."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and os.readlink(entry / "cwd").startswith(str(directory)):
                found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
    return found


@contextlib.contextmanager
def start(
    home: Path, *words: str, stdout: int = subprocess.PIPE, **more: str
) -> Iterator[subprocess.Popen[str]]:
    kept = {name: text for name, text in os.environ.items() if not name.startswith("PATAUTH_")}
    with subprocess.Popen(
        [sys.executable, "-m", "patauth", "demo", *words],
        env={**kept, "TMPDIR": str(home), "PYTHONPATH": str(ROOT), **more},
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.terminate()  # nothing, if it has ended


def demo(home: Path, *words: str, **more: str) -> tuple[int, str, str]:
    with start(home, *words, **more) as process:
        stdout, stderr = process.communicate(timeout=40)
    assert "Traceback" not in stderr
    return process.returncode, stdout, stderr


def read_until(process: subprocess.Popen[str], text: str) -> str:
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if text in line:
            return "".join(lines)
    raise AssertionError(f"{text!r} did not come:\n{''.join(lines)}")


def test_once_tells_the_whole_story_and_ends_with_0(home: Path) -> None:
    code, story, stderr = demo(home, "--once")
    assert (code, stderr) == (0, "")
    assert re.findall(r"(?m)^(\d+)\. ", story) == [str(number) for number in range(1, STEPS + 1)]
    statuses = re.findall(r"(?m)^   (\d{3}) [A-Z]", story)
    assert statuses == STATUSES
    assert re.search(r"(?m)^   Retry-After: [1-9]", story)
    assert re.search(r'(?m)^   RateLimit: "requests";r=99;t=1$', story)
    assert re.search(r"(?m)^   \$ curl -i -u [0-9a-f]{32}:pats_", story)
    assert re.search(r"(?m)^   \$ .*patauth pat revoke", story)
    assert "throw-away" in story
    assert "local:" in story
    assert "\x1b[" not in story


def test_it_goes_on_with_a_fresh_pat_whose_lines_can_be_repeated_until_ctrl_c(home: Path) -> None:
    port = free_port()
    with start(home, "--port", str(port)) as process:
        story = read_until(process, "Ctrl-C ends the demo")
        lines = re.findall(r"(?m)^   \$ (.+)$", story[story.index("in another terminal") :])
        curls = [line for line in lines if line.startswith("curl ")]
        assert all(f"http://127.0.0.1:{port}/" in line for line in curls)
        assert [status_of(line) for line in curls] == [200, 200, 200, 403]

        ours = [line.replace("python -m patauth", f"{sys.executable} -m patauth") for line in lines[4:]]
        listed = subprocess.run(shlex.split(ours[0]), capture_output=True, text=True, check=True)
        assert "yours" in listed.stdout
        subprocess.run([*shlex.split(ours[1]), "--yes"], capture_output=True, check=True)
        assert [status_of(line) for line in curls] == [401, 401, 401, 401]

        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=20)
    assert (process.returncode, stderr) == (0, "")
    assert "Ending" in stdout


def status_of(curl: str) -> int:
    answer = subprocess.run(shlex.split(curl), capture_output=True, text=True, check=True, timeout=10).stdout
    return int(answer.split()[1])


# -- the page ------------------------------------------------------------------------------------------------


def test_the_page_once_tells_what_a_person_does_and_ends_with_0(home: Path) -> None:
    code, story, stderr = demo(home, "--page", "--once")
    assert (code, stderr) == (0, "")
    assert re.findall(r"(?m)^   (\d{3}) [A-Z]", story) == PAGE_STATUSES
    assert re.search(r"(?m)^   token   pat_\w+$", story)
    assert story.endswith("All steps worked.\n")
    code, stdout, _ = demo(home, "--page", "--once", "--output", "json")
    steps = json.loads(stdout)["steps"]
    assert (code, [str(one) for step in steps for one in step["statuses"]]) == (0, PAGE_STATUSES)


def test_the_page_is_there_for_people_on_this_machine_until_ctrl_c(home: Path) -> None:
    port = free_port()
    with start(home, "--page", "--port", str(port), SSH_CONNECTION="x") as process:
        said = read_until(process, "Ctrl-C ends the demo")
        page = f"http://127.0.0.1:{port}/personal-access-tokens"
        assert page in said
        assert f"ssh -L {port}:127.0.0.1:{port}" in said
        for host, status in ((f"localhost:{port}", 200), ("[::1]", 200), (f"rebound.example:{port}", 401)):
            assert requests.get(page, headers={"Host": host}, timeout=10).status_code == status
        with requests.Session() as browser:
            browser.headers["Origin"] = f"http://127.0.0.1:{port}"
            form = hidden(browser.get(f"{page}/new").text)
            new = {**form, "name": "mine", "scope": "reports:read", "expires_in": "30d"}
            token = token_of(browser.post(page, new).text)
        (line,) = re.findall(r"(?m)^   \$ (curl .+)$", said)
        assert status_of(line.replace("…", token)) == 200
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=20)
    assert (process.returncode, stderr) == (0, "")
    assert "Ending" in stdout


def test_what_people_make_on_the_page_goes_with_the_demo(home: Path, server: Server) -> None:
    """From a store that --store names, too, whoever else has a demo on it."""
    url, port = logged_out(server.url), free_port()
    with server.client() as client:
        before = set(client.scan_iter("*"))
    with Authority.from_url(url, key_prefix=KEY_PREFIX) as authority:
        with start(home, "--page", "--port", str(port), "--store", url) as process:
            read_until(process, "Ctrl-C ends the demo")
            page = f"http://127.0.0.1:{port}/personal-access-tokens"
            form = hidden(requests.get(page + "/new", timeout=10).text)
            new = {**form, "name": "mine", "scope": "reports:read", "expires_in": "30d"}
            assert requests.post(page, new, headers={"Origin": page[:-23]}, timeout=10).status_code == 200
            assert [pat.name for pat in authority.list()] == ["mine"]
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=20)
        assert authority.list() == []
    with server.client() as client:
        left = set(client.scan_iter("*")) - before
    assert not [key for key in left if key.startswith(b"patauth:{")]


@pytest.mark.parametrize(
    ("given", "opened"),
    [
        ({"DISPLAY": ":0"}, True),
        ({"WAYLAND_DISPLAY": "wayland-0"}, True),
        ({}, False),
        ({"DISPLAY": ":0", "SSH_CONNECTION": "192.0.2.1 1 192.0.2.2 22"}, False),
        ({"DISPLAY": ":0", "BROWSER": "{browser} %s"}, False),  # it may take the terminal
    ],
)
def test_a_browser_opens_on_a_desktop_alone(home: Path, given: dict[str, str], opened: bool) -> None:
    """With a browser that writes down its arguments, and a terminal on stdout."""
    browser, port = home / "browser", free_port()
    browser.write_text(f'#!/bin/sh\necho "$@" > {home}/opened\n')
    browser.chmod(0o755)
    kept = {"BROWSER": f"{browser} %s &", "DISPLAY": "", "WAYLAND_DISPLAY": ""}
    more = kept | {name: text.format(browser=browser) for name, text in given.items()}
    ours, theirs = os.openpty()
    with start(home, "--page", "--port", str(port), stdout=theirs, **more) as process:
        os.close(theirs)
        said = b""
        while b"Ctrl-C ends" not in said:
            said += os.read(ours, 4096)
        if opened:
            until(lambda: (home / "opened").exists() and (home / "opened").read_text() != "")
            assert (home / "opened").read_text() == f"http://127.0.0.1:{port}/personal-access-tokens\n"
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
    os.close(ours)
    assert (home / "opened").exists() == opened


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_amid_the_story_leaves_nothing(home: Path, number: signal.Signals, code: int) -> None:
    with start(home, "--once") as process:
        read_until(process, "3. Basic")
        process.send_signal(number)
        process.send_signal(number)  # an impatient one
        _, stderr = process.communicate(timeout=20)
    assert process.returncode == code
    assert stderr.strip() == ""


def test_sigterm_while_serving_leaves_nothing(home: Path) -> None:
    with start(home, "--port", str(free_port())) as process:
        read_until(process, "Ctrl-C ends the demo")
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)
    assert process.returncode == 143


def test_a_reader_that_goes_away_leaves_nothing(home: Path) -> None:
    with start(home, "--once") as process:
        read_until(process, "3. Basic")
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 1


def test_a_port_in_use_is_said_clearly_before_anything_starts(home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        code, stdout, stderr = demo(home, "--once", "--port", str(port))
    assert (code, stdout) == (1, "")
    assert f"127.0.0.1:{port}" in stderr
    assert "--port" in stderr


def test_without_an_engine_it_takes_memory_and_says_so(home: Path) -> None:
    code, story, stderr = demo(home, "--once", PATAUTH_ENGINE="/nonexistent")
    assert code == 0
    assert "PATAUTH_ENGINE" in stderr
    assert "memory:" in stderr
    assert "All steps worked." in story


def test_json_is_one_object_on_stdout_and_the_story_a_message(home: Path) -> None:
    code, stdout, stderr = demo(home, "--once", "--output", "json")
    steps = json.loads(stdout)["steps"]
    assert code == 0
    assert [step["step"] for step in steps] == list(range(1, STEPS + 1))
    assert [str(status) for step in steps for status in step["statuses"]] == STATUSES
    assert "12. " in stderr


def test_a_store_that_is_named_is_used_under_a_prefix_and_left_clean(home: Path, server: Server) -> None:
    url = logged_out(server.url)
    with server.client() as client:
        before = set(client.scan_iter("*"))
    code, story, stderr = demo(home, "--once", "--store", url)
    assert (code, stderr) == (0, "")
    assert url not in story  # it might hold a password
    with Authority.from_url(url, key_prefix=KEY_PREFIX) as authority:
        assert authority.list(owner_id="alice") == []
    with server.client() as client:
        left = set(client.scan_iter("*")) - before
    assert not [key for key in left if key.startswith(b"patauth:{")]


def test_the_store_of_the_environment_is_not_touched(home: Path) -> None:
    code, _, stderr = demo(home, "--once", PATAUTH_STORE_URL=f"local:{home}/real", PATAUTH_SCOPES="x:y")
    assert (code, stderr) == (0, "")
    assert not (home / "real").exists()


def test_a_store_that_cannot_be_reached_is_5(home: Path) -> None:
    code, stdout, stderr = demo(home, "--once", "--store", "unix:///nonexistent/socket")
    assert (code, stdout) == (5, "")
    assert "not reachable" in stderr


# -- steps that fail -----------------------------------------------------------------------------------------


def lie(monkeypatch: pytest.MonkeyPatch, changes: dict[str, Reply]) -> None:
    """Let requests whose curl line holds a key get another reply; the rest is real."""
    real = Request.send

    def send(self: Request) -> Reply:
        reply = real(self)
        for part, other in changes.items():
            if part in self.curl():
                return other
        return reply

    monkeypatch.setattr(Request, "send", send)


def reply(status: int, body: str = "{}", **fields: str) -> Reply:
    return Reply(status, [(name.replace("_", "-"), value) for name, value in fields.items()], body)


@pytest.mark.parametrize(
    ("changes", "step"),
    [
        ({"curl -i http": reply(200)}, 2),
        ({"curl -i http": reply(401, WWW_Authenticate='Basic realm="x"')}, 2),
        ({" -u ": reply(200, '{"caller": "Mallory"}')}, 3),
        ({" -u ": reply(200, "no JSON")}, 3),
        ({" -u ": reply(200, "[]")}, 3),
        ({"/oauth/token": reply(503)}, 4),
        ({"/oauth/token": reply(200, '{"access_token": ""}')}, 4),
        ({"Bearer pata_": reply(401)}, 5),
        ({"Bearer pat_": reply(401)}, 6),
        ({" -X POST": reply(200)}, 7),
    ],
)
def test_a_step_that_did_not_happen_as_told_is_named_and_ends_with_1(
    home: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Reply], step: int
) -> None:
    check_that_it_is_named(monkeypatch, changes, step, "--once")


@pytest.mark.parametrize(
    ("changes", "step"),
    [
        ({"tokens": reply(200, "Signed in as Mallory")}, 1),
        ({"/new?": reply(200, 'name="scope" value="reports:read"')}, 2),
        ({"Origin: https://elsewhere": reply(200)}, 3),
        ({"Origin: http://127": reply(200, "made")}, 4),
        ({"Origin: http://127": reply(200, f"pat_{'0' * 32}_{'0' * 49}")}, 5),
        ({"/reports": reply(401)}, 6),
        ({"/reports": reply(200, '{"caller": "Alice", "scopes": ["reports:read", "reports:write"]}')}, 6),
        ({"reason=": reply(200)}, 7),
    ],
)
def test_a_step_on_the_page_that_did_not_happen_as_told_is_named(
    home: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Reply], step: int
) -> None:
    check_that_it_is_named(monkeypatch, changes, step, "--page", "--once")


def check_that_it_is_named(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, Reply], step: int, *words: str
) -> None:
    lie(monkeypatch, changes)
    result = CliRunner().invoke(program, ["demo", *words])
    assert result.exit_code == 1
    assert re.match(rf"Error: step {step} \(.+\) failed: ", result.stderr)
    assert f"\n{step}. " in result.stdout
    assert f"\n{step + 1}. " not in result.stdout


def test_a_quota_that_never_ends_is_noticed(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(story_module, "SMALL_QUOTA", "1000/10")
    result = CliRunner().invoke(program, ["demo", "--once"])
    assert result.exit_code == 1
    assert "step 8" in result.stderr


def test_a_revocation_that_does_nothing_is_noticed(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Authority, "delete", lambda *_: None)
    result = CliRunner().invoke(program, ["demo", "--once"])
    assert result.exit_code == 1
    assert "step 10" in result.stderr


def test_an_app_that_dies_is_noticed(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        Story, "_greeted", lambda self, request, method: Request("http://127.0.0.1:1/").send()
    )
    result = CliRunner().invoke(program, ["demo", "--once"])
    assert result.exit_code == 1
    assert "step 3" in result.stderr
    assert "no answer" in result.stderr


def test_the_request_and_its_curl_line_are_the_same(home: Path) -> None:
    request = Request("http://127.0.0.1:1/x", "POST", bearer="it's")
    assert shlex.split(request.curl()) == [
        "curl", "-i", "-H", "Authorization: Bearer it's", "-X", "POST", "http://127.0.0.1:1/x",
    ]  # fmt: skip


def test_a_store_that_stops_for_a_moment_does_not_end_the_story(
    home: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pip has just written a hundred megabytes, and the store waits for the disk."""
    real = Request.send
    timers: list[threading.Timer] = []

    def send(self: Request) -> Reply:
        if not timers:
            server.freeze()
            timers.append(threading.Timer(1.0, server.thaw))
            timers[0].start()
        return real(self)

    monkeypatch.setattr(Request, "send", send)
    result = CliRunner().invoke(program, ["--store", logged_out(server.url), "demo", "--once"])
    timers[0].join()
    assert (result.exit_code, result.stderr) == (0, "")
