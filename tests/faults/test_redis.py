"""Whatever Redis says or does, it has everything within 5 s of the cause's end: nothing lost, nothing doubled."""

from __future__ import annotations

import asyncio
import signal
import time
from typing import TYPE_CHECKING

import pytest
import redis as sync_redis

from replay.redis_address import RedisAddress
from replay.redis_connection import TROUBLE, connect, disconnect
from support.redis_node import RETENTION_BYTES, RedisNode, assert_same, printing
from support.redis_server import RedisCluster, RedisServer
from support.wait import wait_until

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator
    from pathlib import Path


BACK_SECONDS = 5.0
RETAINED = 16 * RETENTION_BYTES
"""More than any of these tests prints, so that every byte of it is compared."""


class Fault:
    """One way for Redis to fail: `begin` and `end` it; `error` is what it looks like meanwhile."""

    error = ""
    options: tuple[str, ...] = ()

    def begin(self, server: RedisServer) -> None:
        raise NotImplementedError

    def end(self, server: RedisServer) -> None:
        raise NotImplementedError


class Down(Fault):
    error = "ConnectionError"

    def begin(self, server: RedisServer) -> None:
        server.kill()

    def end(self, server: RedisServer) -> None:
        server.start()


class Frozen(Fault):
    error = "TimeoutError"

    def begin(self, server: RedisServer) -> None:
        server.signal(signal.SIGSTOP)

    def end(self, server: RedisServer) -> None:
        server.signal(signal.SIGCONT)


class Paused(Fault):
    error = "TimeoutError"

    def begin(self, server: RedisServer) -> None:
        server.call("CLIENT", "PAUSE", 60_000, "WRITE")

    def end(self, server: RedisServer) -> None:
        server.call("CLIENT", "UNPAUSE")


class ReadOnly(Fault):
    error = "ReadOnlyError"

    def begin(self, server: RedisServer) -> None:
        server.call("REPLICAOF", "127.0.0.1", 1)

    def end(self, server: RedisServer) -> None:
        server.call("REPLICAOF", "NO", "ONE")


class NoAuth(Fault):
    error = "uthenticat"  # a large command is refused by another sentence than a small one

    def begin(self, server: RedisServer) -> None:
        server.call("CONFIG", "SET", "requirepass", "another")
        server.call("CLIENT", "KILL", "TYPE", "normal", password="another")

    def end(self, server: RedisServer) -> None:
        server.call("CONFIG", "SET", "requirepass", "", password="another")


class OutOfMemory(Fault):
    error = "OutOfMemoryError"

    def begin(self, server: RedisServer) -> None:
        server.call("CONFIG", "SET", "maxmemory", 1)

    def end(self, server: RedisServer) -> None:
        server.call("CONFIG", "SET", "maxmemory", 0)


class Misconfigured(Fault):
    error = "MISCONF"
    options = ("--enable-protected-configs", "yes")

    def begin(self, server: RedisServer) -> None:
        gone = server.directory / "gone"
        gone.mkdir()
        server.call("CONFIG", "SET", "dir", str(gone))
        gone.rmdir()
        server.call("CONFIG", "SET", "save", "3600 1")
        server.call("BGSAVE")
        wait_for_status(server, "err")

    def end(self, server: RedisServer) -> None:
        server.call("CONFIG", "SET", "dir", str(server.directory))
        server.call("BGSAVE")
        wait_for_status(server, "ok")
        server.call("CONFIG", "SET", "save", "")


class TooFewReplicas(Fault):
    error = "NOREPLICAS"

    def begin(self, server: RedisServer) -> None:
        server.call("CONFIG", "SET", "min-replicas-to-write", 1)

    def end(self, server: RedisServer) -> None:
        server.call("CONFIG", "SET", "min-replicas-to-write", 0)


class NoScripts(Fault):
    """A server that has forgotten the scripts: no trouble at all."""

    def begin(self, server: RedisServer) -> None:
        server.call("SCRIPT", "FLUSH")

    def end(self, server: RedisServer) -> None:
        server.call("SCRIPT", "FLUSH")


