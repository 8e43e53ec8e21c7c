"""Whatever becomes of Redis or of a connection to it, a follower has everything again soon, and says so meanwhile."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

import pytest

from replay.redis_connection import TROUBLE
from replay.redis_scripts import Keys
from support.redis_cluster import RedisCluster
from support.redis_following import FollowingNode, Reader, assert_mirrors, wait_level
from support.redis_node import RedisNode
from support.redis_server import RedisServer
from support.wait import wait_until

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator
    from pathlib import Path

BACK_SECONDS = 5.0
RETENTION_BYTES = 1024 * 1024
NAME = "session/main"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path, "--appendonly", "yes", "--appendfsync", "always") as server:
        yield server


async def test_its_connections_are_killed_again_and_again(
    server: RedisServer, tmp_path: Path, rng: random.Random
) -> None:
    async with RedisNode(server.url, tmp_path) as node, FollowingNode(server.url) as followers:
        log = await node.create(NAME, RETENTION_BYTES)
        await node.settle()
        followed = await followers.follow(NAME)
        reader = Reader(followed.log)
        for kind in ("pubsub", "normal") * 3:
            for _ in range(20):
                log.append(rng.randbytes(rng.randrange(1, 3000)))
                log.add_event("resize", {"rows": rng.randrange(9)}, 1.0)
                await asyncio.sleep(0.001)
            server.call("CLIENT", "KILL", "TYPE", kind)
        await wait_level(followed.log, log, seconds=BACK_SECONDS)
        assert_mirrors(followed.log, log)
        assert bytes(reader.data) == log.read_range(0, log.head)
        await wait_until(lambda: followed.trouble is None, description="no trouble", timeout=BACK_SECONDS)


@pytest.mark.parametrize("way", ["killed", "frozen"])
async def test_redis_is_away_for_a_while(server: RedisServer, tmp_path: Path, way: str) -> None:
    async with RedisNode(server.url, tmp_path) as node, FollowingNode(server.url) as followers:
        log = await node.create(NAME, RETENTION_BYTES)
        log.append(b"before ")
        await node.settle()
        followed = await followers.follow(NAME)
        followed.changed = lambda: pytest.fail("it goes on")
        server.kill() if way == "killed" else server.signal(signal.SIGSTOP)
        log.append(b"meanwhile ")
        await wait_until(lambda: followed.trouble, description="it says so")
        assert followed.log.read_range(0, 7) == b"before "
        if way == "killed":
            with pytest.raises(TROUBLE):
                await followers.follow("another/main")
            server.start()
        else:
            server.signal(signal.SIGCONT)
        await wait_level(followed.log, log, seconds=BACK_SECONDS)
        log.append(b"after")
        await wait_level(followed.log, log, seconds=BACK_SECONDS)
        assert_mirrors(followed.log, log)
        await wait_until(lambda: followed.trouble is None, description="no trouble", timeout=BACK_SECONDS)


async def test_whoever_writes_is_asked_again_to_publish(server: RedisServer, tmp_path: Path) -> None:
    async with RedisNode(server.url, tmp_path) as node, FollowingNode(server.url) as followers:
        log = await node.create(NAME, RETENTION_BYTES)
        await node.settle()
        followed = await followers.follow(NAME)
        server.call("SET", Keys.of(NAME).followed, "nothing", "PX", 10_000)
        log.append(b"unheard")
        await wait_level(followed.log, log, seconds=BACK_SECONDS)
        await wait_until(
            lambda: server.call("GET", Keys.of(NAME).followed) == b"SPUBLISH", description="it is asked for again"
        )


async def test_its_slot_moves_to_another_primary(tmp_path: Path, rng: random.Random) -> None:
    with RedisCluster(tmp_path) as cluster:
        async with RedisNode(cluster.url, tmp_path) as node, FollowingNode(cluster.url) as followers:
            log = await node.create(NAME, RETENTION_BYTES)
            log.append(b"before")
            await node.settle()
            followed = await followers.follow(NAME)
            reader = Reader(followed.log)
            followed.changed = lambda: pytest.fail("it goes on")
            for _ in range(2):
                await asyncio.to_thread(cluster.move_slot_of, Keys.of(NAME).stream)
                log.append(rng.randbytes(100_000))
                await wait_level(followed.log, log, seconds=BACK_SECONDS)
                new = cluster.owner_of(Keys.of(NAME).stream)
                await wait_until(
                    lambda new=new: new.call("PUBSUB", "SHARDNUMSUB", Keys.of(NAME).live)[1] == 1,  # type: ignore[misc]
                    description="it is heard from the new one",
                )
                await wait_until(lambda: followed.trouble is None, description="no trouble")
            assert_mirrors(followed.log, log)
            assert bytes(reader.data) == log.read_range(0, log.head)
