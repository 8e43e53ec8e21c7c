"""A sealed log has ended for all who read it, and for whoever still believes to write it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from replay.redis_address import RedisAddress
from replay.redis_connection import connect, disconnect
from replay.redis_copy import State
from replay.redis_reader import Chunk
from replay.redis_scripts import Keys
from replay.redis_seal import seal
from support.redis_following import FollowingNode, Reader
from support.redis_node import NAME, RedisNode, read_all
from support.redis_server import FLAVOURS, RedisServer
from support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from replay.redis_scripts import Answer

FIELDS = {"reason": "its node is gone", "exit_code": None, "state": "lost"}


@pytest.fixture(params=FLAVOURS[:1] + FLAVOURS[2:])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path, flavour=request.param) as server:
        yield server


async def seal_it(server: RedisServer, **options: Any) -> Answer:
    client = connect(RedisAddress.parse(server.url))
    try:
        return await seal(
            client, NAME, **{"reason": "lost", "fields": FIELDS, "at": 12.5, "ttl_seconds": 60, **options}
        )
    finally:
        await disconnect(client)


async def test_its_readers_are_told_and_its_writer_is_fenced(server: RedisServer, tmp_path: Path) -> None:
    async with RedisNode(server.url, tmp_path) as node, FollowingNode(server.url) as followers:
        log = await node.create()
        log.add_event("resize", {"rows": 1}, 1.0)
        log.append(b"before")
        await node.settle()
        followed = await followers.follow(NAME)
        reader = Reader(followed.log)
        followed.changed = lambda: pytest.fail("it has ended, and is still the same")
        answer = await seal_it(server)
        assert (answer.head, answer.index) == (6, 2)
        await wait_until(lambda: len(reader.events) == 2, description="the reader is told")
        ended = reader.events[-1]
        assert (ended.index, ended.position, ended.kind, ended.fields, ended.at) == (2, 6, "ended", FIELDS, 12.5)
        log.append(b" and after")
        await wait_until(lambda: node.ended, description="the writer is told")
        assert node.ended == [(NAME, State.FENCED)]
        assert log.trouble == State.FENCED.value
        late = await followers.follow(NAME)
        assert late.log.last_event("ended", late.log.head) == ended
        assert late.log.head == 6


async def test_twice_changes_nothing(server: RedisServer, tmp_path: Path) -> None:
    async with RedisNode(server.url, tmp_path) as node:
        log = await node.create()
        log.append(b"before")
        await node.settle()
    await seal_it(server)
    items = await read_all(server.url)
    keys = Keys.of(NAME)
    left = [server.call("PTTL", key) for key in (keys.stream, keys.hash)]
    assert all(50_000 < milliseconds <= 60_000 for milliseconds in left)
    assert (await seal_it(server, reason="other", ttl_seconds=1000)).index == 1
    assert await read_all(server.url) == items
    assert server.call("HGET", keys.hash, "sealed") == b"lost"
    assert all(server.call("PTTL", key) <= 60_000 for key in (keys.stream, keys.hash))


async def test_nobody_can_claim_it_any_more(server: RedisServer, tmp_path: Path) -> None:
    await seal_it(server)
    assert 0 < server.call("PTTL", Keys.of(NAME).hash) <= 60_000
    async with RedisNode(server.url, tmp_path) as node:
        log = await node.create()
        log.append(b"too late")
        await wait_until(lambda: node.ended, description="the writer is told")
        assert node.ended == [(NAME, State.FENCED)]
    assert await read_all(server.url) == []


async def test_an_end_that_redis_knows_but_not_what_came_before_begins_anew(
    server: RedisServer, tmp_path: Path
) -> None:
    """A failover lost the last output, then its node was gone: what a follower has is not the history that stays."""
    async with RedisNode(server.url, tmp_path) as node, FollowingNode(server.url) as followers:
        log = await node.create()
        log.append(b"kept")
        await node.settle()
        kept = server.call("DUMP", Keys.of(NAME).stream), server.call("DUMP", Keys.of(NAME).hash)
        followed = await followers.follow(NAME)
        log.append(b" and lost")
        await node.settle()
        await wait_until(lambda: followed.log.head == log.head, description="it was heard")
        told: list[bool] = []
        followed.changed = lambda: told.append(True)
        for key, value in zip((Keys.of(NAME).stream, Keys.of(NAME).hash), kept, strict=True):
            server.call("RESTORE", key, 60_000, value, "REPLACE")
        await seal_it(server)
        await wait_until(lambda: told, description="it is told")
        anew = await followers.follow(NAME)
        assert anew.log.read_range(0, anew.log.head) == b"kept"
        assert anew.log.last_event("ended", 4) is not None
        log.append(b"!")
        await wait_until(lambda: node.ended, description="the writer is told")
        assert b"".join(item.data for item in await read_all(server.url) if isinstance(item, Chunk)) == b"kept"
