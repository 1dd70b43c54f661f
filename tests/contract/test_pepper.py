"""The pepper (C5, F22, F24): outside of the store, added and replaced while requests go on."""

from __future__ import annotations

import hmac
import logging
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from hashlib import sha256
from itertools import pairwise
from typing import Any

import pytest
from argon2.low_level import Type, hash_secret_raw

from patauth import (
    Authority,
    ConfigurationError,
    InvalidCredentials,
    IssuedPat,
    Overloaded,
    Owner,
    PatAuthMiddleware,
    Settings,
    StoreUnavailable,
)
from patauth.cli.config import _values
from patauth.crypto.hashing import Digest
from patauth.crypto.keyring import Keyring
from patauth.crypto.pepper import NO_PEPPER, Pepper
from patauth.model.pat_id import PatId
from patauth.store.record import unpack
from tests.support.authorities import Make, basic_of, issue, wrong_secret
from tests.support.clocks import Clock
from tests.support.internals import hasher_of
from tests.support.paths import DOCS
from tests.support.servers import shared_engines, until
from tests.support.tenants import record_of
from tests.support.wsgi import Echo, request

SECRET_KEY = bytes(range(32))
A, B = Pepper("2026", b"a" * 32), Pepper("2027", b"b" * 32)
NONE = ()


def spelt(*peppers: Pepper | None) -> str:
    return " ".join("none" if one is None else f"{one.id}:{one.key.hex()}" for one in peppers)


def marks(authority: Authority, pat_id: str) -> list[bytes]:
    return [slot.digest.pepper for slot in record_of(authority, pat_id).secrets]


def raw_secret(authority: Authority, issued: IssuedPat) -> bytes:
    return authority.operations.format.basic(issued.pat.id, issued.secret).secret


def argon2id(message: bytes, digest: Digest) -> bytes:
    costs = {
        "time_cost": digest.time_cost,
        "memory_cost": digest.memory_kib,
        "parallelism": digest.parallelism,
    }
    return hash_secret_raw(message, digest.salt, hash_len=32, type=Type.ID, **costs)


@pytest.fixture
def with_peppers(make: Make, clock: Clock) -> Any:
    """Makes Authorities on one store with `secret_key` and these peppers, oldest first."""

    def make_one(*peppers: Pepper | None, **given: Any) -> Authority:
        return make(clock=clock, secret_key=SECRET_KEY, pepper=peppers, **given)

    return make_one


@shared_engines
def test_another_key_under_the_same_id_is_an_outage_and_names_the_pepper(with_peppers: Any) -> None:
    """The tag was right, so the secret is: to say 401 would send its owner looking for another."""
    issued = issue(with_peppers(A))
    mistaken = with_peppers(Pepper(A.id, b"z" * 32))
    for _ in range(30):
        with pytest.raises(StoreUnavailable) as caught:
            mistaken.authenticate(basic_of(issued), address="203.0.113.9")
        assert str(caught.value.detail).startswith("pepper: ")


# -- a dump of the store ------------------------------------------------------------------------------------


class TestDump:
    """C5, F22: who holds a copy of the store, and even a right secret, cannot tell from it that it is one."""

    def test_the_digest_is_one_of_the_keyed_secret_and_not_of_the_secret(self, with_peppers: Any) -> None:
        authority = with_peppers(A)
        issued = issue(authority)
        (slot,) = record_of(authority, issued.pat.id).secrets
        secret = raw_secret(authority, issued)
        assert slot.digest.pepper == sha256(A.id.encode()).digest()[:4]
        assert argon2id(secret, slot.digest) != slot.digest.digest
        assert argon2id(hmac.digest(A.key, secret, "sha256"), slot.digest) == slot.digest.digest

    def confirmed(self, dump: list[bytes], pat_id: str, secret: bytes) -> set[str]:
        """By what a guess of a PAT's secret can be confirmed, with nothing but a dump and the code."""
        (packed,) = (value for value in dump if bytes.fromhex(pat_id) == value[30:46])
        (slot,) = unpack(packed).secrets
        found = {value[at : at + 32] for value in dump for at in range(max(1, len(value) - 31))}
        by = set()
        if any(argon2id(message, slot.digest) == slot.digest.digest for message in messages(secret, found)):
            by.add("digest")
        if any(Keyring(key).secret_tag(PatId(pat_id), secret) == slot.tag for key in found):
            by.add("tag")
        return by

    def test_a_dump_confirms_a_right_guess_by_nothing(self, make_at: Make, server: Any, prefix: str) -> None:
        def dumped(**given: Any) -> set[str]:
            authority = make_at(key_prefix=f"{prefix}-{len(given)}", **given)
            issued = issue(authority)
            authority.exchange(issued.pat.id, issued.secret)
            dump = contents(server.client(), authority.settings.key_prefix)
            assert len(dump) > 10
            for key in (SECRET_KEY, A.key):
                for spelling in (key, key.hex().encode()):
                    assert not [value for value in dump if spelling in value]
            return self.confirmed(dump, issued.pat.id, raw_secret(authority, issued))

        assert dumped() == {"digest", "tag"}, "without both, a guess can be checked: this test can tell"
        assert dumped(secret_key=SECRET_KEY) == {"digest"}
        assert dumped(secret_key=SECRET_KEY, pepper=[A]) == set()

    def test_the_pepper_alone_is_refused_since_the_dump_would_have_the_tags_key(self) -> None:
        with pytest.raises(ConfigurationError, match="pepper: it needs secret_key"):
            Settings.of(store_url="memory:", pepper=[A])


