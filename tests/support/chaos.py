"""A TCP proxy that damages connections by a plan: only this module breaks the network on purpose.

In tests::

    async with ChaosProxy((host, port), Plan(seed=7, storm=Storm())) as proxy:
        ...  # connect to proxy.host, proxy.port
    print(proxy.statistics)

From a shell: `python tests/support/chaos.py --target 127.0.0.1:8081 --seed 7`; it prints where to connect.

Memory per connection and direction is bounded by `_QUEUE` chunks of `_CHUNK` bytes; beyond that the sending
peer is not read from and feels it.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import random
import signal
import socket
import struct
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

if not __package__:  # started as a file: its own folder is on the path, the package's is not
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from support.weather import End, Fate, Lane, Plan, Storm, Way

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence
    from types import TracebackType
    from typing import TypeAlias

    Address: TypeAlias = tuple[str, int]
    Choice: TypeAlias = Callable[[int], Address]

_CHUNK = 16 * 1024
_QUEUE = 16
_TICK_SECONDS = 0.02  # a throttled direction moves what is due in this time, then sleeps
_SOCKET_BUFFER_BYTES = 16 * 1024  # of a throttled connection, so that the slowness reaches the sender
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER on, 0 s: close() sends RST and drops what is unsent (socket(7))


@dataclass
class Statistics:
    """What the proxy has done up to now; bytes are those handed to the receiving peer."""

    connections: int = 0
    refused: int = 0
    ended_by_peer: int = 0
    up_bytes: int = 0
    down_bytes: int = 0
    fragments: int = 0
    stalls: int = 0
    ends: dict[str, int] = field(default_factory=dict)

    @property
    def cuts(self) -> int:
        """Connections ended by the proxy, in whatever way."""
        return sum(self.ends.values())


class _Stream:
    """One direction of a connection: reads, delays, fragments, writes, cuts at the exact byte."""

    def __init__(self, way: Way, fate: Fate, statistics: Statistics) -> None:
        self._way = way
        self._lane: Lane = fate.lane(way)
        self._cut = fate.end if fate.cut_way is way else End.NONE
        self._cut_bytes = fate.cut_bytes
        self._statistics = statistics
        self._dice = random.Random(f"{fate.seed}/{way.value}")
        self._queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_QUEUE)
        self._read_bytes = 0
        self._written_bytes = 0
        self._stalled = not self._lane.stall_seconds

    async def read(self, source: socket.socket) -> End:
        """Take from the sending peer, no more than is due, until its end or the cut."""
        loop = asyncio.get_running_loop()
        while limit := self._limit():
            data = await loop.sock_recv(source, limit)
            self._read_bytes += len(data)
            await self._queue.put((loop.time() + self._lane.delay_seconds, data))
            if not data:
                return End.NONE
            if self._lane.bytes_per_second:
                await asyncio.sleep(len(data) / self._lane.bytes_per_second)
        await self._queue.put((loop.time() + self._lane.delay_seconds, b""))
        return End.NONE

    async def write(self, target: socket.socket) -> End:
        """Hand to the receiving peer what its time has come for, until the end of this direction."""
        loop = asyncio.get_running_loop()
        while True:
            due, data = await self._queue.get()
            if (wait := due - loop.time()) > 0:
                await asyncio.sleep(wait)
            if not data:
                break
            await self._stall()
            for piece in self._pieces(data):
                await loop.sock_sendall(target, piece)
                self._count(len(piece))
        if self._cut is not End.NONE and self._read_bytes >= self._cut_bytes:
            return self._cut
        target.shutdown(socket.SHUT_WR)
        return End.NONE

    def _limit(self) -> int:
        limit = _CHUNK
        if self._lane.bytes_per_second:
            limit = min(limit, max(1, int(self._lane.bytes_per_second * _TICK_SECONDS)))
        if not self._stalled:
            limit = min(limit, max(1, self._lane.stall_after_bytes - self._read_bytes))
        if self._cut is not End.NONE:
            limit = min(limit, self._cut_bytes - self._read_bytes)
        return limit

    async def _stall(self) -> None:
        if not self._stalled and self._written_bytes >= self._lane.stall_after_bytes:
            self._stalled = True
            self._statistics.stalls += 1
            await asyncio.sleep(self._lane.stall_seconds)

    def _pieces(self, data: bytes) -> Sequence[bytes]:
        if not self._lane.fragment_bytes:
            return [data]
        pieces = []
        while data:
            size = self._dice.randint(1, self._lane.fragment_bytes)
            pieces.append(data[:size])
            data = data[size:]
        self._statistics.fragments += len(pieces)
        return pieces

    def _count(self, size: int) -> None:
        self._written_bytes += size
        if self._way is Way.UP:
            self._statistics.up_bytes += size
        else:
            self._statistics.down_bytes += size


class _Link:
    """One connection through the proxy, from accept to the last close."""

    def __init__(self, client: socket.socket, fate: Fate, statistics: Statistics) -> None:
        self._client = client
        self._fate = fate
        self._statistics = statistics
        self._end: asyncio.Future[End] = asyncio.get_running_loop().create_future()
        self._steps = 4  # reading and writing, both ways

    def cut(self, end: End) -> None:
        """End this connection now, whatever was planned."""
        if not self._end.done():
            self._end.set_result(end)

    async def run(self, target: tuple[str, int]) -> None:
        """Connect to the target and carry bytes until the planned end, an order to cut, or the peers' end."""
        with self._client, socket.socket(socket.AF_INET, socket.SOCK_STREAM) as server:
            self._prepare(server)
            try:
                await asyncio.get_running_loop().sock_connect(server, target)
            except OSError:
                self._statistics.refused += 1
                _reset(self._client)
                return
            end = await self._carry(server)
            if end is End.NONE:
                self._statistics.ended_by_peer += 1
                return
            self._statistics.ends[end.value] = self._statistics.ends.get(end.value, 0) + 1
            if end is End.FREEZE:
                await asyncio.sleep(self._fate.freeze_seconds)
            if end is not End.FIN:
                _reset(self._client, server)

    def _prepare(self, server: socket.socket) -> None:
        server.settimeout(0)
        for peer in (self._client, server):
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._fate.up.bytes_per_second or self._fate.down.bytes_per_second:
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SOCKET_BUFFER_BYTES)
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SOCKET_BUFFER_BYTES)

    async def _carry(self, server: socket.socket) -> End:
        if self._end.done():  # cut while it connected
            return self._end.result()
        up = _Stream(Way.UP, self._fate, self._statistics)
        down = _Stream(Way.DOWN, self._fate, self._statistics)
        steps = [up.read(self._client), up.write(server), down.read(server), down.write(self._client)]
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(self._guard(step, server), name="chaos step") for step in steps]
            end = await self._end
            for task in running:
                task.cancel()
        return end

    async def _guard(self, step: Coroutine[object, object, End], server: socket.socket) -> None:
        # The end is told by a future, not by an exception: in Python 3.11 an exception in a TaskGroup can
        # replace a cancellation that comes at the same moment (python/cpython#116720).
        try:
            end = await step
        except OSError:
            # One of the peers went away without an end of file: the other one gets the same.
            _reset(self._client, server)
            self.cut(End.NONE)
            return
        self._steps -= 1
        if end is not End.NONE or not self._steps:
            self.cut(end)


