"""The private keys of signed tokens: files that each process reads that issues or verifies tokens.

    a directory     the files in it that end in .pem, .jwk or .json, by name; files that were made here are
                    named by the instant from which the key signs, and come after all others
    single files    in the order of the setting

The last key whose time has come signs. All keys verify. A process reads a changed directory again within a
second, and at once for a token with an unknown key. So a new key takes effect without a restart, and no
token that it signs is refused. A new file is written completely under another name, and then renamed.

No private key is ever in the store, in a log or in an error. A file or directory that others can change, and
a key that others can read, is refused (`patauth/files.py`).
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
import secrets
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Literal, NamedTuple

from ..errors import ConfigurationError, InvalidRequest
from ..files import mode_of, readers_of_key, why_untrusted
from .claims import LONGEST_LIFE, Algorithm
from .signature import Key

_log = logging.getLogger("patauth")

State = Literal["next", "signing", "verifying"]

# s for which a key verifies after it signed last: the life of its last token, and a difference of clocks.
KEPT = LONGEST_LIFE + 90
_SUFFIXES = (".pem", ".jwk", ".json")
_MADE_HERE = re.compile(r"(\d{8}T\d{6}\d{3})Z-[A-Za-z0-9_-]{8}\.pem")
_LARGEST = 65_536  # bytes that are read of a file
_LOOK_EVERY = 1.0  # s between two checks for a changed directory
_SAME_TICK = 2.0  # s within which two changes may have the same time stamp
_TRIES = 5  # to read a directory whose files come and go

Stamp = tuple[tuple[int, int, int] | None, ...]


class StoredKey(NamedTuple):
    """A private key, its file, and the instant (ms) from which it signs; 0: from the beginning."""

    key: Key
    signs_from_ms: int
    path: Path


class KeySet(tuple[StoredKey, ...]):
    """The keys at one moment, oldest first."""

    __slots__ = ()

    def signer(self, now_ms: int) -> StoredKey:
        """Return the key that signs: the last one whose time has come, else the first.

        The set must not be empty.
        """
        return next((one for one in reversed(self) if one.signs_from_ms <= now_ms), self[0])

    def states(self, now_ms: int) -> list[State]:
        """Return the state of each key at `now_ms`, in order."""
        if not self:
            return []
        place = self.index(self.signer(now_ms))
        return [
            "signing" if at == place else "verifying" if at < place else "next" for at in range(len(self))
        ]


class SigningKeys:
    """Reads and changes the keys of one issuer. Threads and processes can share them, also after a fork.

    The keys are in `directory`, or if that is None in `files`. With `makes`, `signer` makes the first key.
    Only writers hold a lock. Nothing is read before it is needed. With `for_owner`, root looks after the keys
    of the directory's owner. The methods raise `ConfigurationError` for files that cannot be used.
    """

    def __init__(
        self,
        directory: Path | None,
        files: Sequence[Path] = (),
        *,
        makes: bool = False,
        for_owner: bool = False,
        clock: Callable[[], float] = time.time,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self.directory = directory
        self._files = tuple(files)
        self._makes = makes
        self._for_owner = for_owner
        self._clock = clock
        self._timer = timer
        # Replaced as one object, so two threads at the same time do the same work twice, and no harm.
        self._seen: tuple[Stamp, KeySet] | None = None
        self.had_any = False  # whether keys were found before: if there are none now, they are out of reach
        self._look_at = self._log_at = 0.0  # by `timer`; not before

    def now_ms(self) -> int:
        """Return the time of this process's clock, ms since 1970."""
        return int(self._clock() * 1000)

    def were_just_seen(self, keys: KeySet) -> bool:
        """Return whether these are the keys as `keys` returns them now, without a look at the files."""
        seen, timer = self._seen, self._timer
        return seen is not None and seen[1] is keys and timer() < self._look_at

    def keys(self, *, at_once: bool = False) -> KeySet:
        """Return the keys as they were at most a second ago; with `at_once`, as they are now."""
        seen = self._seen
        if seen is None:
            return self._read()
        if at_once or self._timer() >= self._look_at:
            self._look_at = self._timer() + _LOOK_EVERY
            stamp = self._stamp()
            if stamp != seen[0] or self._may_hide_another(stamp):
                try:
                    return self._read()
                except ConfigurationError as problem:
                    if self._timer() >= self._log_at:
                        self._log_at = self._timer() + _LOOK_EVERY
                        _log.error("not all signing keys can be read; those known stay: %s", problem)
                    # A key without a file was taken away, so it is not used any more, whatever else is wrong.
                    there = set(self._paths())
                    self._seen = seen = seen[0], KeySet(one for one in seen[1] if one.path in there)
        return seen[1]

    def signer(self) -> Key:
        """Return the key that signs now. Make the first key if there is none and `makes` is true."""
        known = self.keys(at_once=True)  # a retired key must not sign anything more
        if not known and self._makes and not self.had_any:
            with self._alone():
                if not self._read():
                    self._write(Key.generate("ES256"), self.now_ms())
            known = self._read()
        if not known:
            place = self.directory or " ".join(map(str, self._files))
            raise ConfigurationError(f"keys: there is none in {place}; `patauth keys rotate` makes one")
        return known.signer(self.now_ms()).key

    # -- changing -------------------------------------------------------------------------------------------

    def rotate(
        self, *, algorithm: Algorithm | None = None, delay: int = 0, retire: bool = False
    ) -> tuple[StoredKey, list[StoredKey]]:
        """Add a key that signs after `delay` seconds. Return it, and the keys that this call deleted.

        Delete keys that were made here and whose last token has expired. With `retire`, delete all others,
        even if tokens of theirs are in use. `algorithm`: None means that of the last key. Raise
        `InvalidRequest` if the setting names single files.
        """
        with self._alone():
            known = self._read()
            if algorithm is None:
                algorithm = known[-1].key.alg if known else "ES256"
            now = self.now_ms()
            signs_from_ms = now + delay * 1000
            while signs_from_ms in {one.signs_from_ms for one in known}:  # the names must give the order
                signs_from_ms += 1
            made = self._write(Key.generate(algorithm), signs_from_ms)
            old = list(known) if retire else _outlived(known, now)
            for path in (*(one.path for one in old), *self._drafts()):
                path.unlink(missing_ok=True)
            self._sync()
        self._read()
        return made, old

    def _write(self, key: Key, signs_from_ms: int) -> StoredKey:
        assert self.directory is not None
        moment = datetime.fromtimestamp(signs_from_ms / 1000, UTC)
        name = f"{moment:%Y%m%dT%H%M%S}{signs_from_ms % 1000:03}Z-{key.kid[:8]}.pem"
        path, draft = self.directory / name, self.directory / f".{name}.{secrets.token_hex(8)}"
        try:
            fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with open(fd, "wb") as file:
                if os.geteuid() == 0:  # the user of the service must be able to read it
                    owner = os.stat(self.directory)
                    os.fchown(fd, owner.st_uid, owner.st_gid)
                file.write(key.pem())
                file.flush()
                os.fsync(fd)
            os.rename(draft, path)
        except OSError as problem:
            with suppress(OSError):
                draft.unlink()
            raise ConfigurationError(
                f"keys: cannot write into {self.directory}: {problem.strerror}"
            ) from None
        self._sync()
        return StoredKey(key, signs_from_ms, path)

    def _drafts(self) -> list[Path]:
        """Return the drafts that killed writers have left. The caller must hold the lock."""
        assert self.directory is not None
        names = [name for name in os.listdir(self.directory) if name.startswith(".")]
        return [self.directory / name for name in names if _MADE_HERE.match(name, 1)]

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Create the directory if it is missing, and lock it: one writer at a time among all processes."""
        if self.directory is None:
            raise InvalidRequest(
                "the setting keys names single files; add one there yourself, or name a directory",
                field="keys",
            )
        try:
            with suppress(FileExistsError):
                self.directory.mkdir(mode=0o700)
            fd = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as problem:
            raise ConfigurationError(f"keys: cannot use {self.directory}: {problem.strerror}") from None
        try:
            self._check_directory(os.fstat(fd))
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            fcntl.flock(fd, fcntl.LOCK_UN)  # a child that was forked since then keeps the descriptor open
            os.close(fd)

    def _sync(self) -> None:
        """Write the names in the directory to the disk, so that they survive a power failure."""
        assert self.directory is not None
        with suppress(OSError):
            fd = os.open(self.directory, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)

    # -- reading --------------------------------------------------------------------------------------------

    def _read(self) -> KeySet:
        for _ in range(_TRIES):
            stamp = self._stamp()
            try:
                if self.directory is not None and stamp[0] is not None:
                    self._check_directory(os.stat(self.directory))
                owner = self._owner()
                found = KeySet(_read_key(path, owner) for path in self._paths())
            except FileNotFoundError as problem:  # a file was deleted since the listing, so list again
                if self.directory is None:
                    raise ConfigurationError(f"keys: there is no file {problem.filename}") from None
                continue
            self._seen = stamp, found
            self.had_any = self.had_any or bool(found)
            return found
        raise ConfigurationError(f"keys: {self.directory} keeps changing")

    def _check_directory(self, status: os.stat_result) -> None:
        assert self.directory is not None
        if why := why_untrusted(self.directory, status, owner=self._owner()):
            raise ConfigurationError(f"keys: {why}")

    def _owner(self) -> int | None:
        """Return one more user whose files are taken, for root as the keeper of that user's keys."""
        if self._for_owner and self.directory is not None and os.geteuid() == 0:
            with suppress(OSError):
                return os.stat(self.directory).st_uid
        return None

    def _paths(self) -> list[Path]:
        if self.directory is None:
            return list(self._files)
        try:
            names = os.listdir(self.directory)
        except FileNotFoundError:
            return []
        except OSError as problem:
            raise ConfigurationError(f"keys: cannot read {self.directory}: {problem.strerror}") from None
        names = [name for name in names if name.endswith(_SUFFIXES) and not name.startswith(".")]
        names.sort(key=lambda name: (_MADE_HERE.fullmatch(name) is not None, name))
        return [self.directory / name for name in names]

    def _stamp(self) -> Stamp:
        """Return a value that changes when the keys do."""
        if self.directory is None:
            return tuple(map(_stamp, self._files))
        return tuple(map(_stamp, (self.directory, *self._paths())))

    def _may_hide_another(self, stamp: Stamp) -> bool:
        """Return whether a stamp is so young that a later change may not have altered it."""
        now = self._clock()
        lists = stamp if self.directory is None else stamp[:1]
        return any(one is not None and abs(now - one[0] / 1e9) < _SAME_TICK for one in lists)