def messages(secret: bytes, keys: set[bytes]) -> Iterator[bytes]:
    yield secret
    for key in keys:
        yield hmac.digest(key, secret, "sha256")


def contents(client: Any, prefix: str) -> list[bytes]:
    """All keys under a prefix, and all that they hold."""
    dump: list[bytes] = []
    for key in client.scan_iter(f"{prefix}:*"):
        kind = client.type(key)
        dump.append(key)
        if kind == b"string":
            dump.append(client.get(key))
        elif kind == b"hash":
            dump += [part for pair in client.hgetall(key).items() for part in pair]
        elif kind == b"zset":
            dump += client.zrange(key, 0, -1)
    return dump


def test_the_command_line_shows_the_ids_and_no_key() -> None:
    settings = Settings.of(store_url="memory:", secret_key=SECRET_KEY, pepper=spelt(A, B, None))
    assert _values(settings)["pepper"] == ["2026:***", "2027:***", "none"]


# -- adding and replacing -----------------------------------------------------------------------------------


@shared_engines
class TestRehash:
    """The first success of a secret that was hashed with another pepper, or without, hashes it again."""

    @pytest.mark.parametrize("by", ["basic", "pat", "exchange"])
    @pytest.mark.parametrize(
        ("before", "after"),
        [
            pytest.param([], [A], id="added"),
            pytest.param([A], [A, B], id="replaced"),
            pytest.param([A], [B, A, None], id="taken away"),
        ],
    )
    def test_one_use_is_enough_and_the_next_hashes_nothing(
        self, with_peppers: Any, before: Any, after: Any, by: str, engine: str
    ) -> None:
        old, new = with_peppers(*before), with_peppers(*after)
        issued = issue(old)
        found = record_of(old, issued.pat.id)

        def use() -> None:
            if by == "exchange":
                new.exchange(issued.pat.id, issued.secret)
            else:
                new.authenticate(basic_of(issued) if by == "basic" else f"Bearer {issued.token}")

        use()
        newest = after[-1].mark if after[-1] else NO_PEPPER
        assert marks(new, issued.pat.id) == [newest]
        hashes = hasher_of(new).computed
        assert hashes == 2, "to verify, and to hash again"
        use()
        assert hasher_of(new).computed == hashes, "the proof of the new digest was there at once"
        now = record_of(new, issued.pat.id)
        assert now.secrets[0].tag == found.secrets[0].tag
        assert (now.pat.sequence, now.pat.changed_ms) == (found.pat.sequence, found.pat.changed_ms)
        with pytest.raises(InvalidCredentials):
            new.verify_basic(issued.pat.id, wrong_secret(new))

    def test_what_is_made_or_rotated_has_the_newest_and_the_previous_secret_gets_it_by_its_use(
        self, with_peppers: Any, engine: str
    ) -> None:
        first = issue(with_peppers())
        authority = with_peppers(A, B)
        second = authority.rotate(first.pat.id)
        assert marks(authority, first.pat.id) == [B.mark, NO_PEPPER]
        assert marks(authority, issue(authority, "other").pat.id) == [B.mark]
        authority.authenticate(basic_of(first))
        assert marks(authority, first.pat.id) == [B.mark, B.mark]
        for one in (first, second):
            with_peppers(B).authenticate(basic_of(one))

    def test_a_use_that_is_refused_hashes_nothing_again(self, with_peppers: Any, engine: str) -> None:
        issued = issue(with_peppers())
        authority = with_peppers(A)
        authority.disable_owner("alice")
        with pytest.raises(InvalidCredentials):
            authority.authenticate(basic_of(issued))
        assert marks(authority, issued.pat.id) == [NO_PEPPER]


