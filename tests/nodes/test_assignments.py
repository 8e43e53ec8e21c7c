"""All nodes agree on which of them carries out a request that may be repeated."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest

from nodes import memory_assignments
from nodes.errors import Away
from nodes.memory_assignments import MemoryAssignments
from nodes.redis_assignments import RedisAssignments
from replay.redis_address import RedisAddress
from support.redis_server import RedisServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from nodes.base import Assignments
    from support.redis_cluster import RedisCluster


@contextlib.asynccontextmanager
async def over_redis(server: RedisServer | RedisCluster, count: int) -> AsyncIterator[list[RedisAssignments]]:
    made = [RedisAssignments(RedisAddress.parse(server.url)) for _ in range(count)]
    try:
        yield made
    finally:
        await asyncio.gather(*(each.close() for each in made))


async def keep_the_contract(one: Assignments, two: Assignments) -> None:
    assert await one.assign("ann", b"a", "one") == "one"
    assert await two.assign("ann", b"a", "two") == await one.assign("ann", b"a", "one") == "one"
    assert await two.assign("bob", b"a", "two") == await two.assign("ann", b"b", "two") == "two"
    assert await two.assign("ann", b"a", "two", instead_of="three") == "one"
    assert await two.assign("ann", b"a", "two", instead_of="one") == "two"
    assert await one.assign("ann", b"a", "one", instead_of="one") == "two"
    for number in range(memory_assignments.REQUESTS_LIMIT):
        await one.assign("ann", b"%d" % number, "one")
    assert await two.assign("bob", b"a", "one") == "two"
    assert await two.assign("ann", b"0", "two") == "one"
    assert await two.assign("ann", b"a", "three") == "three"


async def test_one_node_gets_a_request_in_memory() -> None:
    assignments = MemoryAssignments()
    await keep_the_contract(assignments, assignments)


async def test_one_node_gets_a_request_over_redis(server: RedisServer | RedisCluster) -> None:
    async with over_redis(server, 2) as (one, two):
        await keep_the_contract(one, two)
        asked = [each.assign("user {x}", b"same", name) for name, each in [("one", one), ("two", two)] * 50]
        assert len(set(await asyncio.gather(*asked))) == 1


async def test_while_redis_is_away_that_is_told(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as server:
        async with over_redis(server, 1) as (one,):
            assert await one.assign("ann", b"a", "one") == "one"
            await asyncio.to_thread(server.kill)
            with pytest.raises(Away):
                await one.assign("ann", b"a", "one")
            await asyncio.to_thread(server.start)
            assert await one.assign("ann", b"a", "two") == "two"
