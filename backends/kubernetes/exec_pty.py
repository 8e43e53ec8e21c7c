"""One program at a terminal in a container."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import structlog

from backends.errors import BackendError
from backends.kubernetes.channels import Cut, Outcome, Stream
from backends.kubernetes.processes import signal_name

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from backends.base import ExitStatus, Sink
    from backends.kubernetes.ending import Ending
    from backends.kubernetes.starting import Started

_INPUT_BYTES = 64 * 1024
"""What is taken before it is sent."""
_PIECE_BYTES = 32 * 1024
_HELD_BYTES = 256 * 1024
"""What is read while reading is paused, so that a program's end is noticed behind its last output."""
_LAST_SECONDS = 2.0
"""For the end of the stream, once the program has ended."""
_LATE_SECONDS = 10.0
"""For the end of a program that was killed."""
_HOLD_SECONDS = 0.2
"""Output that may be the beginning of the wrapper's word is delivered after so long."""

_log = structlog.get_logger(__name__)


class ExecPty:
    """A `Pty` on an exec; one task of its own reads, writes and judges the end, whoever waits."""

    unconfirmed = 0

    def __init__(self, started: Started, sink: Sink, mark: str, ending: Ending) -> None:
        """Take over what was started, and begin to read."""
        loop = asyncio.get_running_loop()
        self._loop = loop
        self._channels = started.channels
        self._marks = started.marks
        self._sink = sink
        self._mark = mark
        self._ending = ending
        self._outcome: Outcome | None = None
        self._input = bytearray()
        self._was_refused = False
        self._size: tuple[int, int] | None = None
        self._wanted = asyncio.Event()
        self._readable = asyncio.Event()
        self._readable.set()
        self._held = bytearray()
        self._to_the_end = False
        """Read on though reading is paused: it ends."""
        self._turn: asyncio.Handle | None = None
        self._release: asyncio.TimerHandle | None = None
        self._deadline: float | None = None
        self._over = False
        self._closing = asyncio.Lock()
        self._asides: set[asyncio.Task[None]] = set()
        self.written = 0
        self.pid = started.marks.begun
        for _, data in started.early:
            self._deliver(data)
        if self._marks.ended is not None:
            self._deadline = loop.time() + _LAST_SECONDS
        # As in LocalPty: the end comes whether or not anybody waits, and is bounded once the program has ended.
        self._life = loop.create_task(self._live(), name=f"terminal {mark} in a pod")

    # -- input

    def write(self, data: bytes | memoryview) -> int:
        """Take what there is room for; see `Pty.write`."""
        if self._over:
            return len(data)
        taken = min(len(data), _INPUT_BYTES - len(self._input))
        if taken:
            self._input += data[:taken]
            self.written += taken
            self._wanted.set()
        if taken < len(data):
            self._was_refused = True
        return taken

    def interrupt(self) -> bool:
        """Have it done ahead of input that nobody reads; else let the key be written in its turn.

        Input that waits is not discarded then, as the key itself would do.
        """
        if not self._over and self._channels.is_stuck:
            self._beside(self._interrupt(), "interrupt")
            return True
        return self._over

    async def _interrupt(self) -> None:
        try:
            is_done = await self._ending.processes.interrupt(self._mark)
        except BackendError as error:
            _log.warning("a terminal was not interrupted", mark=self._mark, reason=str(error))
            is_done = False
        if not is_done and not self._over:  # an ordinary byte now
            self._input += b"\x03"
            self._wanted.set()

    def resize(self, rows: int, cols: int) -> None:
        """Set the size."""
        if not self._over:
            self._size = (rows, cols)
            self._wanted.set()

    def signal(self, signum: int) -> None:
        """Signal the programs in the foreground, soon; ValueError: there is no such signal."""
        name = signal_name(signum)
        if not self._over:
            self._beside(self._signal(name), f"signal {name}")

    def _beside(self, doing: Coroutine[Any, Any, None], what: str) -> None:
        aside = self._loop.create_task(doing, name=f"{what} for {self._mark}")
        self._asides.add(aside)
        aside.add_done_callback(self._asides.discard)

    async def _signal(self, name: str) -> None:
        try:
            await self._ending.processes.signal(self._mark, name)
        except BackendError as error:
            _log.warning("a signal was not sent", signal=name, mark=self._mark, reason=str(error))

    async def _send(self) -> None:
        """Send what is taken, for ever. Raises Cut."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            if self._size is not None:
                size, self._size = self._size, None
                await self._channels.resize(*size)
            while self._input:
                piece = bytes(self._input[:_PIECE_BYTES])
                await self._channels.send_input(piece)
                del self._input[: len(piece)]
                self._resume_writing()

    def _resume_writing(self) -> None:
        if self._was_refused:
            self._was_refused = False
            self._sink.resume_writing()

    # -- output

    def pause_reading(self) -> None:
        """Stop reading, once a bounded amount has come."""
        if not self._over and not self._to_the_end:
            self._readable.clear()

    def resume_reading(self) -> None:
        """Read again."""
        if not self._over and not self._readable.is_set():
            self._readable.set()
            self._release_held()

    def _release_held(self) -> None:
        if self._held:
            held, self._held = self._held, bytearray()
            self._sink.data_received(held)
            self._drain_soon()

    async def _receive(self) -> None:
        """Read to the end. Raises Cut."""
        while True:
            if len(self._held) >= _HELD_BYTES:
                await self._readable.wait()
            if self._deadline is None:
                channel, data = await self._channels.receive()
            else:
                async with asyncio.timeout_at(self._deadline):
                    channel, data = await self._channels.receive()
            if channel == Stream.STDOUT:
                self._hear(data)
            elif channel == Stream.STATUS:
                self._outcome = Outcome.parse(data)
                return

    def _hear(self, data: bytes) -> None:
        if self._release is not None:
            self._release.cancel()
            self._release = None
        self._deliver(self._marks.feed(data))
        if self._marks.ended is not None:
            if self._deadline is None:
                self._deadline = self._loop.time() + _LAST_SECONDS
        elif self._marks.holds:
            self._release = self._loop.call_later(_HOLD_SECONDS, self._flush)

    def _flush(self) -> None:
        """Deliver what was held back: nothing has come behind it, so it was the program's."""
        self._release = None
        self._deliver(self._marks.flush())

    def _deliver(self, data: bytes) -> None:
        if not data:
            return
        if not self._readable.is_set():
            self._held += data
            return
        self._sink.data_received(data)
        self._drain_soon()

    def _drain_soon(self) -> None:
        # What has arrived is received without a pause; then comes the loop's turn.
        if self._turn is None:
            self._turn = self._loop.call_soon(self._drain)

    def _drain(self) -> None:
        self._turn = None
        self._sink.drained()

    # -- the end

    async def wait(self) -> ExitStatus:
        """Wait for the end of the program and of its output."""
        return await asyncio.shield(self._life)

    def when_over(self, callback: Callable[[ExecPty], object]) -> None:
        """Call back when `wait` would return."""
        self._life.add_done_callback(lambda _: callback(self))

    async def _live(self) -> ExitStatus:
        try:
            reason = await self._converse()
            self._finish_output()
            return await self._ending.judge(self._marks, self._outcome, reason, self._mark)
        finally:
            self._over = True
            self._finish_output()
            self._input.clear()
            self._resume_writing()
            await self._channels.close()
            for aside in list(self._asides):
                aside.cancel()

    async def _converse(self) -> str:
        """Read and write until there is nothing more to come; return how the stream ended."""
        reason = "the cluster ended the stream"
        try:
            async with asyncio.TaskGroup() as group:
                others = [
                    group.create_task(self._send(), name=f"input of {self._mark}"),
                    group.create_task(self._channels.keep_alive(), name=f"pings for {self._mark}"),
                ]
                try:
                    await self._receive()
                except TimeoutError:
                    pass  # something that the program has left running keeps the stream open
                finally:
                    for other in others:
                        other.cancel()
        except* Cut as cuts:
            reason = str(cuts.exceptions[0])
        return reason

    def _finish_output(self) -> None:
        """Deliver everything there is."""
        if self._release is not None:
            self._release.cancel()
            self._release = None
        self._readable.set()
        self._release_held()
        self._deliver(self._marks.flush())
        if self._turn is not None:
            self._turn.cancel()
            self._drain()

    async def close(self, grace_seconds: float) -> None:
        """End the program and all it started; see `Pty.close`."""
        async with self._closing:
            if not self._life.done():
                self._to_the_end = True
                self._readable.set()
                self._release_held()
                await self._end(grace_seconds)
        await self.wait()

    async def _end(self, grace_seconds: float) -> None:
        """End it in the container; a stream that does not end then is cut here."""
        try:
            await self._ending.processes.end(self._mark, grace_seconds)
        except BackendError as error:
            _log.warning("a program in a pod was not ended", mark=self._mark, reason=str(error))
            await self._channels.close()
            return
        try:
            async with asyncio.timeout(_LATE_SECONDS):
                await asyncio.shield(self._life)
        except TimeoutError:
            await self._channels.close()

    def annotate(self, note: str) -> None:
        """Keep nothing: programs end with this process."""

    async def detach(self) -> None:
        """Do nothing: a program cannot be had again."""