def _outlived(known: KeySet, now_ms: int) -> list[StoredKey]:
    """Return the keys that were made here and whose tokens have all expired."""
    return [
        one
        for one, successor in pairwise(known)
        if one.signs_from_ms and successor.signs_from_ms and successor.signs_from_ms + KEPT * 1000 < now_ms
    ]


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size


def _read_key(path: Path, owner: int | None) -> StoredKey:
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # a read from a pipe could wait for ever
            raise ConfigurationError(f"keys: {path} is not a file")
        with open(path, "rb") as file:
            status, data = os.fstat(file.fileno()), file.read(_LARGEST)
    except FileNotFoundError:
        if path.is_symlink():
            raise ConfigurationError(f"keys: {path} leads to no file") from None
        raise
    except (OSError, ValueError) as problem:
        why = problem.strerror if isinstance(problem, OSError) else "that is not a path"
        raise ConfigurationError(f"keys: cannot read {path}: {why}") from None
    if why := why_untrusted(path, status, owner=owner):
        raise ConfigurationError(f"keys: {why}")
    try:
        key = Key.private(data)
    except ValueError as problem:
        raise ConfigurationError(f"keys: {path}: {problem}") from None
    if readers := readers_of_key(status):  # asked last, since the file may be no key at all
        raise ConfigurationError(
            f"keys: {path} (mode {mode_of(status)}) can be read by {readers}: chmod 600 {path}, or replace"
            " the key if others may have seen it"
        )
    return StoredKey(key, _signs_from(path.name), path)


def _signs_from(name: str) -> int:
    match = _MADE_HERE.fullmatch(name)
    if match is None:
        return 0
    try:
        moment = datetime.strptime(match[1][:-3], "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return 0
    return int(moment.timestamp()) * 1000 + int(match[1][-3:])
