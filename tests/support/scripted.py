"""A backend, viewers and clocks that a test plays by hand, behind the service's own seams.

Nothing of the service is replaced: the core, the log and the stores are the real ones. `Stage` runs them on an
event loop of its own, so that a plain (not async) property test can take one step after the other.
"""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from backends.base import Capabilities, ExitStatus
from support.transcript import Deviation, Request, Transcript
from terminal_service import wire
from terminal_service.clock import Clock
from terminal_service.wish import Wish

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Coroutine

    from backends.base import Environment, Order, Program, Pty, Sink, Survivor
    from terminal_service.attachment import Attachment
    from terminal_service.sessions import Sessions

T = TypeVar("T")

QUIET_TURNS = 12


class ScriptedPty:
    """A program that prints when told, keeps what is typed, and reads only `room` bytes of it (None: all)."""

    unconfirmed = 0

    def __init__(self, sink: Sink, pid: int) -> None:
        self._sink = sink
        self._pid = pid
        self._status: asyncio.Future[ExitStatus] = asyncio.get_running_loop().create_future()
        self.typed = bytearray()
        self.written = 0
        self.room: int | None = None
        self.sizes: list[tuple[int, int]] = []
        self.signals: list[int] = []
        self.is_paused = False

    @property
    def pid(self) -> int | None:
        """A number."""
        return self._pid

    @property
    def is_over(self) -> bool:
        """Whether the program has ended."""
        return self._status.done()

    def print(self, data: bytes) -> None:
        """Print, as a local PTY does: into the log's memory, several reads to a batch."""
        rest = memoryview(data)
        while rest:
            buffer = self._sink.get_buffer(-1)
            size = min(len(buffer), len(rest))
            buffer[:size] = rest[:size]
            self._sink.buffer_updated(size)
            rest = rest[size:]
        self._sink.drained()

    def read_more(self, room: int | None) -> None:
        """Let the program read more of what is typed."""
        self.room = room
        self._sink.resume_writing()

    def exit(self, status: ExitStatus) -> None:
        """End the program."""
        if not self._status.done():
            self._status.set_result(status)

    def write(self, data: bytes | memoryview) -> int:
        """Take what there is room for."""
        if self.is_over:
            return len(data)
        size = len(data) if self.room is None else min(self.room, len(data))
        self.typed += data[:size]
        self.written += size
        if self.room is not None:
            self.room -= size
        return size

    def interrupt(self) -> bool:
        """Be in raw mode."""
        return False

    def resize(self, rows: int, cols: int) -> None:
        """Note the size."""
        self.sizes.append((rows, cols))

    def signal(self, signum: int) -> None:
        """Note the signal."""
        self.signals.append(signum)

    def pause_reading(self) -> None:
        """Note it; a test may print on, as bytes in flight would."""
        self.is_paused = True

    def resume_reading(self) -> None:
        """Note it."""
        self.is_paused = False

    def annotate(self, note: str) -> None:
        """Forget it."""

    async def detach(self) -> None:
        """Go nowhere."""

    async def wait(self) -> ExitStatus:
        """Wait for the end."""
        return await asyncio.shield(self._status)

    async def close(self, grace_seconds: float) -> None:  # noqa: ARG002 - it is no stubborn program
        """Be ended."""
        self.exit(ExitStatus(signal=signal.SIGHUP))


class ScriptedBackend:
    """Opens scripted programs, and keeps them by session id."""

    name = "scripted"
    capabilities = Capabilities()

    def __init__(self) -> None:
        self.ptys: dict[str, ScriptedPty] = {}

    async def shells(self, user: str | None = None) -> list[str]:  # noqa: ARG002
        """Offer one."""
        return ["script"]

    async def open(self, order: Order) -> Environment:
        """Open."""
        return _Environment(self.ptys, order.session_id)

    async def survivors(self) -> list[Survivor]:
        """Have none."""
        return []

    async def check(self) -> None:
        """Be there."""

    async def recall(self, session_id: str) -> Survivor | None:  # noqa: ARG002
        """Have none."""
        return None

    async def sweep(self, living: Collection[str]) -> None:
        """Have nothing."""

    async def stop(self) -> None:
        """Hold nothing."""

    async def close(self) -> None:
        """Hold nothing."""


class _Environment:
    def __init__(self, ptys: dict[str, ScriptedPty], session_id: str) -> None:
        self._ptys = ptys
        self._session_id = session_id

    async def spawn(self, program: Program, sink: Sink) -> Pty:
        assert program.session_id == self._session_id
        pty = self._ptys[self._session_id] = ScriptedPty(sink, 1000 + len(self._ptys))
        return pty

    async def adopt(self, survivor: Survivor, sink: Sink, position: int = 0) -> Pty:
        raise AssertionError((survivor, sink, position))

    async def close(self) -> None:
        pass


