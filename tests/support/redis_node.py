"""What one process of the service has of Redis: a store with its persister running; and how to judge what is there."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Self

from replay.event import Event
from replay.file import FileStore
from replay.redis_address import RedisAddress
from replay.redis_connection import connect, disconnect
from replay.redis_persister import Durability, Persister, ring_capacity
from replay.redis_reader import Chunk, Cursor, Hole, RedisReader
from replay.redis_store import RedisStore

if TYPE_CHECKING:
    import random
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from replay.log import Log
    from replay.redis_copy import State
    from replay.redis_reader import Item

NAME = "session/main"
RETENTION_BYTES = 64 * 1024
SETTLE_SECONDS = 20.0


class RedisNode:
    """A node on a directory. Leaving it is like its death: nothing is flushed first."""

    def __init__(self, url: str, directory: Path, *, durability: Durability | None = None, **options: Any) -> None:
        self.address = RedisAddress.parse(url)
        self.ended: list[tuple[str, State]] = []
        options.setdefault("ttl_seconds", 60.0)
        self.persister = Persister(
            self.address,
            durability=durability or Durability(),
            on_over=lambda name, state: self.ended.append((name, state)),
            **options,
        )
        self._directory = directory
        self._logs: list[Log] = []
        self._tasks = asyncio.TaskGroup()

    async def __aenter__(self) -> Self:
        files = await asyncio.to_thread(FileStore, self._directory, capacity=ring_capacity)
        self.store = RedisStore(files, self.persister, self.address)
        await self._tasks.__aenter__()
        self._tasks.create_task(self.persister.run())
        return self

    async def __aexit__(self, *error: Any) -> None:  # noqa: PYI036 - handed on to the group
        self.persister.stop()
        await self._tasks.__aexit__(*error)
        for log in self._logs:
            log.close()

    async def create(self, name: str = NAME, retention_bytes: int = RETENTION_BYTES) -> Log:
        log = await asyncio.to_thread(self.store.create, name, retention_bytes)
        self._logs.append(log)
        return log

    async def open(self, name: str = NAME, *, is_over: bool = False) -> Log:
        log = await asyncio.to_thread(self.store.open, name, is_over=is_over)
        self._logs.append(log)
        return log

    async def settle(self, seconds: float = SETTLE_SECONDS) -> None:
        """Wait until Redis has everything, whatever goes wrong meanwhile."""
        deadline = asyncio.get_running_loop().time() + seconds
        while not await self.persister.settle(0.5):
            left = deadline - asyncio.get_running_loop().time()
            assert left > 0, f"Redis is still behind: {self.persister.trouble}, {self.persister.figures}"
            await asyncio.sleep(0.01)


async def read_all(url: str, name: str = NAME, after: Cursor | None = None) -> list[Item]:
    """Return everything of a log that is in Redis after a cursor."""
    client = connect(RedisAddress.parse(url))
    try:
        reader = RedisReader(client)
        items: list[Item] = []
        found, cursor = await reader.read(name, after or Cursor(), entries=7)
        while found:
            items += found
            found, cursor = await reader.read(name, cursor, entries=7)
        return items
    finally:
        await disconnect(client)


async def assert_same(url: str, log: Log, name: str = NAME) -> Sequence[Item]:
    """Fail unless Redis has what the log retains, every byte and event once and in order; return what it has."""
    items = await read_all(url, name)
    chunks = [item for item in items if isinstance(item, Chunk)]
    position = chunks[0].start if chunks else log.head
    assert position <= log.first, "everything retained is there"
    for chunk in chunks:
        assert chunk.start == position, "no hole, and nothing twice"
        position = chunk.end
    assert position == log.head
    data = b"".join(chunk.data for chunk in chunks)
    assert data[len(data) - (log.head - log.first) :] == log.read_range(log.first, log.head)
    assert not any(isinstance(item, Hole) and item.end > log.first for item in items)
    there = {event.index: event for event in items if isinstance(event, Event)}
    assert len(there) == sum(isinstance(item, Event) for item in items), "no event twice"
    event = log.next_event(0, log.first + 1)
    while event is not None:
        assert there[event.index] == event
        event = log.next_event(event.index + 1, log.first + 1)
    return items


@contextlib.asynccontextmanager
async def printing(log: Log, rng: random.Random) -> AsyncIterator[None]:
    """Append all the time, as a program does that prints."""

    async def print_on() -> None:
        while True:
            log.append(rng.randbytes(rng.randrange(1, 500)))
            if rng.random() < 0.1:
                log.add_event("resize", {"rows": 1, "cols": rng.randrange(99), "client_id": "c"}, 1.0)
            await asyncio.sleep(0.01)

    printer = asyncio.ensure_future(print_on())
    try:
        yield
    finally:
        printer.cancel()
        await asyncio.wait([printer])
