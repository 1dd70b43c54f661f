"""New keys while requests come: taken up without a restart, and nothing is refused that was good."""

from __future__ import annotations

import logging
import os
import re
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from patauth import (
    Authority,
    ConfigurationError,
    InvalidRequest,
    InvalidToken,
    JWTVerifier,
    Overloaded,
    StoreUnavailable,
)
from patauth.jwt import key_files
from patauth.jwt.claims import ALGORITHMS, Algorithm
from patauth.jwt.key_files import KEPT, SigningKeys
from patauth.jwt.signature import Key
from tests.support.authorities import Make, issue
from tests.support.internals import signed_of
from tests.support.private import write_private
from tests.support.servers import Server, until
from tests.support.signing import ISSUER, JWT_MODE, access_of, parts_of
from tests.support.threads import all_at_once
from tests.support.wsgi import request

DAY = 86_400


def let_a_second_pass(authority: Authority) -> None:
    """Move the timer by which an Authority looks at its keys."""
    keys = signed_of(authority)._keys
    before = keys._timer
    keys._timer = lambda: before() + 1.0


class Time:
    """A process's clock and timer, moved by hand; 2 ms pass at each look."""

    def __init__(self) -> None:
        self.seconds = time.time()

    def __call__(self) -> float:
        self.seconds += 0.002
        return self.seconds


@pytest.fixture
def moment() -> Time:
    return Time()


@pytest.fixture
def place(tmp_path: Path, moment: Time) -> SigningKeys:
    return SigningKeys(tmp_path / "keys", clock=moment)


def kids(place: SigningKeys) -> list[str]:
    return [one.key.kid for one in place.keys(at_once=True)]


