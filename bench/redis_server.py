"""Only this module of the bench starts redis-server, and asks it what it has and what it did."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any

from redis.asyncio import Redis

from bench.client import TIMEOUT_SECONDS, BenchError
from bench.servers import ServerProcess, Usage, free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

LOOK_SECONDS = 0.02


def find_program() -> str | None:
    """Return the machine's redis-server; one that a package brought into this environment is of another age."""
    places = [place for place in os.environ["PATH"].split(os.pathsep) if not place.startswith(sys.prefix)]
    return shutil.which("redis-server", path=os.pathsep.join(places))


@dataclass(frozen=True)
class Kept:
    """What Redis has of one session: bytes of output and entries in the stream, and the memory of all its keys."""

    output_bytes: int
    entries: int
    memory_bytes: int


class RedisServer:
    """A Redis of one's own, in memory alone: what a disk adds is not the service's."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._port = 0
        self._server: ServerProcess

    def missing(self) -> str | None:
        """Look for the program."""
        return None if find_program() else "redis-server is not on PATH"

    @property
    def url(self) -> str:
        """What `REDIS_URL` is set to."""
        return f"redis://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Start it and return when it accepts connections."""
        self._port = free_port()
        program = find_program()
        if program is None:
            raise BenchError("redis-server is not on PATH")
        argv = [program, "--port", str(self._port), "--bind", "127.0.0.1", "--dir", str(self._directory)]
        self._server = ServerProcess([*argv, "--save", "", "--appendonly", "no"], self._directory)
        self._server.wait_for_port(self._port)

    def stop(self) -> None:
        """End it."""
        self._server.stop()

    def usage(self) -> Usage:
        """Measure its one process."""
        return Usage([self._server.process])

    @asynccontextmanager
    async def _asking(self) -> AsyncIterator[Any]:
        async with Redis(port=self._port, socket_timeout=TIMEOUT_SECONDS) as client:
            yield client

    async def info(self) -> dict[str, Any]:
        """Return what INFO says. The connection that asks is counted in it."""
        async with self._asking() as client:
            said: dict[str, Any] = await client.info()
            return said

    async def count_keys(self) -> int:
        """Return how many keys there are."""
        async with self._asking() as client:
            return int(await client.dbsize())

    async def settle(self, session: str, position: int) -> float:
        """Wait until it has all output of a session's terminal up to a position; return when (`perf_counter`)."""
        deadline = perf_counter() + TIMEOUT_SECONDS
        async with self._asking() as client:
            key, head = None, 0
            while head < position:
                if perf_counter() > deadline:
                    raise BenchError(f"Redis has {head} of {position} bytes")
                if key is None:
                    key = next(iter([each async for each in client.scan_iter(f"ts:{{{session}}}:*:log")]), None)
                else:
                    head = int(await client.hget(key, "head") or 0)
                await asyncio.sleep(LOOK_SECONDS)
        return perf_counter()

    async def kept(self, session: str) -> Kept:
        """Weigh what it has of a session."""
        output = entries = memory = 0
        async with self._asking() as client:
            async for key in client.scan_iter(f"ts:{{{session}}}:*"):
                memory += int(await client.memory_usage(key, samples=0) or 0)
                if key.endswith(b":out"):
                    items = await client.xrange(key)
                    entries += len(items)
                    output += sum(len(fields.get(b"d", b"")) for _, fields in items)
        return Kept(output, entries, memory)
