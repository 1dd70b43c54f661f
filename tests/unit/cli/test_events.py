"""`patauth events deliver`, and what other commands say of events."""

from __future__ import annotations

import json
import sys

import pytest

from tests.support.cli import Run, create
from tests.support.processes import free_port
from tests.support.receivers import SECRET, answers, in_turn, receiving, takes
from tests.support.tables import each


@pytest.fixture(autouse=True)
def own_stream(monkeypatch: pytest.MonkeyPatch, prefix: str) -> None:
    monkeypatch.setenv("PATAUTH_WEBHOOK_SECRET", SECRET)
    monkeypatch.setenv("PATAUTH_KEY_PREFIX", prefix)


def deliver(run: Run, monkeypatch: pytest.MonkeyPatch, *urls: str):
    words = ["log", "stream:audit", *(f"webhook:{url}" for url in urls)]
    monkeypatch.setenv("PATAUTH_EVENTS", " ".join(words))
    return run("events", "deliver", "--once", "--output", "json")


def test_what_commands_did_is_delivered_once_to_each_receiver(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATAUTH_EVENTS", "log stream:audit")
    made = create(run, "alice")
    run("pat", "revoke", made["pat"]["id"], "--yes")
    with receiving() as one, receiving() as other:
        result = deliver(run, monkeypatch, one.url, other.url)
        assert result.exit_code == 0, result.stderr
        assert json.loads(result.stdout) == {
            "delivered": 4, "refused": 0, "abandoned": 0, "lost": 0, "skipped": 0,
        }  # fmt: skip
        for receiver in (one, other):
            assert [event["type"] for event in receiver.taken] == ["pat.created", "pat.revoked"]
            assert {event["patId"] for event in receiver.taken} == {made["pat"]["id"]}
        again = deliver(run, monkeypatch, one.url, other.url)
        assert json.loads(again.stdout)["delivered"] == 0
        assert made["secret"] not in json.dumps(one.taken)
    stats = json.loads(run("store", "stats", "--output", "json").stdout)
    names = ("events", "eventRefusals", "eventsDropped", "eventsLost", "eventsWaiting")
    assert [stats[name] for name in names] == [2, 0, 0, 0, 0]
    assert "events waiting" in run("store", "stats").stdout


def test_stats_say_what_waits_for_the_receivers_of_the_setting(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anybody has delivered to one, after a try that failed, and of no other receiver."""

    def waits() -> int | None:
        return json.loads(run("store", "stats", "--output", "json").stdout)["eventsWaiting"]

    monkeypatch.setattr("patauth.events.outbox.FIRST_PAUSE", 0.01)
    monkeypatch.setenv("PATAUTH_EVENTS", "stream:audit")
    create(run, "alice", name="waits 1")
    create(run, "alice", name="waits 2")
    assert waits() is None, "nobody waits for them"
    down = f"http://127.0.0.1:{free_port()}/"
    monkeypatch.setenv("PATAUTH_EVENTS", f"stream:audit webhook:{down}")
    assert waits() == 2
    stats = run("store", "stats")
    assert "nobody has delivered to it yet" in stats.stderr
    assert "oldest event seconds" in stats.stdout
    assert deliver(run, monkeypatch, down).exit_code == 1
    assert waits() == 2
    assert "nobody" not in run("store", "stats").stderr
    with receiving() as receiver:
        assert deliver(run, monkeypatch, receiver.url).exit_code == 0
        assert waits() == 0
        monkeypatch.setenv("PATAUTH_EVENTS", f"stream:audit webhook:{receiver.url} webhook:{down}")
        assert waits() == 2, "for the one that is furthest behind"


def test_a_receiver_that_does_not_take_them_is_exit_code_1_and_they_wait(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("patauth.events.outbox.FIRST_PAUSE", 0.01)
    monkeypatch.setenv("PATAUTH_EVENTS", "stream:audit")
    create(run, "alice")
    with receiving(in_turn(answers(500), takes)) as receiver:
        result = deliver(run, monkeypatch, receiver.url)
        assert result.exit_code == 1
        assert "answered 500 to the event" in result.stderr
        assert "/hook" not in result.output, "the rest of the URL may be a secret"
        assert "takes events again" not in result.stderr
        assert json.loads(result.stdout)["refused"] == 1
    down = deliver(run, monkeypatch, f"http://127.0.0.1:{free_port()}/")
    assert (down.exit_code, json.loads(down.stdout)["delivered"]) == (1, 0)
    assert "cannot be reached" in down.stderr


def test_once_gives_up_after_many_refusals_in_a_row(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["patauth.cli.events"], "_REFUSALS", 2)
    monkeypatch.setenv("PATAUTH_EVENTS", "stream:audit")
    for name in "abcdefg":
        create(run, name)
    with receiving(answers(400)) as receiver:
        result = deliver(run, monkeypatch, receiver.url)
        assert (result.exit_code, len(receiver.tries)) == (1, 2)
        deliver(run, monkeypatch, receiver.url)
        assert len(set(receiver.tries)) == len(receiver.tries) == 4, "the next run begins with others"


def test_an_event_that_is_given_up_is_said_and_counted(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("patauth.events.delivery.REFUSALS", 1)
    monkeypatch.setenv("PATAUTH_EVENTS", "stream:audit")
    create(run, "alice")
    with receiving(answers(400)) as receiver:
        for refused, exit_code in ((1, 1), (0, 0)):
            result = deliver(run, monkeypatch, receiver.url)
            found = json.loads(result.stdout)
            assert (found["refused"], found["abandoned"], result.exit_code) == (refused, refused, exit_code)
            assert ("1 event given up: refused for three days" in result.stderr) == (refused == 1)
    assert json.loads(run("store", "stats", "--output", "json").stdout)["eventsLost"] == 1


def test_410_is_exit_code_1(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATAUTH_EVENTS", "stream:audit")
    create(run, "alice")
    with receiving(answers(410)) as receiver:
        result = deliver(run, monkeypatch, receiver.url)
    assert result.exit_code == 1
    assert "410" in result.stderr


@each("events", ["log", "stream:audit", "webhook:https://hooks.example/", "none"])
def test_it_needs_a_stream_and_a_webhook(run: Run, monkeypatch: pytest.MonkeyPatch, events: str) -> None:
    monkeypatch.setenv("PATAUTH_EVENTS", events)
    result = run("events", "deliver")
    assert result.exit_code == 2
    assert "names no stream:NAME, or no webhook:URL" in result.stderr


def test_a_store_in_memory_has_nothing_to_deliver(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATAUTH_EVENTS", "stream:audit webhook:https://hooks.example/")
    assert run("events", "deliver", "--store", "memory:").exit_code == 2


def test_a_store_that_is_down_is_exit_code_5(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATAUTH_EVENTS", "stream:audit webhook:https://hooks.example/")
    url = f"redis://127.0.0.1:{free_port()}/0"
    assert run("events", "deliver", "--once", "--store", url).exit_code == 5


def test_config_show_masks_urls_and_secrets(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATAUTH_EVENTS", "log webhook:https://hooks.example/hush")
    result = run("config", "show", "--output", "json")
    shown = json.loads(result.stdout)["settings"]
    assert shown["events"]["value"] == ["log", "webhook:https://hooks.example"]
    assert shown["webhook_secret"]["value"] == ["***"]
    assert "hush" not in result.output
    assert run("config", "check").exit_code == 0