class Viewer:
    """An outlet that is a client's memory: all it is sent is encoded, decoded and checked by a `Transcript`.

    `capacity` is how many bytes of output it takes before it is not writable (None: any number); `more` adds to it.
    """

    def __init__(self, client_id: str, transcript: Transcript) -> None:
        self.client_id = client_id
        self.transcript = transcript
        self.attachment: Attachment | None = None
        self.capacity: int | None = None
        self.acked_n = 0
        self.errors: list[dict[str, Any]] = []
        self.ended: dict[str, Any] | None = None
        self.close_code: int | None = None
        self.deviation: Deviation | None = None

    @property
    def writable(self) -> bool:
        """Whether it takes more."""
        return self.capacity is None or self.capacity > 0

    def send(self, message: wire.ServerMessage) -> None:
        """Take a message."""
        fields = msgspec.msgpack.decode(wire.encode_msgpack(message))
        self._take(fields)
        if fields["type"] == "input_ack":
            self.acked_n = max(self.acked_n, fields["n"])
        elif fields["type"] == "error":
            self.errors.append(fields)
        elif fields["type"] == "session_ended":
            self.ended = fields

    def send_output(self, data: memoryview, seq: int, *, replay: bool) -> None:
        """Take output."""
        if self.capacity is not None:
            self.capacity -= len(data)
        self._take({"type": "output", "data": bytes(data), "seq": seq, "timestamp": 0.0, "replay": replay})

    def _take(self, fields: dict[str, Any]) -> None:
        # Kept, not raised: it must reach the test, not the core that sends.
        if self.close_code is not None:
            if fields["type"] in {"output", "gap", "session_ended"}:  # others are dropped by the channel, as these are
                self.deviation = self.deviation or Deviation(f"{fields['type']} after close")
            return
        try:
            self.transcript.take(fields)
        except Deviation as deviation:
            self.deviation = self.deviation or deviation

    def pause_input(self) -> None:
        """Type on: what was sent already is still taken."""

    def resume_input(self) -> None:
        """Type on."""

    def close(self, code: int, reason: str) -> None:  # noqa: ARG002 - no client acts on a reason here
        """Be closed; the connection's end is for the test to report."""
        if self.close_code is None:
            self.close_code = code

    def more(self, capacity: int | None) -> None:
        """Take more output."""
        self.capacity = capacity
        if self.attachment is not None:
            self.attachment.pump()


class HandClock:
    """Time that stands still until a test moves it."""

    def __init__(self) -> None:
        self.now = 1_000_000.0
        self.clock = Clock(monotonic=lambda: self.now, wall=lambda: self.now)


class Stage:
    """An event loop with one `Sessions` on it, taken step by step. `make` builds the component."""

    def __init__(self, make: Callable[[], Sessions]) -> None:
        self.loop = asyncio.new_event_loop()
        self._make = make
        self._task: asyncio.Task[None] | None = None
        self.sessions = self._open()

    def _open(self) -> Sessions:
        async def start() -> Sessions:
            sessions = self._make()
            self._task = asyncio.create_task(sessions.run(), name="sessions")
            await sessions.ready.wait()
            return sessions

        return self.loop.run_until_complete(start())

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run to the end, and what follows from it to quietness."""
        result = self.loop.run_until_complete(work)
        self.settle()
        return result

    def settle(self) -> None:
        """Let everything that is due happen, files included: until only what waits for an end is left."""

        async def turns() -> None:
            for _ in range(QUIET_TURNS):
                await asyncio.sleep(0)
            while busy := [task for task in asyncio.all_tasks() if self._is_busy(task)]:
                await asyncio.wait(busy)

        self.loop.run_until_complete(turns())

    def _is_busy(self, task: asyncio.Task[Any]) -> bool:
        kind, _, session_id = task.get_name().partition(" session ")
        if kind == "watch":
            return session_id not in {session.session_id for session in self.sessions.all() if session.is_living}
        return kind in {"end", "forget"}

    def restart(self) -> None:
        """Die as a process does, with nothing said and nothing flushed; begin again on what is stored."""
        self._kill()
        self.sessions = self._open()

    def _kill(self) -> None:
        async def kill() -> None:
            assert self._task is not None
            self._task.cancel()
            await asyncio.wait([self._task])

        self.loop.run_until_complete(kill())

    def close(self) -> None:
        """End the component in good order, and the loop."""

        async def stop() -> None:
            assert self._task is not None
            self.sessions.stop()
            await self._task

        self.loop.run_until_complete(stop())
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()


def attach(
    sessions: Sessions,
    session_id: str,
    viewer: Viewer,
    *,
    recover_from: int | str | None,
    epoch: str | None = None,
    mode: str = "exact",
    window: int = 256 * 1024,
    role: str = "writer",
) -> None:
    """Attach a viewer as the WebSocket endpoint does, and deliver what can be delivered."""
    session = sessions.get(session_id)
    assert session.terminal is not None
    viewer.transcript.ask(Request(session_id, viewer.client_id, recover_from, epoch))
    viewer.attachment = session.terminal.attach(
        viewer,
        Wish(
            session_id=session_id,
            client_id=viewer.client_id,
            user="me",
            role=role,
            is_owner=True,
            mode=mode,
            recover_from=recover_from,
            epoch=epoch,
            tail_bytes=4096,
            window=window,
            heartbeat_interval=60.0,
        ),
    )
    viewer.attachment.pump()
