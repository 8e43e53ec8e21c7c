"""Logs that are in Redis too: local ring files that are written at once, and a persister that copies them."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import structlog

from replay.errors import LogDamaged, LogMissing
from replay.event import Event
from replay.redis_connection import TROUBLE, connect, disconnect, explain
from replay.redis_reader import Chunk, Cursor, Hole, RedisReader

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from replay.file import FileStore
    from replay.log import Log
    from replay.redis_address import RedisAddress
    from replay.redis_persister import Persister
    from replay.redis_reader import Facts, Item

report = structlog.get_logger()

AWAY_SECONDS = 10.0
"""So long Redis is not asked again for logs that are missing here, once it did not answer: a start must not hang."""


class RedisStore:
    """A store whose logs other nodes can read. Needs no Redis to make a log, nor to go on with one.

    The names it knows are those of its own ring files: in Redis there are logs of other nodes too.
    """

    def __init__(self, files: FileStore, persister: Persister, address: RedisAddress) -> None:
        """Keep logs in these files, made with `ring_capacity`, and have the persister copy them; run that, too."""
        self._files = files
        self._persister = persister
        self._address = address
        self._away_until = 0.0

    def create(self, name: str, retention_bytes: int) -> Log:
        """Begin a new log, and copy it from now on."""
        log = self._files.create(name, retention_bytes)
        self._persister.add(name, log)
        return log

    def open(self, name: str, *, is_over: bool = False) -> Log:
        """Return a stored log and copy what Redis does not have of it; one without a file is fetched from Redis.

        Raises LogMissing, LogDamaged: then Redis does not have it either, or cannot be asked.
        """
        last_writer = 0
        try:
            log = self._files.open(name, is_over=is_over)
        except (LogMissing, LogDamaged):
            fetched = self._fetch(name, is_over=is_over)
            if fetched is None:
                raise
            log, last_writer = fetched
        self._persister.add(name, log, after_writer=last_writer)
        return log

    def names(self) -> Iterable[str]:
        """Return the names of all logs kept here."""
        return self._files.names()

    def delete(self, name: str) -> None:
        """Forget a log, here at once and in Redis as soon as it can be reached (else by its time to live)."""
        self._files.delete(name)
        self._persister.remove(name)

    async def settle(self, seconds: float) -> None:
        """Give Redis what it does not have yet, as far as that is done in the time."""
        await self._persister.settle(seconds)

    def close(self) -> None:
        """Nothing is held between calls."""

    # -- from Redis

    def _fetch(self, name: str, *, is_over: bool) -> tuple[Log, int] | None:
        """Make the ring file of a log again from what Redis has of it; return it, and the number of its last writer.

        None: there is nothing, or Redis cannot be asked.
        """
        if time.monotonic() < self._away_until:
            return None
        try:
            facts, items = asyncio.run(self._read(name))
        except LogMissing:
            return None
        except TROUBLE as error:
            self._away_until = time.monotonic() + AWAY_SECONDS
            report.warning("Redis cannot be asked for a log", log=name, reason=explain(error))
            return None
        log = _restore(self._files, name, facts, items)
        if not is_over:  # what its program printed last may have been in the file that is gone
            log.add_event("gap", {"reason": "memory", "bytes": None}, time.time())
        return log, facts.owner

    async def _read(self, name: str) -> tuple[Facts, Sequence[Item]]:
        client = connect(self._address)
        try:
            reader = RedisReader(client)
            facts = await reader.facts(name)
            items: list[Item] = []
            found, cursor = await reader.read(name, Cursor(max(0, facts.head - facts.retention_bytes)))
            while found:
                items += found
                found, cursor = await reader.read(name, cursor)
            return facts, items
        finally:
            await disconnect(client)


def _restore(files: FileStore, name: str, facts: Facts, items: Sequence[Item]) -> Log:
    """Make a log of what follows the last hole: what is before one cannot be told apart from it by a position."""
    whole = len(items) - next((n for n, item in enumerate(reversed(items)) if isinstance(item, Hole)), len(items))
    start = next((item.start for item in items[whole:] if isinstance(item, Chunk)), facts.head)
    log = files.begin(name, facts.retention_bytes, epoch=facts.epoch, start=start)
    kept = {item.index for item in items[whole:] if isinstance(item, Event)}
    for event in facts.events:  # what holds still, though it has left the stream
        if event.index < min(kept, default=facts.index + 1) and event.position <= start:
            log.put_event(event)
    for item in items[whole:]:
        match item:
            case Chunk():
                log.append(item.data)
            case Event():
                log.put_event(item)
            case Hole():
                raise AssertionError("there is none after the last one")
    return log
