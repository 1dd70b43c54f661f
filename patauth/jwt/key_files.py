"""The private keys of signed tokens: files, which every process that issues or verifies reads.

    a directory     the files in it that end in .pem, .jwk or .json, by name; those that are made here are
                    named by the instant from which they sign, and come after all others
    single files    in the order in which they are named

The last key whose time has come signs, all verify. A directory is read again when it has changed, at most a
second later, and at once for a token by an unknown key: so a new key takes effect without a restart, and no
token that it signs is refused. A file is written whole, under another name, and then renamed.

No private key is ever in the store, in a log or in an error.
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
from .claims import LONGEST_LIFE
from .signature import Algorithm, Key

_log = logging.getLogger("patauth")

State = Literal["next", "signing", "verifying"]

KEPT = LONGEST_LIFE + 90  # s that a key verifies after it signed last: its last token, and clocks that differ
_SUFFIXES = (".pem", ".jwk", ".json")
_MADE_HERE = re.compile(r"(\d{8}T\d{6}\d{3})Z-[A-Za-z0-9_-]{8}\.pem")
_LARGEST = 65_536  # bytes of a file
_LOOK_EVERY = 1.0  # s between two looks whether a directory has changed
_SAME_TICK = 2.0  # s for which a change may hide behind an earlier one with the same time
_TRIES = 5  # files may come and go while they are read

Stamp = tuple[tuple[int, int, int] | None, ...]


class StoredKey(NamedTuple):
    """A private key, and the instant (ms) from which it signs; 0: it always may."""

    key: Key
    signs_from_ms: int
    path: Path


class KeySet(tuple[StoredKey, ...]):
    """The keys of one moment, oldest first."""

    __slots__ = ()

    def signer(self, now_ms: int) -> StoredKey:
        """The one that signs: the last whose time has come, else the first. There is at least one."""
        return next((one for one in reversed(self) if one.signs_from_ms <= now_ms), self[0])

    def states(self, now_ms: int) -> list[State]:
        """What each is for now."""
        if not self:
            return []
        place = self.index(self.signer(now_ms))
        return [
            "signing" if at == place else "verifying" if at < place else "next" for at in range(len(self))
        ]


class SigningKeys:
    """The keys of one issuer. Safe among threads and processes, and after a fork; only writers hold a lock.

    `directory`, or else `files`; with `makes`, the first key is made where there is none. Nothing is read
    before it is needed. Raises `ConfigurationError` for files that cannot be used.
    """

    def __init__(
        self,
        directory: Path | None,
        files: Sequence[Path] = (),
        *,
        makes: bool = False,
        clock: Callable[[], float] = time.time,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self.directory = directory
        self._files = tuple(files)
        self._makes = makes
        self._clock = clock
        self._timer = timer
        # Written whole, as one object: threads that look at the same time do the same work, and no harm.
        self._seen: tuple[Stamp, KeySet] | None = None
        self._had_any = False
        self._look_at = self._say_at = 0.0

    def now_ms(self) -> int:
        """This process's clock, ms since 1970."""
        return int(self._clock() * 1000)

    def keys(self, *, at_once: bool = False) -> KeySet:
        """The keys, as they were a second ago at most; `at_once`, as they are."""
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
                    if self._timer() >= self._say_at:
                        self._say_at = self._timer() + _LOOK_EVERY
                        _log.error(
                            "not all signing keys can be read; those known stay: %s",
                            problem,
                        )
                    # One whose file has gone was taken away: it is used no more, whatever else is wrong.
                    there = set(self._paths())
                    self._seen = seen = seen[0], KeySet(one for one in seen[1] if one.path in there)
        return seen[1]

    @property
    def are_missing(self) -> bool:
        """Whether there were keys before: where none are found now, they are only out of reach."""
        return self._had_any

    def signer(self) -> Key:
        """The key that signs now; made, where there is none and it may be."""
        known = self.keys(at_once=True)  # a key that was retired must sign nothing more
        if not known and self._makes and not self._had_any:
            self._make_first()
            known = self._read()
        if not known:
            raise ConfigurationError(
                f"keys: there is none in {self._place()}; `patauth keys rotate` makes one"
            )
        return known.signer(self.now_ms()).key

    # -- changing -------------------------------------------------------------------------------------------

    def rotate(
        self, *, algorithm: Algorithm | None = None, delay: int = 0, retire: bool = False
    ) -> tuple[StoredKey, list[StoredKey]]:
        """Add a key that signs after `delay` seconds. It, and the keys that were removed.

        Removed are keys that were made here and whose last token has expired since; with `retire` all others,
        whatever tokens of theirs are out. `algorithm`: None is that of the last key. Raises `InvalidRequest`
        where `files` are named.
        """
        with self._alone():
            known = self._read()
            if algorithm is None:
                algorithm = known[-1].key.alg if known else "ES256"
            now = self.now_ms()
            signs_from_ms = now + delay * 1000
            while any(one.signs_from_ms == signs_from_ms for one in known):  # their order is that of names
                signs_from_ms += 1
            made = self._write(Key.generate(algorithm), signs_from_ms)
            old = list(known) if retire else _outlived(known, now)
            for path in (*(one.path for one in old), *self._drafts()):
                path.unlink(missing_ok=True)
            self._sync()
        self._read()
        return made, old

    def _make_first(self) -> None:
        with self._alone():
            if not self._read():
                self._write(Key.generate("ES256"), self.now_ms())

    def _write(self, key: Key, signs_from_ms: int) -> StoredKey:
        assert self.directory is not None
        moment = datetime.fromtimestamp(signs_from_ms / 1000, UTC)
        name = f"{moment:%Y%m%dT%H%M%S}{signs_from_ms % 1000:03}Z-{key.kid[:8]}.pem"
        path, draft = self.directory / name, self.directory / f".{name}.{secrets.token_hex(8)}"
        try:
            fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with open(fd, "wb") as file:
                if os.geteuid() == 0:  # for whoever runs the service, who has to read it
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
        """What writers left behind that were killed: nobody else is writing now."""
        assert self.directory is not None
        names = [name for name in os.listdir(self.directory) if name.startswith(".")]
        return [self.directory / name for name in names if _MADE_HERE.match(name, 1)]

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """The directory, made if need be, for one writer at a time among all processes."""
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
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            fcntl.flock(fd, fcntl.LOCK_UN)  # by hand: a child forked meanwhile shares it, and keeps it open
            os.close(fd)

    def _sync(self) -> None:
        """Names, too, outlast a loss of power."""
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
                found = KeySet(_read_key(path) for path in self._paths())
            except FileNotFoundError as problem:  # removed since the directory was listed: list it again
                if self.directory is None:
                    raise ConfigurationError(f"keys: there is no file {problem.filename}") from None
                continue
            self._seen = stamp, found
            self._had_any = self._had_any or bool(found)
            return found
        raise ConfigurationError(f"keys: {self.directory} keeps changing")

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
        """What changes when the keys do."""
        if self.directory is None:
            return tuple(map(_stamp, self._files))
        return tuple(map(_stamp, (self.directory, *self._paths())))

    def _may_hide_another(self, stamp: Stamp) -> bool:
        """Whether it is so young that a file may have come since without changing it."""
        now = self._clock()
        lists = stamp if self.directory is None else stamp[:1]
        return any(one is not None and abs(now - one[0] / 1e9) < _SAME_TICK for one in lists)

    def _place(self) -> str:
        return str(self.directory or " ".join(map(str, self._files)))


def _outlived(known: KeySet, now_ms: int) -> list[StoredKey]:
    """Keys that were made here, and signed nothing that could still be good."""
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


def _read_key(path: Path) -> StoredKey:
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # a pipe would be waited for, for ever
            raise ConfigurationError(f"keys: {path} is no file")
        with open(path, "rb") as file:
            data = file.read(_LARGEST)
    except FileNotFoundError:
        if path.is_symlink():
            raise ConfigurationError(f"keys: {path} leads to no file") from None
        raise
    except (OSError, ValueError) as problem:
        why = problem.strerror if isinstance(problem, OSError) else "that is no path"
        raise ConfigurationError(f"keys: cannot read {path}: {why}") from None
    try:
        key = Key.private(data)
    except ValueError as problem:
        raise ConfigurationError(f"keys: {path}: {problem}") from None
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
