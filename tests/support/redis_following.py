"""A node that follows logs of other nodes; how to judge what it has; and a network that spoils what it hears."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from replay.redis_address import RedisAddress
from replay.redis_connection import connect, disconnect
from replay.redis_follower import Follower
from replay.redis_followers import Followers
from support.wait import wait_until

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

    from replay.event import Event
    from replay.log import Log

KINDS = ("resize", "gap", "storage", "ended")


class FollowingNode:
    """`Followers`, running."""

    def __init__(self, url: str, **options: Any) -> None:
        self.followers = Followers(RedisAddress.parse(url), **options)
        self._tasks = asyncio.TaskGroup()

    async def __aenter__(self) -> Followers:
        await self._tasks.__aenter__()
        self._tasks.create_task(self.followers.run())
        return self.followers

    async def __aexit__(self, *error: Any) -> None:  # noqa: PYI036 - handed on to the group
        self.followers.stop()
        await self._tasks.__aexit__(*error)


class Reader:
    """A viewer: reads whatever is new whenever it is told, and fails if that is not what came before went on to."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self.start = self.position = log.first
        self.data = bytearray()
        self.events: list[Event] = []
        self.gaps: list[tuple[int, int]] = []
        self._index = 0
        self.stop = log.subscribe(self.read)
        self.read()

    def read(self) -> None:
        if self.position < self.log.first:
            self.gaps.append((self.position, self.log.first))
            self.position = self.log.first
        while piece := self.log.read(self.position, 100_000):
            self.data += piece
            self.position += len(piece)
        while (event := self.log.next_event(self._index, 0)) is not None:
            self.events.append(event)
            self._index = event.index + 1


class Mischief:
    """Drops, doubles, holds back, and damages messages on their way to a follower."""

    def __init__(self, rng: random.Random) -> None:
        self.done = dict.fromkeys(("dropped", "doubled", "held", "damaged"), 0)
        self._rng = rng
        self._held: list[tuple[Follower, bytes]] = []

    def __call__(self, follower: Follower, data: bytes, now: float) -> bool:
        kind = self._rng.choices(("fine", *self.done), (6, 1, 1, 1, 1))[0]
        if kind != "fine":
            self.done[kind] += 1
        now_due = [] if kind == "held" else self._take_held()
        if kind == "held":
            self._held.append((follower, data))
        elif kind == "damaged":
            now_due.append((follower, self._damage(data)))
        elif kind != "dropped":
            now_due += [(follower, data)] * (2 if kind == "doubled" else 1)
        wants = [(each, Follower.hear(each, message, now)) for each, message in now_due]
        return any(reads for each, reads in wants if each is follower)

    def _take_held(self) -> list[tuple[Follower, bytes]]:
        held, self._held = self._held, []
        self._rng.shuffle(held)
        return held

    def _damage(self, data: bytes) -> bytes:
        way = self._rng.randrange(3)
        if way == 0:
            return data[: self._rng.randrange(len(data))]
        if way == 1:
            return self._rng.randbytes(self._rng.randrange(100))
        place = self._rng.randrange(len(data))
        return data[:place] + bytes([data[place] ^ 1 << self._rng.randrange(8)]) + data[place + 1 :]


def events_of(log: Log, after: int) -> Iterator[Event]:
    event = log.next_event(0, after)
    while event is not None:
        yield event
        event = log.next_event(event.index + 1, after)


def is_level(local: Log, owner: Log) -> bool:
    return (local.head, local.next_index) == (owner.head, owner.next_index)


async def wait_level(local: Log, owner: Log, *, seconds: float = 20.0) -> None:
    await wait_until(lambda: is_level(local, owner), description="the follower has everything", timeout=seconds)


def assert_mirrors(local: Log, owner: Log) -> None:
    """Fail unless a followed log is the same as its owner's: history, bounds, bytes, events and their places."""
    assert (local.epoch, local.retention_bytes) == (owner.epoch, owner.retention_bytes)
    assert (local.first, local.head, local.next_index) == (owner.first, owner.head, owner.next_index)
    assert local.read_range(local.first, local.head) == owner.read_range(owner.first, owner.head)
    assert list(events_of(local, local.first)) == list(events_of(owner, owner.first))
    for kind in KINDS:
        assert local.last_event(kind, local.head) == owner.last_event(kind, owner.head), kind


async def keys_left(url: str) -> dict[str, int]:
    """Return all keys with the milliseconds they have to live."""
    client = connect(RedisAddress.parse(url))
    try:
        targets = {"target_nodes": "primaries"} if client.__class__.__name__ == "RedisCluster" else {}
        keys: list[Any] = await client.keys("ts:*", **targets)
        return {key.decode(): await client.execute_command("PTTL", key) for key in keys}
    finally:
        await disconnect(client)
