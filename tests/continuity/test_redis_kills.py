"""C6: Redis is killed in the middle of a stream, again and again; viewers do not notice."""

from __future__ import annotations

import asyncio
import shutil
from typing import TYPE_CHECKING

import pytest

from replay.redis_reader import Chunk
from support.redis_node import RETENTION_BYTES, RedisNode, assert_same, printing, read_all
from support.redis_server import RedisServer
from support.service import Service
from support.wait import wait_until

if TYPE_CHECKING:
    import random
    from collections.abc import Callable
    from pathlib import Path

    from replay.log import Log

ALWAYS = ("--appendonly", "yes", "--appendfsync", "always")
EVERYSEC = ("--appendonly", "yes", "--appendfsync", "everysec")
HASH = "ts:{session}:main:log"
RETAINED = 16 * RETENTION_BYTES
COUNT = "i=0; while [ ! -e stop ]; do echo $i; i=$((i+1)); sleep 0.01; done; echo DONE $i; sleep 600"


@pytest.mark.full
async def test_a_viewer_stays_while_redis_is_killed_and_loses_nothing_it_has_acknowledged(
    tmp_path: Path, rng: random.Random, size: Callable[[int, int], int]
) -> None:
    kills, home = size(20, 200), tmp_path / "home"
    home.mkdir()
    with RedisServer(tmp_path, *ALWAYS) as server:
        async with Service(tmp_path, REDIS_URL=server.url) as service:
            created = await service.create_session(command=["sh", "-c", COUNT], cwd=str(home))
            session = str(created["session_id"])
            async with service.client(session) as client:
                await client.wait_for_output(b"\n5\r")
                for _ in range(kills):
                    await asyncio.sleep(rng.uniform(0, 0.3))
                    await assert_kill_forgets_nothing(server, f"ts:{{{session}}}:main:log")
                (home / "stop").touch()
                await client.wait_for_output(b"DONE")
                number = int((await client.wait_for_output(rb"DONE (\d+)\r\n")).group(1))
                seen = client.data
                assert client.attaches == 1
            assert seen == b"".join(b"%d\r\n" % each for each in range(number)) + b"DONE %d\r\n" % number
            await wait_until(lambda: _has(server.url, session, seen), description="the same output in Redis")
            await service.delete(session)


async def assert_kill_forgets_nothing(server: RedisServer, key: str) -> None:
    """Kill a server and start it again; fail if it then has less than it said it had."""
    acknowledged = int(await asyncio.to_thread(server.call, "HGET", key, "head") or 0)
    await asyncio.to_thread(server.kill)
    await asyncio.to_thread(server.start)
    assert int(await asyncio.to_thread(server.call, "HGET", key, "head") or 0) >= acknowledged


async def _has(url: str, session: str, expected: bytes) -> bool:
    items = await read_all(url, f"{session}/main")
    return b"".join(item.data for item in items if isinstance(item, Chunk)) == expected


@pytest.mark.full
async def test_what_a_crash_made_redis_forget_it_is_given_again(
    tmp_path: Path, rng: random.Random, size: Callable[[int, int], int]
) -> None:
    """With everysec a machine that crashes loses what Redis has acknowledged; its node has it in the ring."""
    with RedisServer(tmp_path, *EVERYSEC) as server:
        async with RedisNode(server.url, tmp_path / "logs", heartbeat_seconds=0.5) as node:
            log = await node.create(retention_bytes=RETAINED)
            async with printing(log, rng):
                forgotten = 0
                for _ in range(size(10, 100)):
                    await asyncio.sleep(rng.uniform(0, 0.2))
                    acknowledged = log.stored
                    await asyncio.to_thread(crash, server, rng)
                    head = await asyncio.to_thread(server.call, "HGET", HASH, "head")
                    forgotten += int(head or 0) < acknowledged
                assert forgotten, "no crash made it forget anything"
            await node.settle()
            assert node.persister.figures.gap_bytes == 0
            await assert_same(server.url, log)


def crash(server: RedisServer, rng: random.Random) -> None:
    """Kill it, and lose the end of its file, as its machine does that had not written it yet; start it again."""
    server.kill()
    [file] = (server.directory / "appendonlydir").glob("*.incr.aof")
    with file.open("r+b") as aof:
        length = aof.seek(0, 2)
        aof.truncate(max(0, length - rng.randrange(4000)))
    server.start()


@pytest.mark.full
@pytest.mark.parametrize("options", [ALWAYS, EVERYSEC], ids=["always", "everysec"])
async def test_without_the_nodes_ring_what_redis_had_is_gone_on_with_behind_a_told_gap(
    options: tuple[str, ...], tmp_path: Path, rng: random.Random, size: Callable[[int, int], int]
) -> None:
    for number in range(size(3, 30)):
        directory = tmp_path / str(number)
        directory.mkdir()
        with RedisServer(directory, *options) as server:
            async with RedisNode(server.url, directory / "logs") as node:
                log = await node.create(retention_bytes=RETAINED)
                async with printing(log, rng):
                    await wait_until(lambda log=log: log.stored > 3000, description="some output")  # type: ignore[misc]
                acknowledged, printed = log.stored, log.read_range(0, log.head)
                if options is EVERYSEC:
                    await asyncio.to_thread(crash, server, rng)
                    acknowledged = 0
                else:
                    server.kill()
            shutil.rmtree(directory / "logs")
            if options is ALWAYS:
                server.start()
            async with RedisNode(server.url, directory / "logs") as node:
                await assert_goes_on(await node.open(), printed, acknowledged)
                await node.settle()


async def assert_goes_on(log: Log, printed: bytes, acknowledged: int) -> None:
    """Fail unless a log begins as what was printed, with all that was acknowledged, and tells that there is a gap."""
    assert log.head >= acknowledged
    assert log.read_range(0, log.head) == printed[: log.head]
    told = log.last_event("gap", log.head)
    assert told is not None
    assert told.position == log.head
    log.append(b"and on")
