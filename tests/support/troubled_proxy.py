"""A proxy before a server that does to replies what networks do: `python troubled_proxy.py HERE SERVER SEED`.

HERE and SERVER are paths of unix sockets. Requests always pass. Standard input says what becomes of replies,
a word a line, and each is answered with a line of JSON that holds the figures so far:

    calm   they pass                             hold   they wait until another word comes
    storm  late, halved, trickling, cut, paused  swap   some go to the one who asked on another connection
    slow   each comes a little late              tell   as before
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import sys
from collections import Counter

LATE = (0.15, 0.7)  # s; a caller of these tests waits for 0.25
SLOW = 0.1  # s
# How many of a thousand replies meet what.
TROUBLE = {"late": 6, "halved": 4, "trickled": 6, "cut": 4, "cut at once": 2}
PAUSE_EACH, PAUSE = 1.0, (0.02, 0.4)  # s


class Proxy:
    """All connections, and what becomes of their replies."""

    def __init__(self, server: str, seed: int) -> None:
        self.server = server
        self.chance = random.Random(seed)
        self.mode = "calm"
        self.figures: Counter[str] = Counter()
        self.running = asyncio.Event()
        self.running.set()
        self.swapped: tuple[bytes, asyncio.Future[bytes]] | None = None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        figures = self.figures
        figures["connections"] += 1
        figures["open"] += 1
        figures["most open"] = max(figures["most open"], figures["open"])
        with contextlib.suppress(OSError):
            far_reader, far_writer = await asyncio.open_unix_connection(self.server)
            back = asyncio.create_task(self.back(far_reader, writer))
            with contextlib.suppress(OSError, asyncio.CancelledError):  # cancelled at the end of all
                while data := await reader.read(65536):
                    far_writer.write(data)
            back.cancel()  # nobody is there to read any more
            far_writer.close()
            await asyncio.gather(back, return_exceptions=True)
        writer.close()
        figures["open"] -= 1

    async def back(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while reply := await reader.read(65536):
                self.figures["replies"] += 1
                self.figures["waiting"] += 1
                try:
                    await self.running.wait()
                finally:
                    self.figures["waiting"] -= 1
                if self.mode == "storm":
                    await self.spoil(reply, writer)
                elif self.mode == "slow":
                    await asyncio.sleep(SLOW)
                    writer.write(reply)
                elif self.mode == "swap":
                    writer.write(await self.exchange(reply))
                else:
                    writer.write(reply)
            writer.close()

    async def spoil(self, reply: bytes, writer: asyncio.StreamWriter) -> None:
        chance = self.chance
        (what,) = chance.choices([*TROUBLE, "passed"], [*TROUBLE.values(), 1000 - sum(TROUBLE.values())])
        self.figures[what] += 1
        at = chance.randrange(len(reply))
        if what == "late":
            await asyncio.sleep(chance.uniform(*LATE))
            writer.write(reply)
        elif what == "halved":
            writer.write(reply[:at])
            await asyncio.sleep(chance.uniform(*LATE))
            writer.write(reply[at:])
        elif what == "trickled":
            size, pause = chance.randint(1, 40), chance.uniform(0.0005, 0.02)
            for start in range(0, len(reply), size):
                writer.write(reply[start : start + size])
                await asyncio.sleep(pause)
        elif what == "cut":
            writer.write(reply[:at])
            await asyncio.sleep(0)
            writer.close()
        elif what == "cut at once":
            writer.transport.abort()
        else:
            writer.write(reply)

    async def exchange(self, reply: bytes) -> bytes:
        """The reply of the next one, who gets this one; or this one when nobody comes."""
        if self.chance.random() < 0.3:
            return reply
        if self.swapped is not None:
            (theirs, given), self.swapped = self.swapped, None
            given.set_result(reply)
            self.figures["swapped"] += 1
            return theirs
        mine: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.swapped = (reply, mine)
        with contextlib.suppress(TimeoutError):
            return await asyncio.wait_for(asyncio.shield(mine), 0.02)
        if not mine.done():
            self.swapped = None
            return reply
        return mine.result()

    async def pause(self) -> None:
        while True:
            await asyncio.sleep(self.chance.uniform(0.5, 1.5) * PAUSE_EACH)
            if self.mode == "storm":
                self.figures["paused"] += 1
                self.running.clear()
                await asyncio.sleep(self.chance.uniform(*PAUSE))
                if self.mode != "hold":
                    self.running.set()

    def obey(self, word: str) -> None:
        if word != "tell":
            self.mode = word
            if word == "hold":
                self.running.clear()
            else:
                self.running.set()
        print(json.dumps(self.figures), flush=True)


async def main(here: str, server: str, seed: str) -> None:
    proxy = Proxy(server, int(seed))
    words = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(words), sys.stdin.buffer
    )
    listening = await asyncio.start_unix_server(proxy.serve, here, backlog=1000)
    pauses = asyncio.create_task(proxy.pause())
    print("{}", flush=True)
    while word := await words.readline():
        proxy.obey(word.decode().strip())
    listening.close()
    pauses.cancel()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
