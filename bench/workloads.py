"""Only this module says what is done to every server, in which order, and which numbers come of it.

Every function measures one contender, or several in turns, once. The rounds are in `bench.plan`:
contenders take turns within a round, so that a drift of the machine meets all of them.
"""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
from collections import deque
from contextlib import AsyncExitStack
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Protocol

from bench.client import TIMEOUT_SECONDS, BenchError, connect, terminal
from bench.nodes import Nodes
from bench.servers import ROOT
from bench.text import READY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.client import Connection
    from bench.servers import Server, Service
    from bench.text import Text
    from bench.wires import Wire

MEGA = 1e6
KEYS = b"abcdefghijklmnopqrstuvwxyz"
KEY_SPACING_SECONDS = 0.002


@dataclass(frozen=True)
class Contender:
    """A running server spoken to in one of its encodings."""

    name: str
    server: Server
    wire: Wire
    ack: bool = False


@dataclass(frozen=True)
class Printed:
    """One measured print of a text: how fast it arrived and what it cost the server."""

    bulk_mb_per_second: float
    cpu_seconds_per_mb: float
    frames: float | None = None
    stored_mb_per_second: float | None = None  # until Redis had it too
    redis_cpu_seconds_per_mb: float | None = None


async def print_once(contender: Contender, text: Text) -> Printed:
    """Print `text` in a new terminal with one viewer."""
    if isinstance(contender.server, Nodes):
        return await _print_to_redis(contender, contender.server, text)
    url = contender.server.open()
    async with terminal(url, contender.wire) as viewer:
        if contender.ack:
            viewer.acknowledge()
        before = contender.server.usage().cpu_seconds
        start = perf_counter()
        viewer.type(text.command)
        end = await viewer.collect(text)
        cpu = contender.server.usage().cpu_seconds - before
        frames = len(viewer.frames)
    contender.server.close(url)
    mega = text.terminal_bytes / MEGA
    return Printed(mega / (end - start), cpu / mega, frames)


async def _print_to_redis(contender: Contender, nodes: Nodes, text: Text) -> Printed:
    """Do the same; the work is done when Redis has every byte too."""
    url = nodes.open()
    async with terminal(url, contender.wire) as viewer:
        before, redis_before = nodes.usage().cpu_seconds, nodes.redis_usage().cpu_seconds
        start = perf_counter()
        storing = asyncio.create_task(nodes.settle(url, len(READY) + text.terminal_bytes))
        try:
            viewer.type(text.command)
            end = await viewer.collect(text)
            stored = await storing
        finally:
            storing.cancel()
        cpu = nodes.usage().cpu_seconds - before
        redis_cpu = nodes.redis_usage().cpu_seconds - redis_before
        frames = len(viewer.frames)
    nodes.close(url)
    mega = text.terminal_bytes / MEGA
    return Printed(mega / (end - start), cpu / mega, frames, mega / (stored - start), redis_cpu / mega)


def read_once(loop: str, text: Text) -> Printed:
    """Print `text` in a PTY that is read without a server (`bench.bare`); blocks meanwhile."""
    argv = [sys.executable, "-m", "bench.bare", loop, str(text.path), str(text.terminal_bytes)]
    run = subprocess.run(argv, cwd=ROOT, capture_output=True, check=True, timeout=TIMEOUT_SECONDS)
    took = json.loads(run.stdout)
    mega = text.terminal_bytes / MEGA
    return Printed(mega / took["seconds"], took["cpu_seconds"] / mega)


async def echo_once(contenders: Sequence[Contender], keys: int, seed: int) -> list[list[float]]:
    """Type `keys` keys at each contender and time each until its echo; return seconds per contender.

    The program is `cat` in raw mode: as in an editor or a shell with line editing, a program answers, not the
    kernel. One key every 2 ms goes to the next contender, in a new random order each turn, whether or not
    earlier ones were answered: an answer that takes long delays no later key, so no waiting is hidden
    (no coordinated omission).
    """
    async with AsyncExitStack() as stack:
        probes = []
        for contender in contenders:
            url = contender.server.open()
            stack.callback(contender.server.close, url)
            viewer = await stack.enter_async_context(terminal(url, contender.wire))
            viewer.type(b"stty raw -echo; printf raw-%s mode; exec cat\n")
            await viewer.expect(b"raw-mode")
            probes.append(_EchoProbe(viewer))
        await _warm(probes)
        await press_in_turn(probes, keys, seed)
        return [probe.seconds for probe in probes]


class Pressed(Protocol):
    """What a key is pressed at, again and again."""

    def press(self) -> None:
        """Press it."""
        ...

    async def settle(self) -> None:
        """Wait for the echoes that are still to come."""
        ...


