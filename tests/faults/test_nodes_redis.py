"""Redis fails under several nodes, or one of them cannot reach it: those at the program work on, then all is well."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import shutil
import signal
import time
from typing import TYPE_CHECKING

from support.chaos import ChaosProxy
from support.fleet import Fleet, output_of, past, stream_command
from support.keystrokes import ECHO
from support.redis_sentinel import RedisSentinel
from support.redis_server import RedisServer
from support.same import assert_same
from support.stream import verify
from support.weather import Plan

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from support.client import Client

RATE = 20_000
FAST_RATE = 2_000_000
FAULT_SECONDS = 3.0
LOCAL_SECONDS = 2.0
"""Whoever is at the node that has the program waits no longer than this for anything: less than Redis is away."""
WELL_SECONDS = 5.0
"""After the cause's end everything is as before within so long."""
RETRY_SECONDS = 0.1


class Company:
    """A program that prints and one that repeats, both at one node; of each a viewer there and one at another node."""

    def __init__(self, fleet: Fleet, seed: int) -> None:
        self.fleet, self.seed = fleet, seed
        self._numbers = itertools.count()
        self._typed = bytearray(b"READY")

    @contextlib.asynccontextmanager
    async def gathered(self) -> AsyncIterator[None]:
        """Begin; in the end compare all that was seen with all that was printed and typed."""
        owner, other = self.fleet.nodes
        prints = (await owner.create_session(command=stream_command(self.seed, RATE)))["session_id"]
        repeats = (await owner.create_session(command=ECHO))["session_id"]
        async with (
            owner.client(prints, retry_seconds=RETRY_SECONDS) as self.near,
            other.client(prints, retry_seconds=RETRY_SECONDS) as self.far,
            owner.client(repeats, retry_seconds=RETRY_SECONDS) as self.local,
            other.client(repeats, retry_seconds=RETRY_SECONDS) as self.distant,
        ):
            await self.distant.wait_for_output(b"READY")
            yield
            self.far.send_input(b"q")
            for client in (self.near, self.far):
                assert (await client.wait_ended())["exit_code"] == 7
            assert self.near.attaches == self.local.attaches == 1, "nobody at the owner noticed anything"
            for client in (self.local, self.distant):
                await client.wait(lambda client=client: client.position >= len(self._typed), "all that was typed")  # type: ignore[misc]
        verify(self.near.data, self.seed)
        assert_same(self.far.data, self.near.data, "what was seen from afar")
        assert_same(self.distant.data, self.local.data, "what was repeated, from afar")
        words = sorted(bytes(self._typed).removeprefix(b"READY").split(b">"))
        assert sorted(self.local.data.removeprefix(b"READY").split(b">")) == words, "each word once"
        for node in self.fleet.nodes:
            assert_same(await node.output(prints), self.near.data, "the output")
            assert_same(await output_of(node, repeats, self.local.position), self.local.data, "the output")

    def type(self, client: Client) -> bytes:
        word = b"<%d>" % next(self._numbers)
        client.send_input(word)
        self._typed += word
        return word

    async def work_on(self, seconds: float) -> None:
        """Be at the owner for so long: what is typed is repeated and what is printed is shown."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            began = time.monotonic()
            await self.local.wait_for_output(self.type(self.local))
            await past(self.near, further=RATE // 20)
            assert time.monotonic() - began < LOCAL_SECONDS
        self.type(self.distant)  # which waits

    async def be_well(self, what: str) -> None:
        """Wait until everybody sees what everybody types, and all that is printed."""
        began = time.monotonic()
        for client in (self.distant, self.local):
            word = self.type(client)
            for viewer in (self.distant, self.local):
                await viewer.wait_for_output(word)
        position = self.near.position
        await self.far.wait(lambda: self.far.position >= position, "what is printed, from afar")
        took = time.monotonic() - began
        print(f"{what}: well after {took:.1f} s")  # noqa: T201 - shown when it fails
        assert took < WELL_SECONDS, what


@contextlib.asynccontextmanager
async def company_of(
    tmp_path: Path, url: str, seed: int, *, proxies: tuple[ChaosProxy, ChaosProxy] | None = None
) -> AsyncIterator[Company]:
    urls = [f"redis://{proxy.host}:{proxy.port}" for proxy in proxies] if proxies else [url, url]
    async with Fleet(tmp_path, urls=urls) as fleet:
        company = Company(fleet, seed)
        async with company.gathered():
            yield company


async def test_redis_pauses_is_restarted_and_forgets_everything(tmp_path: Path) -> None:
    """And one node after the other cannot reach it for a while."""
    with RedisServer(tmp_path, "--appendonly", "yes") as redis:
        target = ("127.0.0.1", redis.port)
        async with (
            ChaosProxy(target, Plan(0)) as owners,
            ChaosProxy(target, Plan(0)) as others,
            company_of(tmp_path, redis.url, 11, proxies=(owners, others)) as company,
        ):
            await company.be_well("at first")

            redis.signal(signal.SIGSTOP)
            await company.work_on(FAULT_SECONDS)
            redis.signal(signal.SIGCONT)
            await company.be_well("Redis was stopped")

            await asyncio.to_thread(redis.stop)
            await company.work_on(1)
            await asyncio.to_thread(redis.start)
            await company.be_well("Redis was restarted")

            for name, proxy in (("the owner", owners), ("the other", others)):
                proxy.target = ("127.0.0.1", 1)
                proxy.cut_all()
                await company.work_on(FAULT_SECONDS)
                proxy.target = target
                await company.be_well(f"{name} was cut off")

            await asyncio.to_thread(redis.kill)
            await asyncio.to_thread(shutil.rmtree, redis.directory / "appendonlydir")
            await company.work_on(1)
            await asyncio.to_thread(redis.start)
            await company.be_well("Redis has forgotten everything")
            await company.fleet.wait_whole()


async def test_a_failover_of_redis(tmp_path: Path) -> None:
    """By the sentinels, of a primary that is killed: what it had alone is given to the next one by the owner."""
    with RedisSentinel(tmp_path) as redis:
        async with company_of(tmp_path, redis.url, 12) as company:
            await company.be_well("at first")
            primary = await asyncio.to_thread(lambda: redis.primary)
            await asyncio.to_thread(primary.kill)
            waiting = asyncio.ensure_future(asyncio.to_thread(redis.wait_for_another_primary, primary))
            while not waiting.done():
                await company.work_on(0.2)
            waiting.result()
            await company.be_well("another one is the primary")


async def test_a_client_that_has_more_than_redis_can_change_nodes(tmp_path: Path) -> None:
    """Its node was cut off from Redis and showed on what was printed: the other one lets it in once it has that too."""
    with RedisServer(tmp_path) as redis:
        target = ("127.0.0.1", redis.port)
        async with (
            ChaosProxy(target, Plan(0)) as owners,
            Fleet(tmp_path, urls=[f"redis://{owners.host}:{owners.port}", redis.url]) as fleet,
            fleet.entrance() as entrance,
        ):
            owner, other = fleet.nodes
            session = (await owner.create_session(command=stream_command(13, FAST_RATE)))["session_id"]
            entrance.target = owner.address
            async with (
                other.client(session, recover_from=None, keep=False, role="viewer") as far,
                owner.client(
                    session, via=(entrance.host, entrance.port), client_id="me", retry_seconds=RETRY_SECONDS
                ) as client,
            ):
                for _ in range(2):
                    owners.target = ("127.0.0.1", 1)
                    owners.cut_all()
                    await past(client, further=FAST_RATE)
                    entrance.target = other.address
                    client.abort()
                    owners.target = target
                    await past(client, further=FAST_RATE // 2)
                    entrance.target = owner.address
                    client.abort()
                    await past(client, further=FAST_RATE // 4)
                client.send_input(b"q")
                await client.wait_ended()
                await far.wait_ended()
            verify(client.data, 13)
