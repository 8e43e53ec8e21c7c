"""Copies the logs of this node to Redis, behind whoever appends to them: one persister a node.

A log is appended to in local memory (a ring file) and nowhere else on the way of a byte. The persister is one more
cursor on it. Its ring is larger than what is retained, and that is the spool: output that Redis has not taken yet
stays there, however long Redis is away and whoever is killed meanwhile, and what does not fit is not read from the
terminal (`Log.is_full`): the program waits, as at a terminal that is slow.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from replay.redis_connection import TROUBLE, connect, disconnect, explain
from replay.redis_copy import Copy, State
from replay.redis_lane import Figures, Lane

if TYPE_CHECKING:
    from collections.abc import Callable

    from replay.log import Log
    from replay.redis_address import RedisAddress

HEARTBEAT_SECONDS = 15.0
"""So often the time to live of an idle log is refreshed, and it is seen whether Redis still has it."""
CHECK_SECONDS = 5.0
"""Between two tries to learn how Redis is set up."""
STOP_SECONDS = 0.5
"""How long the last commands may take."""
CLUSTER_LANES = 4
"""So that one shard that hangs holds up only some of the others."""
MARGIN_BYTES = 2 * 1024 * 1024
"""What a terminal may still append after it was told to wait: 16 reads of 64 KiB, and what a drain brings."""
BACKLOG_BYTES = 4 * 1024 * 1024
"""The least that may wait for Redis, however little is retained."""

log = structlog.get_logger()


def ring_capacity(retention_bytes: int) -> int:
    """Return how many bytes the ring of a log holds that is copied: what is retained, and the spool."""
    return max(retention_bytes, BACKLOG_BYTES) + MARGIN_BYTES


@dataclass(frozen=True)
class Durability:
    """When output counts as stored, and what happens when Redis does not keep up.

    `memory`: when it is in the ring file of this node. Redis gets a copy as soon as it can; nobody ever waits for it,
    and what it could not be given is told there as a gap. Survives the service; not the node.
    `redis`: when Redis has acknowledged it. A program waits once the spool is full. Survives the node, and Redis as
    its own `appendfsync` and replication allow; what Redis forgets is given to it again from the ring.
    `replicated`: when so many `replicas` have acknowledged it too (WAIT). Survives a failover to one of them.
    """

    level: str = "redis"
    replicas: int = 1

    @property
    def margin_bytes(self) -> int | None:
        """What to begin the copying of a log with."""
        return None if self.level == "memory" else MARGIN_BYTES

    @property
    def wanted_replicas(self) -> int:
        """How many replicas WAIT is to wait for."""
        return self.replicas if self.level == "replicated" else 0


class Persister:
    """All logs of a node on their way to Redis. `run` owns its tasks; it is single-use."""

    def __init__(
        self,
        address: RedisAddress,
        *,
        durability: Durability,
        ttl_seconds: float,
        heartbeat_seconds: float = HEARTBEAT_SECONDS,
        on_over: Callable[[str, State], None] | None = None,
    ) -> None:
        """Begin with no logs. `on_over` is called with the name of a log whose copy cannot go on, and why not."""
        self.figures = Figures()
        self._address = address
        self._durability = durability
        self._ttl_seconds = ttl_seconds
        self._heartbeat_seconds = min(heartbeat_seconds, ttl_seconds / 4)
        self._on_over = on_over
        self._copies: dict[str, Copy] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = asyncio.Event()
        self._settled = asyncio.Event()
        replicas = durability.wanted_replicas
        self._lanes = [
            Lane(address, replicas=replicas, figures=self.figures, settled=self._settled, over=self._forget)
            for _ in range(CLUSTER_LANES if address.kind == "cluster" else 1)
        ]

    # -- the logs

    def add(self, name: str, output: Log, *, after_writer: int = 0) -> None:
        """Begin to copy a log. In any thread, if nobody else uses the log meanwhile.

        `after_writer`: the number of the last writer, if its file does not know it.
        """
        number = output.begin_copying(margin_bytes=self._durability.margin_bytes, after_writer=after_writer)
        copy = Copy(name, output, number=number, ttl_seconds=self._ttl_seconds, wake=self._wake)
        self._copies[name] = copy
        self._call(Copy.touch, copy)

    def remove(self, name: str) -> None:
        """Delete a log in Redis too, as soon as that can be done; removing twice is harmless. In any thread."""
        copy = self._copies.get(name)
        if copy is not None:
            self._call(self._delete, copy)

    def _call(self, work: Callable[[Copy], None], copy: Copy) -> None:
        if self._loop is None:
            work(copy)
        else:
            with contextlib.suppress(RuntimeError):  # the loop is closed: the next process goes on
                self._loop.call_soon_threadsafe(work, copy)

    def _delete(self, copy: Copy) -> None:
        copy.end(State.DELETED)
        copy.touch()

    def _wake(self, copy: Copy) -> None:
        self._lanes[hash(copy.name) % len(self._lanes)].wake(copy)

    def _forget(self, copy: Copy) -> None:
        if self._copies.get(copy.name) is copy:
            del self._copies[copy.name]
        if self._on_over is not None and copy.state in (State.FENCED, State.FORKED):
            self._on_over(copy.name, copy.state)

    # -- how it goes

    @property
    def trouble(self) -> str | None:
        """Why output does not reach Redis; None while it does."""
        return next((lane.trouble for lane in self._lanes if lane.trouble is not None), None)

    @property
    def backlog_bytes(self) -> int:
        """How much output Redis does not have yet."""
        return sum(copy.backlog_bytes for copy in self._copies.values())

    async def settle(self, seconds: float) -> bool:
        """Wait until Redis has everything there is now; return whether it does. Not while it is in trouble."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._is_behind and self.trouble is None:
                    self._settled.clear()
                    await self._settled.wait()
        return not self._is_behind

    @property
    def _is_behind(self) -> bool:
        return any(copy.is_behind for copy in self._open())

    def _open(self) -> list[Copy]:
        return [copy for copy in self._copies.values() if copy.state is State.OPEN and not copy.log.is_closed]

    # -- life of the component

    async def run(self) -> None:
        """Copy until `stop`. Needs no Redis to begin."""
        self._loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as tasks:
            working = [tasks.create_task(lane.run(), name="redis lane") for lane in self._lanes]
            working.append(tasks.create_task(self._check_server(), name="redis check"))
            beating = tasks.create_task(self._beat(), name="redis heartbeat")
            try:
                await self._stopping.wait()
            finally:
                self._loop = None
                self._stopping.set()
                for lane in self._lanes:
                    lane.stop()
                beating.cancel()
                # A command that is cancelled costs its connection; one on its way is nearly always answered at once.
                await asyncio.wait(working, timeout=STOP_SECONDS)
                for task in working:
                    task.cancel()

    def stop(self) -> None:
        """End soon; what is not copied then is by the next process."""
        self._stopping.set()

    async def _beat(self) -> None:
        """Give every log a turn that had none for a while."""
        while True:
            await asyncio.sleep(self._heartbeat_seconds)
            for copy in self._open():
                copy.touch()

    async def _check_server(self) -> None:
        """Look once how Redis is set up, and warn of what would lose output."""
        while not self._stopping.is_set():
            client = connect(self._address)
            try:
                targets = {"target_nodes": "primaries"} if self._address.kind == "cluster" else {}
                found = await client.info("memory", **targets)
            except TROUBLE as error:
                if "NOPERM" in str(error):
                    log.info("Redis does not say how it is set up", reason=explain(error))
                    return
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(CHECK_SECONDS):
                        await self._stopping.wait()
                continue
            finally:
                await disconnect(client)
            nodes = found.values() if self._address.kind == "cluster" else [found]
            policies = {str(node.get("maxmemory_policy", "noeviction")) for node in nodes}
            if policies != {"noeviction"}:
                log.warning("Redis may evict output: set maxmemory-policy noeviction", policy=",".join(policies))
            return
