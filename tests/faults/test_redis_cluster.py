"""A cluster whose slots move and whose shards die: MOVED, TRYAGAIN, ASK, CLUSTERDOWN; within 5 s all is there, once."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from support.redis_cluster import RedisCluster
from support.redis_node import RETENTION_BYTES, RedisNode, assert_same, printing
from support.wait import wait_until

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator
    from pathlib import Path

    from replay.log import Log

BACK_SECONDS = 5.0
RETAINED = 16 * RETENTION_BYTES
KEY = "ts:{session}:main:out"
FOLLOWED = "ts:{session}:main:followed"
"""Without one of its keys a log's slot is waited for until it has moved (TRYAGAIN); with all, ASK is followed."""


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[RedisCluster]:
    with RedisCluster(tmp_path) as cluster:
        yield cluster


async def assert_back(log: Log, cause: str) -> None:
    """Fail unless all that is printed by now is soon stored."""
    begun, position = time.monotonic(), log.head
    await wait_until(lambda: log.stored >= position, description="what was printed by then is there")
    seconds = time.monotonic() - begun
    print(f"{cause}: recovered in {seconds:.3f} s")  # noqa: T201 - shown by pytest -rP
    assert seconds < BACK_SECONDS


async def test_a_slot_moves_to_another_shard_key_by_key(
    cluster: RedisCluster, tmp_path: Path, rng: random.Random
) -> None:
    async with RedisNode(cluster.url, tmp_path / "logs", heartbeat_seconds=1.0) as node:
        log = await node.create(retention_bytes=RETAINED)
        async with printing(log, rng):
            await node.settle()
            await asyncio.to_thread(cluster.put, FOLLOWED, "nobody")
            move = await asyncio.to_thread(cluster.begin_to_move_slot_of, KEY)
            await asyncio.to_thread(cluster.move_keys, move, 1)
            await wait_until(lambda: "TTL exhausted" in str(node.persister.trouble), description="told: TRYAGAIN")
            await asyncio.to_thread(cluster.move_keys, move, 10)
            await assert_back(log, "ASK")
            await asyncio.to_thread(cluster.end_move, move)
            await assert_back(log, "MOVED")
        await node.settle()
        assert node.persister.figures.gap_bytes == 0
        await assert_same(cluster.url, log)


async def test_a_shard_dies_with_its_log_and_comes_back(
    cluster: RedisCluster, tmp_path: Path, rng: random.Random
) -> None:
    owner = cluster.owner_of(KEY)
    await assert_survives(cluster, tmp_path, rng, dies=cluster.servers.index(owner), told="connect")


async def test_a_cluster_that_serves_nothing_without_one_of_its_shards_is_waited_for(
    cluster: RedisCluster, tmp_path: Path, rng: random.Random
) -> None:
    for server in cluster.servers:
        server.call("CONFIG", "SET", "cluster-require-full-coverage", "yes")
        server.call("CONFIG", "SET", "cluster-node-timeout", 500)
    owner = cluster.owner_of(KEY)
    other = next(number for number, server in enumerate(cluster.servers) if server is not owner)
    await assert_survives(cluster, tmp_path, rng, dies=other, told="cluster is down")


async def assert_survives(cluster: RedisCluster, directory: Path, rng: random.Random, *, dies: int, told: str) -> None:
    async with RedisNode(cluster.url, directory / "logs", heartbeat_seconds=1.0) as node:
        log = await node.create(retention_bytes=RETAINED)
        async with printing(log, rng):
            await node.settle()
            await asyncio.to_thread(cluster.servers[dies].kill)
            await wait_until(lambda: told in str(node.persister.trouble).casefold(), description=f"told: {told}")
            await asyncio.to_thread(cluster.servers[dies].start)
            await asyncio.to_thread(cluster.wait_whole)
            await assert_back(log, told)
        await node.settle()
        assert node.persister.figures.gap_bytes == 0
        await assert_same(cluster.url, log)
