"""How cost grows with sessions: the same output, spread over one terminal or over hundreds, and none at all."""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any, Self

from bench.client import TIMEOUT_SECONDS, BenchError, connect
from bench.servers import Usage
from bench.wires import RawWire

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

    from bench.client import Connection
    from bench.nodes import Nodes
    from bench.servers import Service

MEGA = 1e6
BYTES_PER_SECOND = 1_000_000
"""What all terminals print together, however many there are."""
SCREEN = b"".join(
    b"line %02d of a screen: the quick brown fox jumps over the lazy dog .....\r\n" % n for n in range(26)
)
"""What one terminal prints at once: about what a full-screen program paints."""
RETENTION_BYTES = 256 * 1024
# The program of these terminals prints nothing: the bench writes to the terminal in its place, so that hundreds of
# programs cost nothing. It says where that is.
_PROGRAM = 'stty -echo -opost; tty > "$0.new"; mv "$0.new" "$0"; exec sleep 86400'


@dataclass(frozen=True)
class Spent:
    """What a stretch of time cost each part: CPU seconds, commands, and bytes in and out of Redis."""

    seconds: float
    owner_cpu: float
    follower_cpu: float
    redis_cpu: float
    commands: int
    redis_in: int
    redis_out: int

    def since(self, before: Spent) -> Spent:
        """Return what was spent after an earlier moment, both counted from the same beginning."""
        return Spent(
            self.seconds - before.seconds,
            self.owner_cpu - before.owner_cpu,
            self.follower_cpu - before.follower_cpu,
            self.redis_cpu - before.redis_cpu,
            self.commands - before.commands,
            self.redis_in - before.redis_in,
            self.redis_out - before.redis_out,
        )


@dataclass(frozen=True)
class Grown:
    """What so many more sessions, which have printed nothing, added to Redis; and its connections from then on."""

    made: int
    keys: int
    redis_bytes: int
    connections: int


class Growth:
    """Two nodes with more and more sessions at the first one; followed ones have a viewer at the second."""

    def __init__(self, nodes: Nodes, directory: Path, *, followed: bool, settle_seconds: float) -> None:
        """Begin with no session at nodes that run. `settle_seconds`: until what is made is known everywhere."""
        self._settle_seconds = settle_seconds
        self._nodes = nodes
        self._directory = directory
        self._followed = followed
        self._terminals: list[_Terminal] = []
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Begin."""
        return self

    async def __aexit__(self, *error: object) -> None:
        """Hang up, and end the sessions."""
        await self._stack.aclose()
        for terminal in self._terminals:
            os.close(terminal.descriptor)
        delete = self._nodes.owner.delete
        await asyncio.gather(*(asyncio.to_thread(delete, terminal.session) for terminal in self._terminals))

    async def grow(self, count: int) -> Grown:
        """Have so many sessions, and return when they are quiet."""
        before, keys = await self._nodes.redis.info(), await self._nodes.redis.count_keys()
        made = count - len(self._terminals)
        while len(self._terminals) < count:
            self._terminals.append(await self._open())
        await asyncio.sleep(self._settle_seconds)
        info = await self._nodes.redis.info()
        return Grown(
            made=made,
            keys=await self._nodes.redis.count_keys() - keys,
            redis_bytes=int(info["used_memory"]) - int(before["used_memory"]),
            connections=int(info["connected_clients"]) - 1,  # without the one that asks
        )

    async def _open(self) -> _Terminal:
        path = self._directory / f"terminal-{self._nodes.redis.url.rpartition(':')[2]}-{len(self._terminals)}"
        command = ("sh", "-c", _PROGRAM, str(path))
        session = await asyncio.to_thread(_create, self._nodes.owner, command)
        viewer = None
        if self._followed:
            viewer = await connect(self._nodes.follower.address(session), RawWire())
            self._stack.push_async_callback(_hang_up, viewer)
        deadline = perf_counter() + TIMEOUT_SECONDS
        while not path.exists():
            if perf_counter() > deadline:
                raise BenchError(f"session {session} has not started")
            await asyncio.sleep(0.002)
        descriptor = os.open(path.read_text().strip(), os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK)
        return _Terminal(session, descriptor, viewer)

    async def idle(self, seconds: float) -> Spent:
        """Do nothing for so long."""
        return await self._weigh(lambda: asyncio.sleep(seconds))

    async def print(self, seconds: float) -> tuple[int, Spent]:
        """Print on all terminals in turn for so long; return how many bytes, and what they cost.

        It is over when Redis has all, and the viewers too; raises BenchError if they have anything else.
        """
        screens = int(seconds * BYTES_PER_SECOND / len(SCREEN))
        spent = await self._weigh(lambda: self._print(screens))
        return screens * len(SCREEN), spent

    async def _print(self, screens: int) -> None:
        start = perf_counter()
        for number in range(screens):
            due = start + number * len(SCREEN) / BYTES_PER_SECOND
            await asyncio.sleep(max(due - perf_counter(), 0))
            await self._terminals[number % len(self._terminals)].print()
        for terminal in self._terminals:
            await terminal.arrived()
        last = self._terminals[(screens - 1) % len(self._terminals)]
        await self._nodes.redis.settle(last.session, last.printed)

    async def _weigh(self, work: Callable[[], Awaitable[None]]) -> Spent:
        before = await self._look()
        await work()
        return (await self._look()).since(before)

    async def _look(self) -> Spent:
        nodes = self._nodes
        info: dict[str, Any] = await nodes.redis.info()
        return Spent(
            seconds=perf_counter(),
            owner_cpu=Usage(nodes.owner.processes).cpu_seconds,
            follower_cpu=Usage(nodes.follower.processes).cpu_seconds,
            redis_cpu=nodes.redis_usage().cpu_seconds,
            commands=int(info["total_commands_processed"]),
            redis_in=int(info["total_net_input_bytes"]),
            redis_out=int(info["total_net_output_bytes"]),
        )


class _Terminal:
    """A terminal the bench prints on, and its viewer if it has one."""

    def __init__(self, session: str, descriptor: int, viewer: Connection | None) -> None:
        self.session = session
        self.descriptor = descriptor
        self.printed = 0
        self._viewer = viewer

    async def print(self) -> None:
        """Print a screen; wait, like any program, while the node reads no further."""
        left = memoryview(SCREEN)
        while left:
            try:
                left = left[os.write(self.descriptor, left) :]
            except BlockingIOError:
                await asyncio.sleep(0.001)
        self.printed += len(SCREEN)

    async def arrived(self) -> None:
        """Wait until the viewer has what was printed."""
        if self._viewer is None:
            return
        deadline = perf_counter() + TIMEOUT_SECONDS
        while len(output := self._viewer.output()) < self.printed:
            if self._viewer.closed or perf_counter() > deadline:
                raise BenchError(f"a viewer got {len(output)} of {self.printed} bytes")
            await asyncio.sleep(0.005)
        if output != SCREEN * (self.printed // len(SCREEN)):
            raise BenchError("a viewer got something else than was printed")


def _create(service: Service, command: Sequence[str]) -> str:
    return str(service.create(command, retention_bytes=RETENTION_BYTES)["session_id"])


async def _hang_up(viewer: Connection) -> None:
    viewer.transport.disconnect()
    await viewer.transport.wait_disconnected()