class NoPermission(Fault):
    error = "NoPermissionError"

    def begin(self, server: RedisServer) -> None:
        server.call("ACL", "SETUSER", "default", "-evalsha", "-eval")

    def end(self, server: RedisServer) -> None:
        server.call("ACL", "SETUSER", "default", "+evalsha", "+eval")


class Cut(Fault):
    """All connections are closed."""

    def begin(self, server: RedisServer) -> None:
        server.call("CLIENT", "KILL", "TYPE", "normal")

    def end(self, server: RedisServer) -> None:
        server.call("CLIENT", "KILL", "TYPE", "normal")


class Loading(Fault):
    """Started again with so much to load that it takes seconds."""

    error = "BusyLoadingError"
    options = ("--appendonly", "no", "--key-load-delay", "20000", "--loading-process-events-interval-bytes", "1024")

    def begin(self, server: RedisServer) -> None:
        for number in range(150):
            server.call("SET", f"ballast{number}", "x" * 100)
        server.call("SAVE")
        server.kill()
        server.start(wait=False)
        server.wait_listening()

    def end(self, server: RedisServer) -> None:
        server.wait_ready()


def wait_for_status(server: RedisServer, status: str) -> None:
    deadline = time.monotonic() + 20
    while server.call("INFO", "persistence")["rdb_last_bgsave_status"] != status:
        assert time.monotonic() < deadline, f"the last BGSAVE to be {status}"
        time.sleep(0.01)


@pytest.fixture(
    params=[
        *(Down, Frozen, Paused, ReadOnly, NoAuth, OutOfMemory, Misconfigured, TooFewReplicas),
        *(NoScripts, NoPermission, Cut, Loading),
    ],
    ids=lambda kind: kind.__name__,
)
def fault(request: pytest.FixtureRequest) -> Fault:
    made: Fault = request.param()
    return made


@pytest.fixture
def server(fault: Fault, tmp_path: Path) -> Iterator[RedisServer]:
    made = RedisServer(tmp_path, *(fault.options or ("--appendonly", "yes", "--appendfsync", "always")))
    with made:
        yield made
        made.signal(signal.SIGCONT)


async def test_redis_has_everything_within_5_s_of_the_causes_end(
    fault: Fault, server: RedisServer, tmp_path: Path, rng: random.Random
) -> None:
    async with RedisNode(server.url, tmp_path / "logs", heartbeat_seconds=1.0) as node:
        log = await node.create(retention_bytes=RETAINED)
        await node.settle()
        async with printing(log, rng):
            await asyncio.to_thread(fault.begin, server)
            if fault.error:
                await wait_until(
                    lambda: node.persister.trouble is not None and fault.error in node.persister.trouble,
                    description=f"trouble with {fault.error}",
                )
            await asyncio.to_thread(fault.end, server)
            ended, position = time.monotonic(), log.head
            await wait_until(lambda: log.stored >= position, description="what was printed by then is there")
            assert time.monotonic() - ended < BACK_SECONDS
        await node.settle()
        assert log.trouble is None
        assert node.ended == []
        assert node.persister.figures.gap_bytes == 0
        await assert_same(server.url, log)


@pytest.mark.full
@pytest.mark.parametrize("appendfsync", ["always", "everysec"])
async def test_redis_is_killed_in_the_middle_of_a_stream_again_and_again(
    appendfsync: str, tmp_path: Path, rng: random.Random, size: Callable[[int, int], int]
) -> None:
    """C6: what Redis has acknowledged and forgotten (everysec) is given to it again, as long as its node has it."""
    kills = size(10, 100)
    with RedisServer(tmp_path, "--appendonly", "yes", "--appendfsync", appendfsync) as server:
        async with RedisNode(server.url, tmp_path / "logs", heartbeat_seconds=0.5) as node:
            log = await node.create(retention_bytes=RETAINED)
            async with printing(log, rng):
                for _ in range(kills):
                    await asyncio.sleep(rng.uniform(0, 0.2))
                    acknowledged = log.stored
                    await asyncio.to_thread(server.kill)
                    await asyncio.to_thread(server.start)
                    if appendfsync == "always" and acknowledged:
                        head = await asyncio.to_thread(server.call, "HGET", "ts:{session}:main:log", "head")
                        assert int(head) >= acknowledged, "nothing acknowledged is lost"
            await node.settle()
            assert node.persister.figures.gap_bytes == 0
            await assert_same(server.url, log)