async def press_in_turn(probes: Sequence[Pressed], keys: int, seed: int) -> None:
    """Press a key every 2 ms at the next one in random order, so many times at each; wait for the last echoes."""
    order = list(probes)
    rng = random.Random(seed)
    for _ in range(keys):
        rng.shuffle(order)
        for probe in order:
            await asyncio.sleep(KEY_SPACING_SECONDS)
            probe.press()
    for probe in probes:
        await probe.settle()


async def _warm(probes: Sequence[_EchoProbe]) -> None:
    for probe in probes:
        for _ in range(5):
            probe.press()
            await probe.settle()
        probe.seconds.clear()


class _EchoProbe:
    """Presses keys at one terminal and times each until it comes back."""

    def __init__(self, viewer: Connection) -> None:
        self.seconds: list[float] = []
        self._viewer = viewer
        self._pressed: deque[tuple[int, float]] = deque()
        self._count = 0
        viewer.clear()
        viewer.on_frame = self._take

    def press(self) -> None:
        key = KEYS[self._count % len(KEYS)]
        self._count += 1
        self._pressed.append((key, perf_counter()))
        self._viewer.type(bytes((key,)))

    def _take(self) -> None:
        at, kind, payload = self._viewer.frames.pop()
        for key in self._viewer.wire.stdout(kind, payload):
            pressed, since = self._pressed.popleft()
            if key != pressed:
                raise BenchError(f"pressed {pressed}, echoed {key}")
            self.seconds.append(at - since)

    async def settle(self) -> None:
        """Wait until every key has come back."""
        deadline = perf_counter() + TIMEOUT_SECONDS
        while self._pressed:
            if perf_counter() > deadline or self._viewer.closed:
                raise BenchError(f"{len(self._pressed)} keys were never echoed")
            await asyncio.sleep(0.001)


async def weigh(contender: Contender, sessions: int) -> dict[str, float]:
    """Open idle sessions, one viewer each; return the server's memory before and what each added (bytes)."""
    warm = contender.server.open()
    async with AsyncExitStack() as stack:
        stack.callback(contender.server.close, warm)
        await stack.enter_async_context(terminal(warm, contender.wire))
        before = contender.server.usage()
        for _ in range(sessions):
            url = contender.server.open()
            stack.callback(contender.server.close, url)
            await stack.enter_async_context(terminal(url, contender.wire))
        after = contender.server.usage()
    return {
        "rss_bytes": before.rss_bytes,
        "rss_bytes_per_session": (after.rss_bytes - before.rss_bytes) / sessions,
        "anonymous_bytes_per_session": (after.anonymous_bytes - before.anonymous_bytes) / sessions,
    }


async def fan_out(contender: Contender, text: Text, viewers: int) -> float:
    """Print `text` once for many viewers of one terminal; return bytes delivered per second of server CPU."""
    url = contender.server.open()
    async with AsyncExitStack() as stack:
        stack.callback(contender.server.close, url)
        audience = [await stack.enter_async_context(terminal(url, contender.wire)) for _ in range(viewers)]
        for viewer in audience:
            viewer.clear()
        before = contender.server.usage().cpu_seconds
        audience[0].type(text.command)
        for viewer in audience:
            await viewer.collect(text)
        cpu = contender.server.usage().cpu_seconds - before
    # The clock of the processor ticks in hundredths: less than one tick counts as one.
    return text.terminal_bytes * viewers / max(cpu, 0.01)


async def resume(contender: Contender, text: Text, times: int) -> list[tuple[float, float]]:
    """Print `text`, then attach again and again from its start.

    Returns for each attach: seconds to the first output, and bytes per second of the backlog. Both count from
    the start of the connection attempt: what a client sees of the upgrade may come in one read with the output.
    """
    measured: list[tuple[float, float]] = []
    url = contender.server.open()
    async with terminal(url, contender.wire) as viewer:
        viewer.type(text.command)
        await viewer.collect(text)
    for _ in range(times):
        since = perf_counter()
        viewer = await connect(f"{url}?recover_from={len(READY)}", contender.wire)
        end = await viewer.collect(text)
        began = next(at for at, kind, payload in viewer.frames if viewer.wire.stdout(kind, payload))
        measured.append((began - since, text.terminal_bytes / (end - since)))
        viewer.transport.disconnect()
        await viewer.transport.wait_disconnected()
    contender.server.close(url)
    return measured


def create(service: Service, times: int) -> list[float]:
    """Create sessions one after the other, then delete all; return seconds per creation."""
    seconds, sessions = [], []
    for _ in range(times):
        start = perf_counter()
        session = service.create()
        seconds.append(perf_counter() - start)
        sessions.append(str(session["session_id"]))
    for session_id in sessions:
        service.delete(session_id)
    return seconds


def start(service: Service, times: int) -> list[float]:
    """Start and stop the service; return seconds until it was ready."""
    seconds = []
    for _ in range(times):
        since = perf_counter()
        service.start()
        seconds.append(perf_counter() - since)
        service.stop()
    return seconds
