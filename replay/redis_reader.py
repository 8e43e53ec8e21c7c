"""A log as it is in Redis, read back: for whoever has no ring file of it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from replay.errors import BeyondHead, LogMissing
from replay.event import Event
from replay.redis_copy import CHUNK_BYTES
from replay.redis_scripts import Keys

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from replay.redis_connection import Client

ENTRIES = 64
"""How many entries are asked for at once: at most 4 MiB of output."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Output; `at` is when it was printed, in wall-clock seconds."""

    start: int
    data: bytes
    at: float

    @property
    def end(self) -> int:
        """The position after it."""
        return self.start + len(self.data)


@dataclass(frozen=True, slots=True)
class Hole:
    """Output from `start` to `end` that could not be kept."""

    start: int
    end: int


Item: TypeAlias = "Chunk | Hole | Event"


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in a stream: after the output before `position`, and `sub` things at that position."""

    position: int = 0
    sub: int = 0


@dataclass(frozen=True, slots=True)
class Facts:
    """What Redis knows of a log beside its bytes."""

    epoch: str
    owner: int
    head: int
    retention_bytes: int
    index: int
    """Of the last event."""
    events: tuple[Event, ...]
    """The last of each kind, in order; they may have left the stream."""


class RedisReader:
    """Reads logs by name. Its client is the caller's."""

    def __init__(self, client: Client) -> None:
        """Read over this client."""
        self._client = client

    async def facts(self, name: str) -> Facts:
        """Return what is known of a log. Raises LogMissing, and what the client raises."""
        found = await self._client.execute_command("HGETALL", Keys.of(name).hash)
        return parse_facts(name, found)

    async def read(self, name: str, after: Cursor, *, entries: int = ENTRIES) -> tuple[Sequence[Item], Cursor]:
        """Return what follows a cursor, output and events in order, and the cursor after it. One round trip.

        Where the first thing begins later than asked, what is between is not kept any more: a Hole comes first.
        Nothing, and the same cursor: that is all there is. Raises what the client raises.
        """
        begin = f"({after.position}-{after.sub}" if after.position or after.sub else "-"
        found = await self._client.execute_command("XRANGE", Keys.of(name).stream, begin, "+", "COUNT", entries)
        items: list[Item] = []
        position, sub = after.position, after.sub
        for entry_id, fields in found or ():
            item = _cut(parse_entry(entry_id, fields), position)
            start = position if isinstance(item, Event) else item.start
            if start > position:
                items.append(Hole(position, start))
            items.append(item)
            position, sub = (int(part) for part in entry_id.split(b"-"))
        return items, Cursor(position, sub)

    async def read_range(self, name: str, position: int, end: int) -> bytes:
        """Return output from a position up to `end`, or up to the first hole. Raises BeyondHead too."""
        pieces: list[bytes] = []
        cursor = Cursor(position)
        while cursor.position < end:
            wanted = min(ENTRIES, (end - cursor.position) // CHUNK_BYTES + 2)
            items, cursor = await self.read(name, cursor, entries=wanted)
            if not items:
                raise BeyondHead(end, cursor.position)
            for item in items:
                if isinstance(item, Hole):
                    return b"".join(pieces)
                if isinstance(item, Chunk) and item.start < end:
                    pieces.append(item.data[: end - item.start])
        return b"".join(pieces)


def _cut(item: Item, position: int) -> Item:
    """Leave out what lies before the position."""
    if isinstance(item, Chunk) and item.start < position:
        return Chunk(position, item.data[position - item.start :], item.at)
    return item


def parse_facts(name: str, found: Mapping[bytes, bytes]) -> Facts:
    """Return what the hash of a log says. Raises LogMissing."""
    if not {b"log", b"owner", b"head", b"retention", b"index"} <= found.keys():
        raise LogMissing(name)
    last = sorted(
        (parse_event(value) for field, value in found.items() if field.startswith(b"last:")),
        key=lambda event: event.index,
    )
    return Facts(
        epoch=found[b"log"].decode(),
        owner=int(found[b"owner"]),
        head=int(found[b"head"]),
        retention_bytes=int(found[b"retention"]),
        index=int(found[b"index"]),
        events=tuple(last),
    )


def parse_entry(entry_id: bytes, found: Mapping[bytes, bytes]) -> Item:
    """Return what an entry of the stream says."""
    end = int(entry_id.partition(b"-")[0])
    if b"d" in found:
        data = found[b"d"]
        return Chunk(end - len(data), data, int(found[b"t"]) / 1000)
    if b"g" in found:
        return Hole(end - int(found[b"g"]), end)
    return parse_event(found[b"e"])


def parse_event(data: bytes) -> Event:
    """Return an event from its JSON."""
    index, position, kind, about, at = json.loads(data)
    return Event(int(index), int(position), str(kind), dict(about), float(at))