async def test_a_slot_moves_to_another_shard_and_a_shard_dies(tmp_path: Path, rng: random.Random) -> None:
    with RedisCluster(tmp_path) as cluster:
        async with RedisNode(cluster.url, tmp_path / "logs", heartbeat_seconds=1.0) as node:
            log = await node.create(retention_bytes=RETAINED)
            async with printing(log, rng):
                await node.settle()
                await asyncio.to_thread(cluster.move_slot_of, "ts:{session}:main:out")  # MOVED, ASK
                position = log.head
                await wait_until(lambda: log.stored >= position, description="it is stored where the slot is now")
                owner = await asyncio.to_thread(cluster.owner_of, "ts:{session}:main:out")
                await asyncio.to_thread(owner.kill)  # CLUSTERDOWN
                await wait_until(lambda: log.trouble is not None, description="told")
                await asyncio.to_thread(owner.start)
                await asyncio.to_thread(cluster.wait_whole)
                ended, position = time.monotonic(), log.head
                await wait_until(lambda: log.stored >= position, description="it is stored again")
                assert time.monotonic() - ended < BACK_SECONDS
            await node.settle()
            await assert_same(cluster.url, log)


async def test_a_cancelled_command_never_hands_its_reply_to_the_next_caller(tmp_path: Path, rng: random.Random) -> None:
    with RedisServer(tmp_path) as server:
        client = connect(RedisAddress.parse(server.url))
        try:
            places = asyncio.Semaphore(50)  # a client has at most 100 connections

            async def ask(number: int) -> None:
                word = f"{number}"
                async with places:
                    assert await client.execute_command("ECHO", word) == word.encode()
                    pipeline = client.pipeline(transaction=False)
                    pipeline.execute_command("ECHO", word)
                    pipeline.execute_command("ECHO", word + "!")
                    assert await pipeline.execute() == [word.encode(), word.encode() + b"!"]

            tasks = []
            for number in range(600):
                task = asyncio.ensure_future(ask(number))
                tasks.append(task)
                if rng.random() < 0.5:
                    asyncio.get_running_loop().call_later(rng.uniform(0, 0.01), task.cancel)
                if number % 20 == 0:
                    await asyncio.sleep(0.002)
            results = await asyncio.gather(*tasks, return_exceptions=True)
            assert any(isinstance(result, asyncio.CancelledError) for result in results)
            assert [r for r in results if r is not None and not isinstance(r, asyncio.CancelledError)] == []
        finally:
            await disconnect(client)


async def test_a_blocking_client_waits_longer_than_any_time_out(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as server:
        client = connect(RedisAddress.parse(server.url), blocks=True)
        try:
            waiting = asyncio.ensure_future(client.execute_command("XREAD", "BLOCK", 0, "STREAMS", "s", "$"))
            await asyncio.sleep(6)  # beyond redis-py's own limit of 5 s
            await asyncio.to_thread(server.call, "XADD", "s", "*", "k", "v")
            assert await asyncio.wait_for(waiting, 5)
        finally:
            await disconnect(client)


async def test_an_eviction_policy_that_loses_output_is_warned_about(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with RedisServer(tmp_path, "--maxmemory-policy", "allkeys-lru") as server:
        async with RedisNode(server.url, tmp_path / "logs"):
            await wait_until(lambda: "noeviction" in capfd.readouterr().out, description="a warning")


def test_errors_are_those_that_are_expected() -> None:
    assert issubclass(sync_redis.ReadOnlyError, TROUBLE)
    assert issubclass(ConnectionResetError, TROUBLE)
