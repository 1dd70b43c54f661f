"""The benchmarks run, each case is answered as it should be, and counts hold; no time is ever asserted."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from redis.crc import key_slot

from tests.benchmarks import calls, cases, engines, floors, slots
from tests.benchmarks.__main__ import OF_PAGE
from tests.benchmarks.calls import WrongAnswer, environ_of
from tests.benchmarks.counts import count, functions_of
from tests.benchmarks.measure import Case, Pinning, Timing, over_processes, ratio, take_turns
from tests.benchmarks.peers.flaskapp import BARE as BARE_FLASK
from tests.benchmarks.peers.httpauth import NAME as FLASK_PEER
from tests.benchmarks.peers.jwtextended import NAME as JWT_PEER
from tests.benchmarks.peers.knoxtokens import NAME as KNOX_PEER
from tests.benchmarks.peers.oauthresource import NAME as AUTHLIB_PEER
from tests.benchmarks.peers.steps import LIMITS, RS256, THROTTLED
from tests.benchmarks.perrequest import FILE, TCP, UNIX
from tests.benchmarks.report import Goal, Part, Table, goals_table, significant, titles_of, write_page
from tests.benchmarks.stages import COMPARED
from tests.support.paths import ROOT
from tests.support.servers import Server

PARTS = ("requests", "profile", "imports", "scale", "owners", "slots", "engines", "paths")
PEERS = (FLASK_PEER, AUTHLIB_PEER, JWT_PEER, KNOX_PEER)


def benchmarks(*words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """The command, in a process of its own: it pins itself to one CPU."""
    return subprocess.run(
        [sys.executable, "-m", "tests.benchmarks", *words],
        cwd=ROOT, env={**os.environ, **environ}, capture_output=True, text=True, timeout=180, check=False,
    )  # fmt: skip


def all_numbers(value: Any) -> Iterator[float]:
    if isinstance(value, dict | list):
        for one in value.values() if isinstance(value, dict) else value:
            yield from all_numbers(one)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield value


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any]]:
    """All parts that need nothing but Python, once: what was printed, and the file of figures."""
    path = tmp_path_factory.mktemp("benchmarks") / "figures.json"
    done = benchmarks(*PARTS, "--smoke", "--json", str(path))
    assert done.returncode == 0, done.stderr
    return done.stdout, json.loads(path.read_text("utf-8"))


class TestSmoke:
    @pytest.fixture
    def parts(self, run: tuple[str, dict[str, Any]]) -> dict[str, Any]:
        return run[1]["parts"]

    def test_every_part_has_its_figures_and_says_how_they_were_got(self, parts: dict[str, Any]) -> None:
        assert tuple(parts) == PARTS
        assert all(part["method"] for part in parts.values())

    def test_every_case_has_a_time_that_can_be(self, parts: dict[str, Any]) -> None:
        for name in ("requests", "profile", "imports", "scale", "engines"):
            for case, figures in parts[name]["cases"].items():
                times = [figures[unit] for unit in ("us", "ms", "process_ms") if unit in figures]
                assert times, case
                assert all(math.isfinite(one) and one > 0 for one in times), case
        assert all(math.isfinite(number) for number in all_numbers(parts))

    def test_no_case_and_no_peer_is_left_out(self, parts: dict[str, Any]) -> None:
        everywhere = {floors.GET, floors.RAW_GET, floors.RAW_NOOP, LIMITS, THROTTLED, *cases.ONE_TRIP}
        everywhere |= {cases.EXCHANGE, cases.EXCHANGE_HTTP}
        once = {cases.BARE, BARE_FLASK, cases.ARGON2, cases.LONG, RS256, *PEERS}
        named = {f"{name}, {setup}" for name in everywhere for setup in (UNIX, TCP, FILE)}
        named |= {f"{name}, {UNIX}" for name in once}
        assert named <= set(parts["requests"]["cases"])

    def test_every_engine_has_its_requests_and_a_get(self, parts: dict[str, Any]) -> None:
        asked = (floors.GET, cases.TOKEN, cases.BASIC)
        named = {f"{name}: {case}" for name in (engines.NODE, engines.NODES) for case in asked}
        assert named <= set(parts["engines"]["cases"])

    @pytest.mark.parametrize("way", cases.ONE_TRIP)
    def test_an_authenticated_request_is_one_round_trip(self, parts: dict[str, Any], way: str) -> None:
        """Contract 5.1, as the server counts it."""
        counted = parts["requests"]["counts"][way]
        assert counted["round_trips"] == 1
        assert counted["commands"]["evalsha"] == 1
        assert "hset" not in counted["commands"]

    def test_a_malformed_token_reaches_no_server(self, parts: dict[str, Any]) -> None:
        counted = parts["requests"]["counts"]["refused: malformed token"]
        assert (counted["round_trips"], counted["commands"]) == (0, {})

    def test_a_peer_asks_the_same_server(self, parts: dict[str, Any]) -> None:
        for peer in PEERS:
            assert parts["requests"]["counts"][peer]["round_trips"] >= 2, peer

    def test_each_goal_of_a_part_has_a_verdict(self, parts: dict[str, Any]) -> None:
        goals = {goal["name"] for part in parts.values() for goal in part.get("goals", [])}
        assert goals == {"E6", "G1", "G2", "G4", "G5", "G7", "engines", "owners"}

    def test_the_stages_of_a_request_add_up(self, parts: dict[str, Any]) -> None:
        for stages in parts["profile"]["stages"].values():
            *some, whole = list(stages.values())[: -len(COMPARED)]
            assert sum(some) == pytest.approx(whole)

    def test_a_record_takes_its_bytes_at_each_size(self, parts: dict[str, Any]) -> None:
        assert len(parts["scale"]["bytes"]) == 2
        assert all(number > 0 for number in all_numbers(parts["scale"]["bytes"]))

    def test_the_page_of_figures_has_a_place_for_each_table_of_a_run(
        self, run: tuple[str, dict[str, Any]]
    ) -> None:
        """So a long run is not refused at its end. Other parts, other times and details are in one alone."""
        page = titles_of((ROOT / "docs" / "performance.md").read_text("utf-8"))
        of_others = {"Shards", "Dearest requests", "Machine", "Under gunicorn"}
        details = {"µs of the longest command", f"Python functions of one request ({cases.TOKEN})"}
        assert page ^ {*re.findall("(?m)^### (.*)$", run[0])} == of_others | details

    def test_what_is_printed_says_on_what_and_what_not(self, run: tuple[str, dict[str, Any]]) -> None:
        text, figures = run
        assert "Not measured:" in text
        for fact in ("CPU", "kernel", "Python", "packages", "patauth", "date"):
            assert f"- {fact}: {figures['machine'][fact]}" in text


def test_an_unknown_part_is_a_mistake_of_usage() -> None:
    done = benchmarks("everything")
    assert done.returncode == 2
    assert "there is no part 'everything'" in done.stderr


def test_a_page_has_the_figures_of_one_whole_run(tmp_path: Path) -> None:
    """Figures of a tiny run, or tables of two commits below one date, would say what nobody measured."""
    page = tmp_path / "page.md"
    page.write_text("# Page\n", "utf-8")
    for words in ([*OF_PAGE, "--smoke"], OF_PAGE[1:], [*OF_PAGE, "slots"], []):
        done = benchmarks(*words, "--page", str(page))
        assert (done.returncode, done.stdout) == (2, "")
        assert f"give {' '.join(OF_PAGE)}, without --smoke" in done.stderr
    assert page.read_text("utf-8") == "# Page\n"


def test_without_wrk_it_says_where_to_get_it() -> None:
    done = benchmarks("throughput", "--smoke", PATH="")
    assert done.returncode == 1
    assert "apt-get install wrk" in done.stderr


if shutil.which("wrk"):  # .ci/run installs it

    def test_throughput_is_measured_of_each_application(tmp_path: Path) -> None:
        done = benchmarks("throughput", "--smoke", "--json", str(tmp_path / "figures.json"))
        assert done.returncode == 0, done.stderr
        part = json.loads((tmp_path / "figures.json").read_text("utf-8"))["parts"]["throughput"]
        (rates,) = part["rates"].values()
        assert len(rates) == 5
        assert all(rate > 0 for rate in all_numbers(rates))
        assert [goal["name"] for goal in part["goals"]] == ["G6"]


class TestCalls:
    def test_a_wrong_answer_is_no_figure(self) -> None:
        """A case that is refused would be a fast one."""
        calling = calls.Calling(calls.bare, [environ_of()], 401)
        with pytest.raises(WrongAnswer, match="200 OK"):
            calling()

    def test_so_is_a_wrong_body(self) -> None:
        def other(_: dict[str, Any], start_response: Any) -> list[bytes]:
            start_response("200 OK", [])
            return [b"sign in, please"]

        with pytest.raises(WrongAnswer, match="sign in"):
            calls.answers(other, None, 200)

    def test_each_call_has_an_environ_of_its_own_and_the_whole_body(self) -> None:
        seen = []

        def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
            seen.append((environ, environ["wsgi.input"].read()))
            environ.clear()
            start_response("200 OK", [])
            return []

        calling = calls.Calling(app, [environ_of(method="POST", body=b"a=b")], 200)
        calling()
        calling()
        assert [body for _, body in seen] == [b"a=b", b"a=b"]
        assert seen[0][0] is not seen[1][0]


class TestMeasure:
    def test_cases_take_turns(self) -> None:
        order: list[str] = []
        two = [Case(name, partial(order.append, name)) for name in "ab"]
        timings = take_turns(two, rounds=3, calls=20)
        changes = [name for at, name in enumerate(order) if at == 0 or order[at - 1] != name]
        assert changes == ["a", "b"] * 4  # warming up, and three rounds
        assert all(len(timing.rounds) == 3 for timing in timings.values())

    def test_what_comes_after_a_round_is_not_in_its_time(self) -> None:
        done = []

        def tidy() -> None:
            done.append(1)
            time.sleep(0.02)

        timings = take_turns([Case("quick", lambda: None, after=tidy)], rounds=2, calls=1)
        assert len(done) >= 2
        assert timings["quick"].median < 10_000

    def test_median_and_spread_are_of_the_rounds(self) -> None:
        timing = Timing("one", [10.0, 20.0, 30.0, 40.0, 50.0])
        assert timing.median == 30
        assert timing.spread == pytest.approx(100 * 20 / 30)

    def test_a_ratio_is_of_what_was_timed_together(self) -> None:
        """A machine that is slow for a while is slow for both."""
        timings = {"one": Timing("one", [20.0, 80.0, 40.0]), "two": Timing("two", [10.0, 40.0, 20.0])}
        assert ratio(timings, "one", "two").rounds == [2, 2, 2]

    def test_a_process_counts_once(self) -> None:
        found = [{"one": Timing("one", [1.0, 2.0, 90.0])}, {"one": Timing("one", [3.0, 4.0, 5.0])}]
        assert over_processes(found)["one"].rounds == [2, 4]

    def test_pinning_is_undone(self) -> None:
        before = os.sched_getaffinity(0)
        pinning = Pinning("same")
        pinning.pin_client()
        try:
            assert len(os.sched_getaffinity(0)) == 1
        finally:
            pinning.undo()
        assert os.sched_getaffinity(0) == before


class TestCounts:
    def test_functions_are_counted_and_those_of_the_benchmarks_are_not(self) -> None:
        def inner() -> int:
            return len("x")

        functions, c_calls = functions_of(lambda: [inner(), inner()])
        assert functions[f"{__name__}.{inner.__qualname__}"] == 2
        assert c_calls >= 2
        functions, c_calls = functions_of(calls.Calling(calls.bare, [environ_of()], 200))
        assert (functions, c_calls) == ({}, 0)

    def test_round_trips_are_those_that_the_server_saw(self, server: Server) -> None:
        """Commands sent at once are one, and so is a script, whatever it does inside."""
        with server.client() as client:
            pipeline = client.pipeline(transaction=False)
            script = "redis.call('SET', KEYS[1], 1) return redis.call('GET', KEYS[1])"

            def twice() -> None:
                client.eval(script, 1, "benchmarks:counted")
                pipeline.get("a").get("b").execute()

            counted = count(server, twice)
        assert counted.round_trips == 2
        assert counted.commands == {"eval": 1, "set": 1, "get": 3}


def test_a_goal_is_met_at_its_bound() -> None:
    assert Goal("G", "at most", 0.8, 0.8).met
    assert not Goal("G", "at most", 0.81, 0.8).met
    assert Goal("G", "at least", 10, 10, at_least=True).met
    assert not Goal("G", "at least", 9.9, 10, at_least=True).met


class TestReport:
    def test_figures_have_three_digits(self) -> None:
        shown = [significant(number) for number in (0.00123456, 0.8, 12.345, 1234.5, 0.0)]
        assert shown == ["0.00123", "0.800", "12.3", "1234", "0.0"]

    def test_a_table_is_markdown(self) -> None:
        table = Table("Title", ("case", "µs"), [("one", 1.0), ("three", None)])
        assert str(table).splitlines() == [
            "### Title",
            "",
            "| case  |   µs |",
            "| ----- | ---: |",
            "| one   | 1.00 |",
            "| three |    - |",
        ]

    OLD = "| case | µs |\n|---|---:|\n| gone | 1 |\n"
    TIMES = Table("Times", ("case", "µs"), [("one", 1.0)])
    PART = Part("part", "by a clock", [TIMES], {}, [Goal("G", "what", 0.5, 0.8)], [replace(TIMES, title="x")])

    def test_a_page_gets_the_tables_whose_titles_are_its_headings(self, tmp_path: Path) -> None:
        """What stands around them stays."""
        page = tmp_path / "page.md"
        old, facts = self.OLD, Table("Machine", ("what", "which"), [("CPU", "one")])
        text = "# Page\n\n## Times\n\nBefore.\n\n{}\nAfter.\n\n### Goals\n\n{}\n## Machine\n{}\n## End\n"
        page.write_text(text.format(old, old, old), "utf-8")
        write_page(page, {"CPU": "one"}, [self.PART])
        new = [f"{table.lines}\n" for table in (self.TIMES, goals_table([self.PART]), facts)]
        assert page.read_text("utf-8") == text.format(*new)

    def test_a_table_without_a_place_and_a_place_without_a_table_are_mistakes(self, tmp_path: Path) -> None:
        """What is old would stay beside what is new, or what is new would be lost."""
        whole = f"## Times\n{self.OLD}\n## Goals\n{self.OLD}\n## Machine\n{self.OLD}\n"
        page = tmp_path / "page.md"
        for text, title in (
            (whole.replace("Times", "Tims"), "Times"),
            (whole.replace("Times", "Tims"), "Tims"),
            (whole.replace(f"Times\n{self.OLD}", "Times\n"), "Times"),
            (f"{whole}## By hand\n{self.OLD}", "By hand"),
        ):
            page.write_text(text, "utf-8")
            with pytest.raises(ValueError, match=rf"alone: .*\b{title}\b.*\. Give it a heading"):
                write_page(page, {"CPU": "one"}, [self.PART])
            assert page.read_text("utf-8") == text


class TestSlots:
    def test_an_owner_is_where_its_tag_says(self) -> None:
        """The hash tag alone counts, whatever else a key holds."""
        assert key_slot(b"patauth:{0a1b2c3d}:p:x") == key_slot(b"{0a1b2c3d}") == key_slot(b"other:{0a1b2c3d}")

    def test_every_shard_has_its_share_of_slots(self) -> None:
        for shards in slots.SHARDS:
            dealt = [slots.shard_of(slot, shards) for slot in range(16_384)]
            assert sorted(set(dealt)) == list(range(shards))
            sizes = {dealt.count(shard) for shard in set(dealt)}
            assert max(sizes) - min(sizes) <= 1

    def test_the_same_each_time(self) -> None:
        assert slots.run(500).figures == slots.run(500).figures