class TestRotate:
    def test_the_new_one_signs_and_the_old_one_verifies(self, place: SigningKeys) -> None:
        first, removed = place.rotate()
        assert (removed, place.signer().kid) == ([], first.key.kid)
        second, removed = place.rotate()
        assert (removed, place.signer().kid) == ([], second.key.kid)
        assert kids(place) == [first.key.kid, second.key.kid]
        assert place.keys().states(place.now_ms()) == ["verifying", "signing"]

    def test_a_delay_publishes_it_before_it_signs(self, place: SigningKeys, moment: Time) -> None:
        first, _ = place.rotate()
        second, _ = place.rotate(delay=900)
        assert kids(place) == [first.key.kid, second.key.kid]
        assert place.keys().states(place.now_ms()) == ["signing", "next"]
        moment.seconds += 899.9
        assert place.signer().kid == first.key.kid
        moment.seconds += 0.2
        assert place.signer().kid == second.key.kid
        assert place.keys().states(place.now_ms()) == ["verifying", "signing"]

    def test_the_first_one_signs_whatever_its_delay(self, place: SigningKeys) -> None:
        first, _ = place.rotate(delay=900)
        assert place.signer().kid == first.key.kid

    def test_one_that_is_to_sign_later_takes_over_from_one_that_was_made_after_it(
        self, place: SigningKeys, moment: Time
    ) -> None:
        place.rotate()
        later, _ = place.rotate(delay=900)
        moment.seconds += 10
        now, _ = place.rotate()
        assert place.signer().kid == now.key.kid
        moment.seconds += 900
        assert place.signer().kid == later.key.kid

    def test_keys_go_when_the_last_token_of_theirs_has_expired(
        self, place: SigningKeys, moment: Time
    ) -> None:
        first, _ = place.rotate()
        moment.seconds += 90 * DAY
        second, removed = place.rotate()
        assert removed == [], "it has signed until this moment"
        moment.seconds += KEPT - 1
        third, removed = place.rotate()
        assert removed == []
        moment.seconds += 2
        fourth, removed = place.rotate()
        assert [one.key.kid for one in removed] == [first.key.kid]
        assert kids(place) == [one.key.kid for one in (second, third, fourth)]
        assert KEPT > 43_200 + 30

    def test_retire_leaves_the_new_one_alone(self, place: SigningKeys) -> None:
        for _ in range(3):
            place.rotate()
        made, removed = place.rotate(retire=True)
        assert len(removed) == 3
        assert (kids(place), place.signer().kid) == ([made.key.kid], made.key.kid)
        assert place.directory is not None
        assert os.listdir(place.directory) == [made.path.name]

    def test_the_algorithm_is_that_of_the_last_one_unless_another_is_named(self, place: SigningKeys) -> None:
        named: list[Algorithm | None] = [None, "EdDSA", None, "RS256", None, "ES256", None]
        algs = [place.rotate(algorithm=alg)[0].key.alg for alg in named]
        assert algs == ["ES256", "EdDSA", "EdDSA", "RS256", "RS256", "ES256", "ES256"]

    def test_files_of_ones_own_are_never_removed_but_by_retire(
        self, place: SigningKeys, moment: Time
    ) -> None:
        assert place.directory is not None
        place.directory.mkdir()
        write_private(place.directory / "mine.pem", Key.generate("ES256").pem())
        for _ in range(3):
            place.rotate()
            moment.seconds += 10 * DAY
        assert (place.directory / "mine.pem").exists()
        place.rotate(retire=True)
        assert not (place.directory / "mine.pem").exists()

    def test_single_files_are_not_added_to(self, tmp_path: Path) -> None:
        write_private(tmp_path / "a.pem", Key.generate("ES256").pem())
        with pytest.raises(InvalidRequest, match="single files"):
            SigningKeys(None, [tmp_path / "a.pem"]).rotate()

    def test_a_name_says_from_when_on_and_is_the_same_whatever_the_time_zone(
        self, place: SigningKeys, moment: Time, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        moment.seconds = datetime(2030, 6, 1, 12, 0, 0, 250_000, tzinfo=UTC).timestamp()
        made, _ = place.rotate(delay=60)
        assert re.fullmatch(rf"20300601T1201002\d\dZ-{made.key.kid[:8]}\.pem", made.path.name)
        monkeypatch.setenv("TZ", "America/St_Johns")
        time.tzset()
        try:
            (found,) = SigningKeys(place.directory).keys()
        finally:
            monkeypatch.undo()
            time.tzset()
        assert found.signs_from_ms == made.signs_from_ms

    def test_many_at_once_lose_none(self, tmp_path: Path) -> None:
        made, barrier = [], threading.Barrier(8)

        def work() -> None:
            place = SigningKeys(tmp_path / "keys")
            barrier.wait()
            for _ in range(5):
                made.append(place.rotate()[0].key.kid)

        run([work] * 8)
        assert sorted(made) == sorted(kids(SigningKeys(tmp_path / "keys")))
        assert len(made) == 40
        assert all(name.endswith(".pem") for name in os.listdir(tmp_path / "keys")), "no drafts are left"

    def test_what_a_killed_writer_left_behind_goes(self, place: SigningKeys) -> None:
        made, _ = place.rotate()
        assert place.directory is not None
        write_private(place.directory / f".{made.path.name}.0123456789abcdef", made.path.read_bytes())
        (place.directory / ".keep").touch()
        place.rotate()
        assert {name for name in os.listdir(place.directory) if name.startswith(".")} == {".keep"}

    def test_a_disk_that_is_full_leaves_what_was_there(
        self, place: SigningKeys, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first, _ = place.rotate()

        def full(_: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(ConfigurationError, match="No space left"):
            place.rotate(retire=True)
        assert place.directory is not None
        assert os.listdir(place.directory) == [first.path.name]


class TestReload:
    def test_it_is_seen_within_a_second_and_at_once_when_asked_for(self, place: SigningKeys) -> None:
        ticking = Time()
        other = SigningKeys(place.directory, timer=ticking)
        first, _ = place.rotate()
        assert len(other.keys()) == 1
        other.keys()
        second, _ = place.rotate()
        assert len(other.keys()) == 1
        assert kids(other) == [first.key.kid, second.key.kid]
        place.rotate()
        ticking.seconds += 1
        assert len(other.keys()) == 3

    def test_a_change_in_the_same_tick_of_the_file_system_is_not_missed(self, place: SigningKeys) -> None:
        other = SigningKeys(place.directory)
        assert place.directory is not None
        made = []
        for _ in range(20):
            made.append(place.rotate()[0].key.kid)
            os.utime(place.directory, (1_893_456_000, time.time()))
            stamp = os.stat(place.directory).st_mtime_ns
            kids(other)
            made.append(place.rotate()[0].key.kid)
            os.utime(place.directory, ns=(stamp, stamp))
            assert kids(other) == made

    def test_an_unchanged_directory_is_not_read_again(
        self, place: SigningKeys, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """So tokens by unknown keys, of which anybody can send many, cost one look at its time each."""
        place.rotate()
        assert place.directory is not None
        os.utime(place.directory, (1_000_000, 1_000_000))
        other = SigningKeys(place.directory)
        known = other.keys()
        monkeypatch.setattr(key_files, "_read_key", lambda path: pytest.fail("read"))
        for _ in range(10):
            assert other.keys(at_once=True) is known

    def test_what_cannot_be_read_any_more_changes_nothing_and_is_logged(
        self, place: SigningKeys, caplog: pytest.LogCaptureFixture
    ) -> None:
        first, _ = place.rotate()
        assert place.directory is not None
        write_private(place.directory / "zzz.pem", "hunter2")
        assert kids(place) == [first.key.kid]
        assert "zzz.pem" in caplog.text
        assert "hunter2" not in caplog.text
        (place.directory / "zzz.pem").unlink()
        second, _ = place.rotate()
        assert kids(place) == [first.key.kid, second.key.kid]

    def test_a_single_file_that_was_replaced_is_read_again(self, tmp_path: Path) -> None:
        path = tmp_path / "a.pem"
        old, new = Key.generate("ES256"), Key.generate("EdDSA")
        write_private(path, old.pem())
        place = SigningKeys(None, [path])
        assert kids(place) == [old.kid]
        draft = tmp_path / "draft"
        write_private(draft, new.pem())
        draft.rename(path)
        assert kids(place) == [new.kid]

    def test_links_that_are_exchanged_at_once_are_followed(self, tmp_path: Path) -> None:
        """As orchestrators mount secrets: names that lead through one link, which is replaced."""
        keys = [Key.generate("ES256") for _ in range(2)]
        place = tmp_path / "mounted"
        place.mkdir()
        for number, key in enumerate(keys):
            (place / f"..v{number}").mkdir()
            write_private(place / f"..v{number}" / "a.pem", key.pem())
        (place / "..data").symlink_to("..v0")
        (place / "a.pem").symlink_to("..data/a.pem")
        found = SigningKeys(place)
        assert kids(found) == [keys[0].kid]
        (place / "..tmp").symlink_to("..v1")
        (place / "..tmp").rename(place / "..data")
        assert kids(found) == [keys[1].kid]


class TestAuthorities:
    @pytest.fixture
    def pair(self, make_at: Make, keys: Path) -> list[Authority]:
        """Two processes' worth, with keys in one directory."""
        given = {**JWT_MODE, "keys": str(keys), "request_quota": "1000000/1", "exchange_quota": "1000000/1"}
        return [make_at(**given, max_tokens_per_secret=100_000, surfaces=["oauth"]) for _ in "ab"]

    def test_a_token_by_a_new_key_passes_where_it_was_never_seen(
        self, pair: list[Authority], keys: Path
    ) -> None:
        here, there = pair
        issued = issue(here)
        old = access_of(here, issued)
        assert there.verify_bearer(old)
        SigningKeys(keys).rotate()
        new = access_of(here, issued)
        assert parts_of(new)[0]["kid"] != parts_of(old)[0]["kid"]
        assert there.verify_bearer(new)
        assert there.verify_bearer(old)
        assert here.verify_bearer(old)

    def test_after_retire_the_old_keys_tokens_are_refused_within_a_second(
        self, pair: list[Authority], keys: Path
    ) -> None:
        here, there = pair
        issued = issue(here)
        old = access_of(here, issued)
        there.verify_bearer(old)
        SigningKeys(keys).rotate(retire=True)
        for authority in pair:
            let_a_second_pass(authority)
            with pytest.raises(InvalidToken):
                authority.verify_bearer(old)
            assert authority.verify_bearer(access_of(authority, issued))

    def test_no_request_is_refused_while_keys_rotate_under_load(
        self, pair: list[Authority], keys: Path, server: Server
    ) -> None:
        """F24. Threads of two Authorities exchange, verify each other's tokens, and send foreign tokens."""
        from patauth.wsgi.service.app import Standalone

        issued = issue(pair[0])
        app = Standalone(pair[0])
        check = JWTVerifier(lambda: request(app, "/oauth/jwks").json, issuer=ISSUER, interval=0)
        tokens = [access_of(pair[0], issued)]
        over = threading.Event()
        failed: list[tuple[str, Exception]] = []
        unanswered: list[str] = []
        counts = {"exchange": 0, "verify": 0, "elsewhere": 0, "junk": 0}
        junk = f"{encoded_header('unknown')}.{tokens[0].split('.')[1]}.{'A' * 86}"

        def repeat(what: str, act: Callable[[int], Any]) -> Callable[[], None]:
            def work() -> None:
                number = 0
                while not over.is_set():
                    number += 1
                    try:
                        act(number)
                        counts[what] += 1
                    except StoreUnavailable as problem:
                        unanswered.append(problem.detail or "")
                    except Exception as problem:
                        failed.append((what, problem))
                        return

            return work

        def exchange(number: int) -> None:
            tokens.append(access_of(pair[number % 2], issued))
            time.sleep(0.002)

        def recent(number: int) -> str:
            return tokens[-1 - number % min(len(tokens), 50)]

        def be_refused(number: int) -> None:
            with pytest.raises(InvalidToken):
                pair[number % 2].verify_bearer(junk)
            time.sleep(0.001)

        def rotate() -> None:
            place = SigningKeys(keys)
            for number in range(8):
                time.sleep(0.15)
                place.rotate(algorithm=ALGORITHMS[number % 3])
            time.sleep(0.15)
            over.set()

        def verify(number: int) -> None:
            pair[number % 2].verify_bearer(recent(number))

        def verify_elsewhere(number: int) -> Any:
            for _ in range(1000):
                try:
                    return check.verify(recent(number))
                except (InvalidToken, Overloaded):  # while the other thread fetches the new key
                    pass
                finally:
                    time.sleep(0.001)  # it waits for nothing else, and would keep the others from their turn
            raise AssertionError("a token was refused for a second")

        work = [repeat("exchange", exchange)] * 3 + [repeat("junk", be_refused)] * 2
        work += [repeat("verify", verify)] * 4 + [repeat("elsewhere", verify_elsewhere)] * 2
        work.append(rotate)
        run(work)
        assert failed == []
        # A server and a disk that others keep busy may be too slow at times; no key may be the reason.
        assert [detail for detail in unanswered if "key" in detail] == []
        assert len(unanswered) <= sum(counts.values()) // 20, unanswered
        assert min(counts.values()) >= 20, counts
        assert len({parts_of(token)[0]["kid"] for token in tokens}) == 9, "each key has signed"
        for token in (tokens[0], tokens[-1]):
            for authority in pair:
                assert authority.verify_bearer(token)

    def test_a_reader_never_meets_half_a_file(self, keys: Path, caplog: pytest.LogCaptureFixture) -> None:
        over, seen = threading.Event(), []

        def look() -> None:
            while not over.is_set():
                seen.append(len(SigningKeys(keys).keys()))

        def rotate() -> None:
            place = SigningKeys(keys)
            for number in range(60):
                place.rotate(retire=number % 3 == 0)
            over.set()

        with caplog.at_level(logging.WARNING):
            run([look, look, rotate])
        assert min(seen) >= 1
        assert caplog.messages == []


def encoded_header(kid: str) -> str:
    from patauth.jwt.claims import encoded

    return encoded(f'{{"typ":"at+jwt","alg":"ES256","kid":"{kid}"}}'.encode())


def run(works: list[Callable[[], None]]) -> None:
    assert [one for one in all_at_once(works) if one is not None] == []


class TestLost:
    """Keys that go while tokens are out: taken away is taken away, and out of reach is no verdict."""

    def test_a_key_that_is_taken_away_is_used_no_more_whatever_else_cannot_be_read(
        self, place: SigningKeys, moment: Time
    ) -> None:
        old, _ = place.rotate()
        new, _ = place.rotate()
        assert place.directory is not None
        write_private(place.directory / "junk.pem", "no key")
        old.path.unlink()
        moment.seconds += 2
        assert kids(place) == [new.key.kid]
        assert place.signer().kid == new.key.kid
        new.path.unlink()
        moment.seconds += 2
        assert kids(place) == []
        with pytest.raises(ConfigurationError):
            place.signer()

    def test_a_directory_that_has_gone_is_an_outage_and_nothing_counts_as_revoked(
        self, make_at: Make, tmp_path: Path
    ) -> None:
        directory = tmp_path / "keys"
        SigningKeys(directory).rotate()
        authority = make_at(**JWT_MODE, keys=str(directory))
        token = access_of(authority, issue(authority))
        away = directory.rename(directory.with_name("away"))
        let_a_second_pass(authority)  # at most so long, the keys are as they were
        for verb in (authority.verify_bearer, authority.introspect, authority.revoke):
            with pytest.raises(StoreUnavailable):
                verb(token)
        away.rename(directory)
        let_a_second_pass(authority)
        assert authority.verify_bearer(token).method == "access_token"
        assert authority.revoke(token)

    def test_a_key_that_is_overwritten_in_its_place_is_noticed(
        self, place: SigningKeys, moment: Time
    ) -> None:
        first, _ = place.rotate()
        other = Key.generate("ES256")
        moment.seconds += 60
        assert kids(place) == [first.key.kid]
        write_private(first.path, other.pem())
        moment.seconds += 60
        assert kids(place) == [other.kid]

    def test_a_pipe_is_not_waited_for(self, place: SigningKeys, moment: Time) -> None:
        place.rotate()
        assert place.directory is not None
        os.mkfifo(place.directory / "x.pem")
        with pytest.raises(ConfigurationError, match="not a file"):
            SigningKeys(place.directory, clock=moment).keys()


def test_one_failed_fetch_does_not_double_the_life_of_a_key_that_was_retired(
    make_at: Make, tmp_path: Path
) -> None:
    SigningKeys(tmp_path / "keys").rotate()
    authority = make_at(**JWT_MODE, keys=str(tmp_path / "keys"))
    token = access_of(authority, issue(authority))
    moment, down = [0.0], [False]

    def fetch() -> dict[str, Any]:
        if down[0]:
            raise OSError("the network")
        return authority.jwks()

    verifier = JWTVerifier(fetch, issuer=ISSUER, max_age=300, interval=10, timer=lambda: moment[0])
    verifier.verify(token)
    signed_of(authority)._keys.rotate(retire=True)
    moment[0], down[0] = 300.0, True
    verifier.verify(token)
    moment[0], down[0] = 311.0, False
    verifier.verify(token)  # it starts the next fetch, and waits for none of them
    until(lambda: not accepts(verifier, token))


def accepts(verifier: JWTVerifier, token: str) -> bool:
    try:
        return bool(verifier.verify(token))
    except InvalidToken:
        return False
