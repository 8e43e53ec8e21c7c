"""A primary makes way for its replica, by an order or by its death: within 5 s Redis has everything again, once."""

from __future__ import annotations

import asyncio
import signal
import time
from typing import TYPE_CHECKING

import pytest
import redis

from replay.redis_persister import Durability
from support.redis_node import RETENTION_BYTES, RedisNode, assert_same, printing
from support.redis_sentinel import Login, RedisSentinel
from support.wait import poll_until, wait_until

if TYPE_CHECKING:
    import random
    from collections.abc import Callable
    from pathlib import Path

    from replay.log import Log
    from support.redis_server import RedisServer

STEADY_PROBES = 20
BACK_SECONDS = 5.0
RETAINED = 16 * RETENTION_BYTES
LINE = 160
HASH = "ts:{session}:main:log"
GUARDED = Login(
    server_options=(
        *("--requirepass", "operator", "--masterauth", "operator"),
        *("--user", "app", "on", ">wörd:/@", "~ts:*", "+@all"),
    ),
    sentinel_lines=(
        "requirepass operator",
        "sentinel auth-pass {name} operator",
        "user watcher on >look +sentinel|masters",
    ),
    user="app:w%C3%B6rd%3A%2F%40@",
    query="?sentinel_username=watcher&sentinel_password=look",
    operator={"password": "operator"},
)


def order(group: RedisSentinel) -> None:
    """Have the sentinels make another one the primary, while the old one lives and takes writes for some 10 s."""
    poll_until(group.fail_over, description="sentinels that know a good replica")


def kill(group: RedisSentinel) -> None:
    """Kill the primary, and let the sentinel that is asked first answer no more."""
    if len(group.sentinels) > 1:
        group.sentinels[0].signal(signal.SIGSTOP)
    group.primary.kill()


@pytest.mark.parametrize(
    ("way", "durability"),
    [
        (order, Durability("redis")),
        (kill, Durability("redis")),
        (order, Durability("replicated", 1)),
        (kill, Durability("replicated", 1)),
    ],
    ids=["order", "kill", "order-replicated", "kill-replicated"],
)
async def test_a_new_primary_has_everything_within_5_s(
    way: Callable[[RedisSentinel], None],
    durability: Durability,
    tmp_path: Path,
    rng: random.Random,
) -> None:
    sentinels = 3 if way is kill and not durability.wanted_replicas else 1  # three take 2 s to find each other
    with RedisSentinel(tmp_path, replicas=durability.wanted_replicas + 1, sentinels=sentinels) as group:
        async with RedisNode(group.url, tmp_path / "logs", durability=durability, heartbeat_seconds=1.0) as node:
            log = await node.create(retention_bytes=RETAINED)
            await node.settle()
            async with printing(log, rng):
                before = group.primary
                await asyncio.to_thread(way, group)
                after = await asyncio.to_thread(group.wait_for_another_primary, before)
                await asyncio.to_thread(until_replicas_answer, after, durability.wanted_replicas)
                seconds = await until_stored(after, log)
                print(f"recovered in {seconds:.3f} s")  # noqa: T201 - shown by pytest -rP
                assert seconds < BACK_SECONDS
            await node.settle()
            assert log.trouble is None
            assert node.ended == []
            assert node.persister.figures.gap_bytes == 0
            await assert_same(group.url, log)
            assert head_at(after) == log.head, "it is the new one that has it"


def until_replicas_answer(server: RedisServer, replicas: int) -> None:
    """Wait until so many replicas have what is written, for some time: a failover turns them round repeatedly."""
    client = redis.Redis(port=server.port, socket_timeout=5, protocol=2, driver_info=None)
    in_a_row = 0

    def have_it() -> bool:
        nonlocal in_a_row
        client.set("ts:probe", "x", px=60_000)
        in_a_row = in_a_row + 1 if client.wait(replicas, 200) >= replicas else 0
        return in_a_row >= STEADY_PROBES

    try:
        poll_until(have_it, description="replicas that have what is written", timeout=60)
    finally:
        client.close()


async def until_stored(server: RedisServer, log: Log) -> float:
    """Wait until a server has all that is printed by now; return how many seconds that took."""
    begun, position = time.monotonic(), log.head
    await wait_until(lambda: head_at(server) >= position, description="what was printed by then is there")
    return time.monotonic() - begun


def head_at(server: RedisServer) -> int:
    return int(server.call("HGET", HASH, "head") or 0)


async def test_servers_and_sentinels_may_ask_for_users_of_their_own(tmp_path: Path, rng: random.Random) -> None:
    with RedisSentinel(tmp_path, login=GUARDED) as group:
        async with RedisNode(group.url, tmp_path / "logs", heartbeat_seconds=1.0) as node:
            log = await node.create(retention_bytes=RETAINED)
            async with printing(log, rng):
                await node.settle()
                before = group.primary
                await asyncio.to_thread(kill, group)
                after = await asyncio.to_thread(group.wait_for_another_primary, before)
                assert await until_stored(after, log) < BACK_SECONDS
            await node.settle()
            await assert_same(group.url, log)


async def test_a_wrong_password_of_the_sentinels_is_told(tmp_path: Path) -> None:
    with RedisSentinel(tmp_path, login=GUARDED) as group:
        async with RedisNode(group.url.replace("=look", "=wrong"), tmp_path / "logs") as node:
            await node.create()
            await wait_until(lambda: node.persister.trouble, description="trouble")
            told = str(node.persister.trouble)
            assert told.startswith("the sentinels name no primary")
            assert f"127.0.0.1:{group.sentinels[0].port} auth" in told
            assert "wrong" not in told
            assert len(told) < LINE


async def test_a_primary_whose_sentinels_are_gone_goes_on(tmp_path: Path) -> None:
    with RedisSentinel(tmp_path) as group:
        async with RedisNode(group.url, tmp_path / "logs") as node:
            log = await node.create()
            log.append(b"before")
            await node.settle()
            group.sentinels[0].kill()
            begun = time.monotonic()
            for number in range(15):  # longer than the sentinels are not asked
                log.append(b"%d" % number)
                await node.settle()
                await asyncio.sleep(0.1)
            assert time.monotonic() - begun < BACK_SECONDS
            assert node.persister.figures.failures == {}