def _reset(*peers: socket.socket) -> None:
    for peer in peers:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)


class ChaosProxy:
    """The proxy: a single-use async context manager.

    `target`: where connections go, or what tells it for the number of each.
    Leaving it closes all connections and awaits every task.
    """

    def __init__(self, target: Address | Choice, plan: Plan, *, listen: Address = ("127.0.0.1", 0)) -> None:
        self.target = target
        self.plan = plan
        self.statistics = Statistics()
        self._listener = socket.create_server(listen)
        self._listener.settimeout(0)
        self.host, self.port = self._listener.getsockname()[:2]
        self._links: set[_Link] = set()
        self._task: asyncio.Task[None] | None = None

    @property
    def links(self) -> int:
        """Connections that are open now."""
        return len(self._links)

    def cut_all(self, end: End = End.RST) -> None:
        """End all open connections now."""
        for link in self._links:
            link.cut(end)

    async def run(self) -> None:
        """Accept and carry until cancelled."""
        loop = asyncio.get_running_loop()
        with self._listener:
            async with asyncio.TaskGroup() as tasks:
                while True:
                    client, _ = await loop.sock_accept(self._listener)
                    tasks.create_task(self._carry(client, self.statistics.connections), name="chaos link")
                    self.statistics.connections += 1

    async def _carry(self, client: socket.socket, index: int) -> None:
        link = _Link(client, self.plan.fate(index), self.statistics)
        self._links.add(link)
        try:
            await link.run(self.target(index) if callable(self.target) else self.target)
        finally:
            self._links.discard(link)

    async def __aenter__(self) -> Self:
        """Start accepting."""
        self._task = asyncio.create_task(self.run(), name="chaos proxy")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop accepting, end every connection, wait for every task."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            if not self._task.cancelled():
                self._task.result()  # the proxy itself broke: never in silence


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host or "127.0.0.1", int(port)


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="chaos",
        description="Carry TCP connections to a target and damage them by a plan that the seed decides.",
        epilog="Shares are probabilities per connection. Statistics are printed as JSON at the end (Ctrl-C).",
    )
    parser.add_argument("--listen", type=_address, default=("127.0.0.1", 0), metavar="HOST:PORT")
    parser.add_argument("--target", type=_address, metavar="HOST:PORT", help="where connections go")
    parser.add_argument("--seed", default="0", help="decides every cut, delay and fragment (default: 0)")
    parser.add_argument("--show", type=int, metavar="N", help="print the fates of N connections and end")
    for option in dataclasses.fields(Storm):
        name = "--" + option.name.replace("_", "-")
        default = option.default
        if isinstance(default, tuple):
            kind = type(default[0])
            parser.add_argument(name, nargs=2, type=kind, metavar=("LOW", "HIGH"), default=default)
        else:
            parser.add_argument(name, type=float, metavar="X", default=default)
    arguments = parser.parse_args(argv)
    if arguments.target is None and arguments.show is None:
        parser.error("--target is needed (or --show)")
    return arguments


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


async def _serve(arguments: argparse.Namespace, plan: Plan) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with ChaosProxy(arguments.target, plan, listen=arguments.listen) as proxy:
        _say(f"listening on {proxy.host}:{proxy.port}, seed {plan.seed}")
        await stop.wait()
    _say(json.dumps({**dataclasses.asdict(proxy.statistics), "cuts": proxy.statistics.cuts}))


def main(argv: Sequence[str] | None = None) -> None:
    """Run the proxy from a shell."""
    arguments = _arguments(argv)
    chosen: dict[str, Any] = {}
    for option in dataclasses.fields(Storm):
        value = getattr(arguments, option.name)
        chosen[option.name] = tuple(value) if isinstance(value, list) else value
    storm = Storm(**chosen)
    plan = Plan(arguments.seed, storm)
    if arguments.show is not None:
        for index in range(arguments.show):
            _say(json.dumps(dataclasses.asdict(plan.fate(index)), default=lambda way: way.value))
        return
    asyncio.run(_serve(arguments, plan))


if __name__ == "__main__":
    main()
