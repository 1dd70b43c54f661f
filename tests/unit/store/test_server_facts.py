"""Facts of servers that answer what no known server does: each is a value or None, and nothing fails."""

from __future__ import annotations

import json
import socketserver
from pathlib import Path

from click.testing import CliRunner

from patauth import Settings
from patauth.cli import program
from patauth.store.server_facts import ServerFacts, read_nodes
from tests.support.servers import serving
from tests.support.tables import each

USUAL = {
    "INFO": b"$34\r\nredis_version:7.2.0\r\nrole:master\r\n\r\n",
    "CONFIG": b"*0\r\n",
    "DBSIZE": b":1\r\n",
    "EXISTS": b":1\r\n",
    "COMMAND": b"*1\r\n*-1\r\n",
    "TIME": b"*2\r\n$1\r\n1\r\n$1\r\n1\r\n",
}


def answering(replies: dict[str, bytes]) -> type[socketserver.BaseRequestHandler]:
    """Answer each command with the reply to its first word."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while head := self.rfile.readline():
                words = []
                for _ in range(int(head[1:])):
                    self.rfile.readline()
                    words.append(self.rfile.readline().strip().decode())
                self.wfile.write(replies.get(words[0], b"+OK\r\n"))

    return Handler


def facts_of(path: Path, **odd: bytes) -> ServerFacts:
    with serving(path / "s", answering(USUAL | odd)) as url:
        (facts,) = read_nodes(Settings.of(store_url=url))
    return facts


def test_the_usual_replies_are_understood(tmp_path: Path) -> None:
    facts = facts_of(tmp_path)
    assert (facts.version, facts.role, facts.keys) == ("7.2.0", "master", 1)
    assert (facts.store_key, facts.waitaof, facts.config) == (True, False, {})
    assert facts.ahead is not None


@each(
    "command, reply, fact",
    [
        (command, reply, fact)
        for command, fact, replies in (
            ("TIME", "ahead", [b"*0\r\n", b":5\r\n", b"*2\r\n$-1\r\n$1\r\nx\r\n", b"*1\r\n$1\r\n1\r\n"]),
            ("DBSIZE", "keys", [b"+many\r\n", b"*0\r\n", b"$-1\r\n"]),
            ("EXISTS", "store_key", [b"+yes\r\n", b"*0\r\n"]),
            ("COMMAND", "waitaof", [b"*-1\r\n", b":1\r\n", b"*0\r\n"]),
            ("INFO", "version", [b":1\r\n", b"*-1\r\n", b"+\r\n"]),
            ("CONFIG", "eviction", [b"*2\r\n$1\r\na\r\n$-1\r\n", b"*2\r\n$1\r\na\r\n:5\r\n", b":1\r\n"]),
        )
        for reply in replies
    ],
)
def test_what_a_server_answers_in_another_form_is_not_known(
    command: str, reply: bytes, fact: str, tmp_path: Path
) -> None:
    assert getattr(facts_of(tmp_path, **{command: reply}), fact) is None


def test_doctor_and_stats_print_what_they_know_of_a_server_that_answers_nothing_else(tmp_path: Path) -> None:
    """It has no store key to be read, so the store check fails; what the server says is told nevertheless."""
    with serving(tmp_path / "s", answering(USUAL | {"TIME": b":5\r\n", "DBSIZE": b"+many\r\n"})) as url:
        stats = CliRunner().invoke(program, ["store", "stats", "--output", "json", "--store", url])
        doctor = CliRunner().invoke(program, ["doctor", "--output", "json", "--store", url])
    assert (stats.exit_code, doctor.exit_code) == (5, 5)
    found = json.loads(stats.stdout)
    assert (found["reachable"], found["version"], found["keys"]) == (False, "7.2.0", None)
    levels = {one["check"]: one["level"] for one in json.loads(doctor.stdout)["findings"]}
    assert (levels["store"], levels["version"], levels["clock"]) == ("problem", "ok", "warning")
