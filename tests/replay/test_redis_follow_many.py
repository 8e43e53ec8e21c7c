"""Following many logs costs no more connections than following one, and about as much for each byte."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest
import redis

from replay.redis_copy import CHUNK_BYTES
from replay.redis_scripts import APPEND, CLAIM, Call, Keys
from support.redis_cluster import RedisCluster
from support.redis_following import FollowingNode, keys_left
from support.redis_server import RedisServer
from support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

EPOCH = "0123456789abcdef"
PIECE = b"x" * 4096
RATIO = 3.0


class Printer:
    """Appends to many logs from another thread, as other nodes do."""

    def __init__(self, client: Any, names: Sequence[str]) -> None:
        self._client = client
        self._heads = dict.fromkeys(names, 0)
        for name in names:
            self._call(Call(CLAIM, Keys.of(name), (EPOCH, 1, 0, 1024 * 1024, 60_000)))

    def _call(self, call: Call) -> None:
        reply = self._client.execute_command(*call.words(whole=True))
        assert reply[0] in (b"claimed", b"stored"), reply

    def print(self, times: int) -> int:
        """Print a piece to each in turn, so often in all; return how many bytes."""
        names = list(self._heads)
        for number in range(times):
            name = names[number % len(names)]
            head = self._heads[name]
            self._call(Call(APPEND, Keys.of(name), (EPOCH, 1, 0, 60_000, head, "d", 1, PIECE)))
            self._heads[name] = head + len(PIECE)
        return times * len(PIECE)


async def cost_of(url: str, client: Any, count: int, times: int) -> float:
    """Return the CPU seconds of the follower for each byte of so many logs."""
    names = [f"{count}-{number}/main" for number in range(count)]
    printer = await asyncio.to_thread(Printer, client, names)
    async with FollowingNode(url) as followers:
        logs = [(await followers.follow(name)).log for name in names]
        await asyncio.sleep(0)
        begun = time.thread_time()
        size = await asyncio.to_thread(printer.print, times)
        await wait_until(lambda: sum(log.head for log in logs) == size, description="all of it")
        spent = time.thread_time() - begun
        assert all(log.read_range(log.first, log.head) == b"x" * (log.head - log.first) for log in logs)
    assert len(PIECE) <= CHUNK_BYTES
    return spent / size


def connections(server: RedisServer) -> int:
    listed: bytes = server.call("CLIENT", "LIST")
    return sum(b" name=" in line for line in listed.splitlines())


@pytest.mark.full
async def test_the_cpu_for_a_byte_is_flat(tmp_path: Path, size: Callable[[int, int], int]) -> None:
    with RedisServer(tmp_path) as server:
        client = redis.Redis(port=server.port, protocol=2)
        times = size(3000, 30_000)
        await cost_of(server.url, client, 2, 300)  # warm
        one = await cost_of(server.url, client, 1, times)
        many = await cost_of(server.url, client, size(200, 1000), times)
        client.close()
        print(f"{one * 1e9:.1f} ns a byte for one log, {many * 1e9:.1f} for many")  # noqa: T201
        assert many <= RATIO * one
        left = await keys_left(server.url)
        assert all(milliseconds > 0 for milliseconds in left.values())


@pytest.mark.full
async def test_the_connections_stay_the_same(tmp_path: Path, size: Callable[[int, int], int]) -> None:
    with RedisServer(tmp_path) as server:
        client = redis.Redis(port=server.port, protocol=2)
        names = [f"s{number}/main" for number in range(size(200, 1000))]
        await asyncio.to_thread(Printer, client, names)
        before = connections(server)
        async with FollowingNode(server.url) as followers:
            await followers.follow(names[0])
            assert connections(server) <= before + 2
            await asyncio.gather(*(followers.follow(name) for name in names))
            assert connections(server) <= before + 2
        client.close()


@pytest.mark.full
async def test_the_connections_to_a_cluster_stay_the_same(tmp_path: Path, size: Callable[[int, int], int]) -> None:
    with RedisCluster(tmp_path) as cluster:
        client = redis.RedisCluster(port=cluster.servers[0].port, host="127.0.0.1", protocol=2)
        names = [f"s{number}/main" for number in range(size(200, 1000))]
        await asyncio.to_thread(Printer, client, names)
        before = [connections(server) for server in cluster.servers]
        async with FollowingNode(cluster.url) as followers:
            await asyncio.gather(*(followers.follow(name) for name in names))
            await asyncio.sleep(0.1)
            for server, count in zip(cluster.servers, before, strict=True):
                assert connections(server) <= count + 2
        client.close()