@shared_engines
class TestMissing:
    """A pepper that a process does not have is trouble of its settings: 503, and never 401."""

    @pytest.mark.parametrize("others", [NONE, (B,), (B, None)], ids=["none", "another", "none used"])
    def test_a_right_secret_is_503_and_the_log_says_which_pepper(
        self, with_peppers: Any, others: Any, caplog: pytest.LogCaptureFixture, engine: str
    ) -> None:
        issued = issue(with_peppers(A))
        authority = with_peppers(*others)
        app = PatAuthMiddleware(Echo(), authority)
        caplog.set_level(logging.DEBUG)
        for _ in range(2):
            response = request(app, authorization=basic_of(issued))
            assert (response.status_code, response.json["error"]) == (503, "temporarily_unavailable")
            assert int(response.headers["Retry-After"]) >= 1
            assert "pepper" not in response.text
        logged = [one for one in caplog.records if one.levelno == logging.WARNING]
        assert all(f"begins with {sha256(b'2026').hexdigest()[:8]}" in one.getMessage() for one in logged)
        assert all("pepper" in one.getMessage() for one in logged)
        assert len(logged) == 2
        with pytest.raises(StoreUnavailable, match="not reachable") as caught:
            authority.exchange(issued.pat.id, issued.secret)
        assert (caught.value.detail or "").startswith("pepper: ")
        assert marks(authority, issued.pat.id) == [A.mark], "nothing was hashed again"
        assert hasher_of(authority).computed == 0
        for sink in (caplog.text, repr(vars(hasher_of(authority)))):
            assert not re.search(rf"{issued.secret}|{A.key.hex()}|{B.key.hex()}|aaaaaaaa|bbbbbbbb", sink)

    def test_a_wrong_secret_is_401_as_ever_and_what_needs_no_hash_goes_on(
        self, with_peppers: Any, engine: str
    ) -> None:
        knows, lacks = with_peppers(A), with_peppers(B)
        issued = issue(knows)
        access = knows.exchange(issued.pat.id, issued.secret)
        with pytest.raises(InvalidCredentials):
            lacks.verify_basic(issued.pat.id, wrong_secret(lacks))
        assert lacks.verify_bearer(access.value).pat_id == issued.pat.id
        assert [pat.id for pat in lacks.list(owner_id="alice")] == [issued.pat.id]
        second = lacks.rotate(issued.pat.id)
        assert lacks.authenticate(basic_of(second)).pat_id == issued.pat.id
        with pytest.raises(StoreUnavailable):
            lacks.authenticate(basic_of(issued))
        lacks.delete(issued.pat.id)

    def test_it_passes_again_once_the_pepper_is_back(self, with_peppers: Any, engine: str) -> None:
        issued = issue(with_peppers(A))
        with pytest.raises(StoreUnavailable):
            with_peppers(B).authenticate(basic_of(issued))
        assert with_peppers(A, B).authenticate(basic_of(issued)).pat_id == issued.pat.id
        assert with_peppers(B).authenticate(basic_of(issued)).pat_id == issued.pat.id


# -- rolling deployments ------------------------------------------------------------------------------------


def documented() -> list[tuple[Pepper | None, ...]]:
    """The values of the procedure in docs/deployment.md, in order."""
    text = (DOCS / "deployment.md").read_text("utf-8")
    keys = {"2026:KEY": spelt(A), "2027:NEW-KEY": spelt(B)}
    values = re.findall(r'^PATAUTH_PEPPER="(.+?)"', text, re.M)
    return [
        Settings.of(
            store_url="memory:",
            secret_key=SECRET_KEY,
            pepper=" ".join(keys.get(word, word) for word in value.split()),
        ).pepper
        for value in values
    ]


PROCEDURE = [NONE, *documented()]


