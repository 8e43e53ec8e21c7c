"""Whatever Redis says or does, it has everything within 5 s of the cause's end: nothing lost, nothing doubled."""

from __future__ import annotations

import asyncio
import signal
import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import pytest
import redis as sync_redis

from replay.redis_connection import TROUBLE
from support.chaos import ChaosProxy
from support.redis_node import RETENTION_BYTES, RedisNode, assert_same, printing
from support.redis_server import RedisServer
from support.wait import wait_until
from support.weather import End, Fate, Plan, Way

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator
    from pathlib import Path


BACK_SECONDS = 5.0
RETAINED = 16 * RETENTION_BYTES
"""More than any of these tests prints, so that every byte of it is compared."""


class Fault(ABC):
    """One way for Redis to fail: `begin` and `end` it; `error` is what it looks like meanwhile."""

    error = ""
    options: tuple[str, ...] = ()
    user = ""
    """As whom we come, with the `@` of the URL."""

    @abstractmethod
    def begin(self, server: RedisServer) -> None:
        """Have it fail."""

    @abstractmethod
    def end(self, server: RedisServer) -> None:
        """Have it work again."""


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


class WrongPassword(Fault):
    error = "invalid username-password"
    options = ("--user", "app", "on", ">secret", "~ts:*", "+@all")
    user = "app:secret@"

    def begin(self, server: RedisServer) -> None:
        server.call("ACL", "SETUSER", "app", "resetpass", ">another")
        server.call("CLIENT", "KILL", "USER", "app")

    def end(self, server: RedisServer) -> None:
        server.call("ACL", "SETUSER", "app", ">secret")


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
        server.has_ballast = True
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
        *(Down, Frozen, Paused, ReadOnly, NoAuth, WrongPassword, OutOfMemory, Misconfigured, TooFewReplicas),
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
    url = server.url.replace("//", f"//{fault.user}", 1)
    async with RedisNode(url, tmp_path / "logs", heartbeat_seconds=1.0) as node:
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
            seconds = time.monotonic() - ended
            print(f"{type(fault).__name__}: recovered in {seconds:.3f} s")  # noqa: T201 - shown by pytest -rP
            assert seconds < BACK_SECONDS
        await node.settle()
        assert log.trouble is None
        assert node.ended == []
        assert node.persister.figures.gap_bytes == 0
        await assert_same(server.url, log)


HALF_OPEN = Fate(freeze_seconds=600)
SWALLOWED = Fate(end=End.FREEZE, cut_way=Way.UP, freeze_seconds=600)


async def test_a_network_that_swallows_everything_is_given_up(tmp_path: Path, rng: random.Random) -> None:
    """Half open: connections stay, new ones are made, and nothing comes of what is sent."""
    with RedisServer(tmp_path, "--appendonly", "yes", "--appendfsync", "always") as server:
        async with ChaosProxy(("127.0.0.1", server.port), Plan(0, every=HALF_OPEN)) as proxy:
            url = f"redis://127.0.0.1:{proxy.port}"
            async with RedisNode(url, tmp_path / "logs", heartbeat_seconds=1.0) as node:
                log = await node.create(retention_bytes=RETAINED)
                await node.settle()
                async with printing(log, rng):
                    proxy.plan = Plan(0, every=SWALLOWED)
                    proxy.cut_all(End.FREEZE)
                    await wait_until(lambda: "TimeoutError" in str(node.persister.trouble), description="trouble")
                    proxy.plan = Plan(0, every=HALF_OPEN)
                    ended, position = time.monotonic(), log.head
                    await wait_until(lambda: log.stored >= position, description="what was printed by then is there")
                    seconds = time.monotonic() - ended
                    print(f"half open: recovered in {seconds:.3f} s")  # noqa: T201 - shown by pytest -rP
                    assert seconds < BACK_SECONDS
                await node.settle()
                assert node.persister.figures.gap_bytes == 0
                await assert_same(server.url, log)


async def test_an_eviction_policy_that_loses_output_is_warned_about(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with RedisServer(tmp_path, "--maxmemory-policy", "allkeys-lru") as server:
        async with RedisNode(server.url, tmp_path / "logs"):
            await wait_until(lambda: "noeviction" in capfd.readouterr().out, description="a warning")


def test_errors_are_those_that_are_expected() -> None:
    assert issubclass(sync_redis.ReadOnlyError, TROUBLE)
    assert issubclass(ConnectionResetError, TROUBLE)
