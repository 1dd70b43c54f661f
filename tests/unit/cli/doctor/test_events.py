from __future__ import annotations

import time
from pathlib import Path

from patauth.cli.doctor.events import judge_events
from patauth.events.delivery import group_of
from tests.support.acl import ON_SERVER, logged_in
from tests.support.authorities import Make, patient
from tests.support.receivers import SECRET
from tests.support.servers import Server, binaries

URL = "https://hooks.example/hush"


def test_a_stream_that_is_read_is_well(make_at: Make) -> None:
    authority = make_at(events=f"stream:audit webhook:{URL}", webhook_secret=SECRET)
    authority.operations._store.event_stream("audit").begin(group_of(URL))
    assert [finding.level for finding in judge_events(authority.operations)] == ["ok"]


def test_without_a_stream_there_is_nothing_to_say(make_at: Make) -> None:
    assert list(judge_events(make_at().operations)) == []


def test_it_says_what_was_lost_and_that_nobody_delivers(make_at: Make) -> None:
    authority = make_at(events=f"stream:audit webhook:{URL}", webhook_secret=SECRET)
    stream = authority.operations._store.event_stream("audit")
    stream._most = 1
    stream.begin("other")
    for _ in range(5):
        stream.add("changes", ["{}"] * 100, dropped=2)
    stream.take("changes", "other", "w", count=1, left_ms=60_000)
    found = list(judge_events(authority.operations))
    assert [finding.level for finding in found] == ["ok", "warning", "warning", "warning"]
    texts = " ".join(finding.text for finding in found)
    assert "10 events were dropped by processes" in texts
    assert "events were lost by the stream" in texts
    assert "webhook:https://hooks.example: nobody has delivered to it yet" in texts
    assert "hush" not in texts


def test_it_warns_of_an_event_that_waits_for_long(make_at: Make) -> None:
    """Also if a worker has taken it: the receiver does not."""
    authority = make_at(events=f"stream:audit webhook:{URL}", webhook_secret=SECRET)
    stream = authority.operations._store.event_stream("audit")
    stream.begin(group_of(URL))
    stream.add("changes", ["{}"])
    assert [finding.level for finding in judge_events(authority.operations)] == ["ok"]
    stream.take("changes", group_of(URL), "w", count=1, left_ms=60_000)
    key, minutes = stream._keys.refusals, 20
    at = round(1000 * (time.time() - 60 * minutes))
    stream._scripts.call([("XADD", key, f"{at}-0", "number", 1, "event", "{}")], retry=False)
    stream.take("refusals", group_of(URL), "w", count=1, left_ms=60_000)
    _, found = judge_events(authority.operations)
    assert found.level == "warning"
    assert "webhook:https://hooks.example: 2 events wait for it, the oldest for 20 minutes" in found.text


def test_a_user_who_may_not_read_it_is_a_problem(tmp_path: Path) -> None:
    own = Server(binaries()["valkey"], tmp_path, "--user", *ON_SERVER)
    try:
        with patient(logged_in(own.url), events="stream:audit") as authority:
            authority.ping()
            (found,) = judge_events(authority.operations)
            assert found.level == "problem"
            assert "permission" in found.text.lower()
    finally:
        own.stop()