class Load:
    """Threads that make, use, exchange and rotate PATs, at an old and a new Authority in turn."""

    THREADS = 6

    def __init__(self, *authorities: Authority, pats: list[list[IssuedPat]] | None = None) -> None:
        self.authorities = authorities
        self.pats: list[list[IssuedPat]] = pats or [[] for _ in range(self.THREADS)]
        self.refused: list[Exception] = []
        self.asked: Counter[int] = Counter()  # by Authority
        self._end = threading.Event()

    def run(self) -> Load:
        """Go on until each Authority was asked 150 times."""
        threads = [threading.Thread(target=self._work, args=(number,)) for number in range(self.THREADS)]
        for thread in threads:
            thread.start()
        try:
            until(lambda: all(self.asked[at] >= 150 for at in range(len(self.authorities))), seconds=60)
        finally:
            self._end.set()
            for thread in threads:
                thread.join()
        return self

    def _work(self, thread: int) -> None:
        mine, turn = self.pats[thread], 0
        while not self._end.is_set():
            turn += 1
            at = (turn + turn // 7) % len(self.authorities)
            self.asked[at] += 1  # near enough, when threads meet
            try:
                self._step(self.authorities[at], mine, thread, turn)
            except Exception as problem:
                self.refused.append(problem)

    def _step(self, authority: Authority, mine: list[IssuedPat], thread: int, turn: int) -> None:
        if len(mine) < 3 or turn % 40 == 1:
            mine.append(issue(authority, f"{time.monotonic_ns()}", owner=Owner(f"owner{thread}")))
        elif turn % 11 == 0:
            one = turn // 11 % len(mine)
            mine.append(authority.rotate(mine[one].pat.id, overlap=timedelta(hours=1)))
            # Of one PAT the last two secrets pass, and no more are kept here.
            same = [issued for issued in mine if issued.pat.id == mine[one].pat.id]
            mine[:] = [issued for issued in mine if issued.pat.id != mine[one].pat.id] + same[-2:]
        else:
            issued = mine[turn % len(mine)]
            if turn % 3 == 0:
                access = authority.exchange(issued.pat.id, issued.secret)
                authority.verify_bearer(access.value)
            else:
                authority.authenticate(basic_of(issued) if turn % 3 == 1 else f"Bearer {issued.token}")

    def wrong(self) -> list[Exception]:
        """All but a machine that is too busy for the store or a hash: that is nobody's wrong refusal."""
        return [one for one in self.refused if not isinstance(one, Overloaded) or "pepper" in str(one.detail)]


@pytest.fixture
def rolling(make_at: Make) -> Any:
    def make_one(peppers: Any, **given: Any) -> Authority:
        plenty = {"request_quota": "100000/1", "exchange_quota": "100000/1", "max_pats_per_owner": 10_000}
        roomy = {"hash_slots": Load.THREADS, "command_timeout": 0.5, "proof_ttl": 0}
        return make_at(secret_key=SECRET_KEY, pepper=peppers, **{**plenty, **roomy, **given})

    return make_one


class TestRolling:
    """F24: while processes are replaced, old and new side by side, nothing is wrongly refused."""

    def test_the_documented_procedure_leads_from_none_over_one_to_the_next(self) -> None:
        assert PROCEDURE == [NONE, (A, None), (A,), (B, A), (A, B), (B,)]

    @pytest.mark.parametrize("proof_ttl", [0, 900], ids=["each request hashes", "with proofs"])
    def test_by_the_documented_procedure_nothing_is_refused(self, rolling: Any, proof_ttl: int) -> None:
        pats = None
        for old, new in pairwise(PROCEDURE):
            both = Load(rolling(old, proof_ttl=proof_ttl), rolling(new, proof_ttl=proof_ttl), pats=pats)
            assert both.run().wrong() == []
            # All are new now. Each stands for a time of 15 minutes, in which a PAT is hashed again once: one
            # for each of its two secrets.
            pats = both.pats
            for later in (rolling(new), rolling(new)):
                for issued in (one for some in pats for one in some):
                    later.authenticate(basic_of(issued))
            used = {issued.pat.id for some in pats for issued in some}
            newest = new[-1].mark if new[-1] else NO_PEPPER
            assert {mark for pat_id in used for mark in marks(later, pat_id)} == {newest}

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            pytest.param(NONE, (A,), id="added at once"),
            pytest.param((A,), (A, B), id="replaced at once"),
            pytest.param((A,), (B,), id="replaced without the old one"),
        ],
    )
    def test_without_it_some_are_503_that_name_the_pepper_and_none_is_401(
        self, rolling: Any, old: Any, new: Any
    ) -> None:
        load = Load(rolling(old), rolling(new)).run()
        wrong = load.wrong()
        assert wrong, "or the procedure would not be needed"
        assert {type(one) for one in wrong} == {StoreUnavailable}
        assert all("pepper: " in str(one.detail) for one in wrong)  # type: ignore[attr-defined]
        # And it is over as soon as one knows both.
        later = rolling(tuple(dict.fromkeys((*old, *new))))
        for issued in (one for some in load.pats for one in some):
            later.authenticate(basic_of(issued))
