"""Time, programs and connections that a test moves by hand, behind the core's own seams."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections import deque
from typing import TYPE_CHECKING, Any, TypeVar, cast

from backends.base import ExitStatus
from replay.memory import MemoryStore
from terminal_service import wire
from terminal_service.clock import Clock
from terminal_service.counters import Counters
from terminal_service.sizes import Size, SizePolicy
from terminal_service.terminal import Terminal
from terminal_service.wish import Wish

if TYPE_CHECKING:
    from collections.abc import Callable

    from backends.base import Pty
    from replay.log import Log
    from terminal_service.attachment import Attachment

M = TypeVar("M", bound=wire.ServerMessage)


class ManualTime:
    """Both clocks and the timers of a loop; nothing moves before `run` or `advance`."""

    def __init__(self) -> None:
        self.seconds = 5_000.0
        self.wall_offset = 1_700_000_000.0
        self._soon: deque[Callable[[], object]] = deque()
        self._timers: list[tuple[float, int, asyncio.TimerHandle, Callable[[], object]]] = []
        self._order = itertools.count()

    @property
    def clock(self) -> Clock:
        """Both clocks."""
        return Clock(self.time, lambda: self.seconds + self.wall_offset)

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """This object, as far as a terminal uses a loop."""
        return cast("asyncio.AbstractEventLoop", self)

    def time(self) -> float:
        """Return monotonic seconds."""
        return self.seconds

    def get_debug(self) -> bool:
        """Say what asyncio's handles ask."""
        return False

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Take note of nothing: `advance` asks the handle."""

    def call_soon(self, callback: Callable[[], object]) -> None:
        """Call back in the next `run`."""
        self._soon.append(callback)

    def call_later(self, delay: float, callback: Callable[[], object]) -> asyncio.TimerHandle:
        """Call back when `advance` has come there."""
        at = self.seconds + delay
        handle = asyncio.TimerHandle(at, callback, (), self.loop)
        heapq.heappush(self._timers, (at, next(self._order), handle, callback))
        return handle

    def run(self) -> int:
        """Let everything happen that happens now; return how many turns that took."""
        turns = 0
        while self._soon:
            self._soon.popleft()()
            turns += 1
        return turns

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        end = self.seconds + seconds
        self.run()
        while self._timers and self._timers[0][0] <= end:
            self.seconds, _, handle, callback = heapq.heappop(self._timers)
            if not handle.cancelled():
                callback()
            self.run()
        self.seconds = end


class ManualPty:
    """A program that keeps what is typed as far as it has room (None: all), and what else happens to it."""

    def __init__(self) -> None:
        self.pid: int | None = 4711
        self.typed = bytearray()
        self.written = 0
        self.unconfirmed = 0
        self.is_far = False
        """Whether what is typed is on its way until `confirm`."""
        self.room: int | None = None
        self.interrupts: int | None = None
        """How many there were; None: the interrupt key is off."""
        self.sizes: list[tuple[int, int]] = []
        self.signals: list[int] = []
        self.is_paused = False
        self.pauses = 0

    def write(self, data: bytes | memoryview) -> int:
        """Take what there is room for."""
        taken = len(data) if self.room is None else min(self.room, len(data))
        self.typed += data[:taken]
        self.written += taken
        if self.is_far:
            self.unconfirmed += taken
        if self.room is not None:
            self.room -= taken
        return taken

    def confirm(self, size: int) -> None:
        """Have so much arrive of what is on its way."""
        self.unconfirmed -= min(size, self.unconfirmed)

    def forget(self) -> None:
        """Lose what is on its way, as when the process dies that has sent it."""
        del self.typed[len(self.typed) - self.unconfirmed :]
        self.written -= self.unconfirmed
        self.unconfirmed = 0

    def annotate(self, note: str) -> None:
        """Forget it."""

    async def detach(self) -> None:
        """Go nowhere."""

    def interrupt(self) -> bool:
        """Count, if the key is on."""
        if self.interrupts is None:
            return False
        self.interrupts += 1
        return True

    def resize(self, rows: int, cols: int) -> None:
        """Note the size."""
        self.sizes.append((rows, cols))

    def signal(self, signum: int) -> None:
        """Note the signal."""
        self.signals.append(signum)

    def pause_reading(self) -> None:
        """Note it."""
        self.is_paused = True
        self.pauses += 1

    def resume_reading(self) -> None:
        """Note it."""
        self.is_paused = False

    async def wait(self) -> ExitStatus:
        """Have ended."""
        return ExitStatus(code=0)

    async def close(self, grace_seconds: float) -> None:
        """Have nothing to end."""


class CollectingOutlet:
    """A connection that keeps what it is sent, takes `room` bytes of output (None: all), and checks positions."""

    def __init__(self) -> None:
        self.sent: list[wire.ServerMessage] = []
        """Everything in order; output as one message per chunk."""
        self.room: int | None = None
        self.closed: tuple[int, str] | None = None
        self.input_paused = False
        self.attachment: Attachment | None = None

    @property
    def writable(self) -> bool:
        """Whether there is room."""
        return self.room is None or self.room > 0

    def send(self, message: wire.ServerMessage) -> None:
        """Keep a message; after the end it goes nowhere."""
        if self.closed is not None:
            assert not isinstance(message, wire.Output | wire.Gap), f"delivered after the end: {message}"
            return
        self.sent.append(message)

    def send_output(self, data: memoryview, seq: int, *, replay: bool) -> None:
        """Keep output."""
        assert self.writable, "output was sent to a connection that cannot take it"
        assert len(data) > 0
        if self.room is not None:
            self.room -= len(data)
        self.send(wire.Output(bytes(data), seq, 0.0, replay))

    def pause_input(self) -> None:
        """Note it."""
        self.input_paused = True

    def resume_input(self) -> None:
        """Note it."""
        self.input_paused = False

    def close(self, code: int, reason: str) -> None:
        """Note it; the first counts."""
        self.closed = self.closed or (code, reason)

    def of(self, kind: type[M]) -> list[M]:
        """Return the messages of a kind."""
        return [message for message in self.sent if isinstance(message, kind)]

    def last(self, kind: type[M]) -> M:
        """Return the last message of a kind."""
        return self.of(kind)[-1]

    @property
    def output(self) -> bytes:
        """All output, gaps left out."""
        return b"".join(bytes(message.data) for message in self.of(wire.Output))

    def take(self) -> list[wire.ServerMessage]:
        """Return what was sent since the last time."""
        sent, self.sent = self.sent, []
        return sent


class Stage:
    """One terminal with its log, on manual time."""

    def __init__(self, log: Log | None = None, *, retention_bytes: int = 1 << 20, **options: Any) -> None:
        self.time = ManualTime()
        self.log = log or MemoryStore().create("stage/main", retention_bytes)
        self.counters = Counters()
        self.activity: list[str] = []
        self.pty = ManualPty()
        self.everything = b""
        """What was ever printed (here)."""
        settings = {"size": Size(24, 80), "size_policy": SizePolicy.SMALLEST, "viewers_limit": 10, **options}
        self.terminal = Terminal(
            "main",
            self.log,
            loop=self.time.loop,
            clock=self.time.clock,
            counters=self.counters,
            on_activity=self.activity.append,
            **settings,
        )

    def start(self) -> Stage:
        """Connect the program."""
        pty: Pty = self.pty
        self.terminal.connect(pty)
        return self

    def print(self, data: bytes) -> None:
        """Print, as a local PTY does: into the log's memory, then drained."""
        rest = memoryview(data)
        while rest:
            buffer = self.terminal.get_buffer(-1)
            size = min(len(buffer), len(rest))
            buffer[:size] = rest[:size]
            self.terminal.buffer_updated(size)
            rest = rest[size:]
        self.everything += data
        self.terminal.drained()
        self.time.run()

    def attach(self, outlet: CollectingOutlet | None = None, *, pump: bool = True, **options: Any) -> CollectingOutlet:
        """Attach a viewer; `options` as of `Terminal.attach`."""
        outlet = outlet or CollectingOutlet()
        settings = {
            "session_id": "s",
            "client_id": f"client {len(self.terminal.attachments)}",
            "user": "ann",
            "role": "writer",
            "is_owner": True,
            "mode": "exact",
            "recover_from": None,
            "epoch": None,
            "tail_bytes": 1 << 40,
            "window": 256 * 1024,
            "heartbeat_interval": 60.0,
        }
        attachment = self.terminal.attach(outlet, Wish(**{**settings, **options}))
        outlet.attachment = attachment
        if pump:
            attachment.pump()
            self.time.run()
        return outlet

    def end(self, status: ExitStatus | None = None, reason: str = "Process exited") -> None:
        """End the program."""
        self.terminal.finish(status or ExitStatus(code=0), reason)
        self.time.run()

    def close(self) -> None:
        """Release the log."""
        self.log.close()


def of(outlet: CollectingOutlet) -> Attachment:
    """Return the attachment behind an outlet."""
    assert outlet.attachment is not None
    return outlet.attachment
