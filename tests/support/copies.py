"""A store that is copied to another engine: the two sides, runs of the copy, and what each side holds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Any

from patauth import Settings
from patauth.store.copy import Copy
from patauth.store.factory import open_store
from patauth.store.store import Store
from tests.support.acl import logged_out
from tests.support.authorities import PATIENCE

# What a copy does not carry, by what stands behind the hash tag of the key.
LEFT = (b"q:", b"x:", b"m:", b"s:", b"r:", b"w", b"f", b"key", b"check")
TOKENS = (b"t:", b"k:")


class Sides:
    """The stores FROM and TO of a copy under one key prefix."""

    def __init__(self, source: Store, target: Store) -> None:
        self.source = source
        self.target = target

    def copy(self, *, with_access_tokens: bool = False) -> Copy:
        return self.source.copy_to(self.target, with_access_tokens=with_access_tokens)

    def run(self, **given: bool) -> Copy:
        """Run a copy as the command does with `--final`; return it."""
        copy = self.copy(**given)
        copy.begin()
        for _ in copy.write():
            pass
        for _ in copy.compare():
            pass
        if not copy.differing:
            copy.end()
        return copy


@contextmanager
def sides(source: str, target: str, prefix: str) -> Iterator[Sides]:
    """Open two stores for a copy, with the patience of a busy machine.

    The user of the documents needs some more rights to copy: tests/system/test_copy.py looks at these.
    """
    patient = {"connect_timeout": PATIENCE, "command_timeout": PATIENCE}
    with ExitStack() as stack:
        opened = [
            stack.enter_context(
                closing(
                    open_store(
                        Settings.of(store_url=logged_out(url), key_prefix=prefix, **patient),
                        request_seconds=PATIENCE,
                        settles_key=False,
                    )
                )
            )
            for url in (source, target)
        ]
        yield Sides(*opened)


def content(client: Any, prefix: str, *, with_access_tokens: bool = False) -> dict[bytes, Any]:
    """What a store holds of all that a copy carries: each key with its content and its end, past patauth."""
    left = LEFT if with_access_tokens else LEFT + TOKENS
    found = {}
    for key in client.scan_iter(f"{prefix}:*", count=1000):
        if key.partition(b"}:")[2].startswith(left):
            continue
        kind = client.type(key)
        if kind == b"string":
            value = client.get(key)
        elif kind == b"zset":
            value = sorted(client.zrange(key, 0, -1, withscores=True))
        else:
            value = client.hgetall(key)
        found[key] = (value, client.pexpiretime(key))
    return found
