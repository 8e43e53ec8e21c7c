"""One program at a terminal of a container: an exec with a TTY, over a connection of its own."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
from collections import deque
from typing import TYPE_CHECKING

import structlog

from backends.base import ExitStatus, Lost
from backends.containers import scripts
from backends.containers.preamble import PreambleReader
from backends.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Callable

    from backends.base import Sink
    from backends.containers.box import Box
    from backends.containers.hijack import Hijack
    from backends.containers.preamble import Preamble

_SIGNALS = 16
"""Signals that wait to be sent, at most: each takes the daemon a tenth of a second."""
_LOOK_SECONDS = (0.2, 2.0)
"""While reading is paused its end is not heard: how long until it is looked for, at first and in the long run."""
_ALIVE_SECONDS = 30.0
"""How often it is looked at while nothing else happens: a connection may be cut without anybody being told."""
_FAILURES = 3
"""So often the daemon may not answer, one time after the other, before the connection is given up."""
_DRAIN_SECONDS = 5.0
"""For the output that is left when the program has ended."""
_CLOSE_SECONDS = 10.0
"""For the end to be heard of a program that has been ended; then its connection is closed."""
_INTERRUPT = b"\x03"

_log = structlog.get_logger(__name__)


class ContainerPty:
    """A `Pty`, and the receiver of its connection's bytes. `begin` starts its one task once it has a connection.

    Nothing is held here but input on its way to the socket: output goes into the sink's memory, and while reading is
    paused it stays with the daemon, whose own small buffers then hold up the program.
    """

    unconfirmed = 0

    def __init__(self, box: Box, sink: Sink, *, token: str, mark: str, user: str) -> None:
        """Begin without a connection."""
        loop = asyncio.get_running_loop()
        self._box = box
        self._sink = sink
        self._mark = mark
        self._user = user
        self._exec_id = ""
        self._connection: Hijack | None = None
        self._reader: PreambleReader | None = PreambleReader(token)
        self._first = memoryview(bytearray(4096))
        self.preamble: asyncio.Future[Preamble] = loop.create_future()
        """Done when the start has been told, or has failed (ValueError: with what was said instead)."""
        self._swallow = 0
        self._pid: int | None = None
        self._written = 0
        self._wants_room = False
        self._paused = False
        self._stream_over = False
        self._wake = asyncio.Event()
        self._size: tuple[int, int] | None = None
        self._signals: deque[int] = deque()
        self._sent: set[int] = set()
        self._presses = 0
        self._failures = 0
        self._closing = asyncio.Lock()
        self._status: ExitStatus | None = None
        self._life: asyncio.Task[ExitStatus] | None = None

    # -- hijack.Receiver

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return the sink's memory, or our own until the start is told."""
        return self._first if self._reader is not None or self._swallow else self._sink.get_buffer(sizehint)

    def buffer_updated(self, nbytes: int) -> None:
        """Take what was printed."""
        if self._reader is not None or self._swallow:
            self._take_first(bytes(self._first[:nbytes]))
            return
        self._sink.buffer_updated(nbytes)
        self._sink.drained()

    def resume_writing(self) -> None:
        """Tell the sink, if it was refused."""
        if self._wants_room:
            self._wants_room = False
            self._sink.resume_writing()

    def stream_ended(self) -> None:
        """Find out why."""
        self._stream_over = True
        if not self.preamble.done():
            self.preamble.set_exception(ValueError(self._reader.noise if self._reader else ""))
        self._wake.set()

    def _take_first(self, data: bytes) -> None:
        if self._reader is not None:
            try:
                found = self._reader.feed(data)
            except ValueError as error:
                if not self.preamble.done():
                    self.preamble.set_exception(error)
                return
            if found is None:
                return
            self._reader = None
            preamble, data = found
            # What follows `W` is the echo of the line that the script waits for: `\r\n`.
            self._swallow = len(b"\r\n") if preamble.letter == "W" else 0
            if not self.preamble.done():
                self.preamble.set_result(preamble)
        skipped = min(self._swallow, len(data))
        self._swallow -= skipped
        if data := data[skipped:]:
            self._sink.data_received(data)
            self._sink.drained()

    # -- its beginning

    def connect(self, exec_id: str, connection: Hijack) -> None:
        """Take the connection over which it is starting."""
        self._exec_id = exec_id
        self._connection = connection

    def begin(self, pid: int) -> None:
        """Begin to live: it has started."""
        self._pid = pid
        # The end of a program comes whether or not anybody waits for it, so this is a task; `wait` and `close`
        # await it and so learn of every error in it.
        self._life = asyncio.get_running_loop().create_task(self._live(), name=f"terminal of {self._exec_id[:12]}")

    async def set_size(self, rows: int, cols: int) -> None:
        """Set the size by the daemon. Raises BackendError."""
        await self._box.resize(self._exec_id, rows, cols)

    def go_on(self) -> None:
        """Let the script that waits for its size go on."""
        assert self._connection is not None  # noqa: S101 - see `connect`
        self._connection.write(b"\n")

    async def abandon(self) -> None:
        """Close the connection and end what may have been started; it was not begun."""
        if self._connection is not None:
            self._connection.close()
        if self.preamble.done() and not self.preamble.cancelled():
            self.preamble.exception()  # it is seen
        with contextlib.suppress(BackendError):
            await self._box.end(0, self._mark, 0, user=self._user)

    # -- Pty

    @property
    def pid(self) -> int | None:
        """Process id in the container."""
        return self._pid

    @property
    def written(self) -> int:
        """Bytes of input it has taken by `write`."""
        return self._written

    @property
    def _over(self) -> bool:
        return self._status is not None or self._stream_over or self._connection is None

    def write(self, data: bytes | memoryview) -> int:
        """Hand over input; see `Hijack.write`."""
        if self._over or self._connection is None:
            return len(data)
        taken = self._connection.write(data)
        self._written += taken
        self._wants_room = self._wants_room or taken < len(data)
        return taken

    def interrupt(self) -> bool:
        """Have the foreground programs interrupted if input is stuck before them; else the key is best typed.

        Then it is an ordinary byte for the connection, and reaches the terminal as quickly. If it is an ordinary
        byte for the terminal, too, and stuck, it is typed as soon as there is room.
        """
        if self._over or self._connection is None:
            return True
        if not self._connection.is_full:
            return False
        self._presses += 1
        self._wake.set()
        return True

    def resize(self, rows: int, cols: int) -> None:
        """Have the daemon set the size, the last one if there are several."""
        if not self._over:
            self._size = (rows, cols)
            self._wake.set()

    def signal(self, signum: int) -> None:
        """Have the foreground process group signalled by a second exec; what that says is only logged.

        Raises ValueError for an unknown signal, ProcessLookupError if too many wait.
        """
        if signum not in signal.valid_signals():
            raise ValueError(f"no such signal: {signum}")
        if self._over:
            return
        if len(self._signals) >= _SIGNALS:
            raise ProcessLookupError("many signals wait for the container's daemon")
        self._signals.append(signum)
        self._wake.set()

    def pause_reading(self) -> None:
        """Leave the output with the daemon."""
        if not self._over and self._connection is not None:
            self._paused = True
            self._connection.pause_reading()
            self._wake.set()

    def resume_reading(self) -> None:
        """Read again."""
        if self._paused and self._connection is not None:
            self._paused = False
            self._connection.resume_reading()

    async def wait(self) -> ExitStatus:
        """Wait for the end."""
        assert self._life is not None  # noqa: S101 - see `begin`
        return await asyncio.shield(self._life)

    def when_over(self, callback: Callable[[ContainerPty], object]) -> None:
        """Call back when `wait` would return."""
        assert self._life is not None  # noqa: S101 - see `begin`
        self._life.add_done_callback(lambda _: callback(self))

    def annotate(self, note: str) -> None:
        """Do nothing: an exec cannot be attached to again."""

    async def detach(self) -> None:
        """Do nothing: an exec cannot be attached to again."""

    async def close(self, grace_seconds: float) -> None:
        """End the whole tree by a second exec: see `scripts.END`. If that cannot be, the connection is closed."""
        async with self._closing:
            if self._status is None and not self._stream_over:
                self._sent |= {signal.SIGHUP, signal.SIGTERM, signal.SIGKILL}
                await self._end(grace_seconds)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self.wait()
                return
        if self._connection is not None:
            self._connection.close()
        await self.wait()

    async def _end(self, grace_seconds: float) -> None:
        try:
            ended = await self._box.end(self._pid or 0, self._mark, grace_seconds, user=self._user)
        except BackendError as error:
            _log.warning("a program in a container could not be ended", container=self._box.id[:12], error=str(error))
            ended = False
        if self._connection is not None:
            self._connection.resume_reading()
            if not ended:
                self._connection.close()

    # -- its life

    async def _live(self) -> ExitStatus:
        try:
            await self._serve()
            status = await self._learn()
        except BaseException as error:
            status = ExitStatus(lost=Lost.LINK, message=str(error) or type(error).__name__)
            raise
        finally:
            self._status = status
            if self._connection is not None:
                self._connection.close()
            self.resume_writing()
        return status

    async def _serve(self) -> None:
        """Do what is asked for until the stream is over, or the program is found to have ended behind it."""
        pause = _LOOK_SECONDS[0]
        while not self._stream_over:
            seconds = pause if self._paused else _ALIVE_SECONDS
            try:
                async with asyncio.timeout(seconds * random.uniform(0.8, 1.2)):  # noqa: S311 - not all at once
                    await self._wake.wait()
            except TimeoutError:
                pause = min(2 * pause, _LOOK_SECONDS[1])
                if await self._has_ended():  # or its daemon does not answer, time and again
                    await self._drain()
                    return
            else:
                self._wake.clear()
                pause = _LOOK_SECONDS[0]
                await self._do_what_is_asked()

    async def _has_ended(self) -> bool:
        try:
            state = await self._box.inspect(self._exec_id)
        except BackendError as error:
            _log.info("the container's daemon does not answer", container=self._box.id[:12], error=str(error))
            self._failures += 1
            return self._failures >= _FAILURES
        self._failures = 0
        return not state.get("Running")

    async def _drain(self) -> None:
        """Read what is left, however paused."""
        assert self._connection is not None  # noqa: S101 - see `connect`
        self._connection.resume_reading()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_DRAIN_SECONDS):
                while not self._stream_over:
                    self._wake.clear()
                    await self._wake.wait()

    async def _do_what_is_asked(self) -> None:
        try:
            if self._size is not None:
                size, self._size = self._size, None
                await self._box.resize(self._exec_id, *size)
            while self._signals and not self._stream_over:
                signum = self._signals.popleft()
                self._sent.add(signum)
                await self._box.run(scripts.SIGNAL, self._pid, signum, user=self._user)
            while self._presses and not self._stream_over:
                self._presses -= 1
                await self._press()
        except BackendError as error:
            if not self._stream_over:
                _log.info("a program in a container could not be told", container=self._box.id[:12], error=str(error))

    async def _press(self) -> None:
        """Press the interrupt key ahead of what is stuck, or type it behind that."""
        assert self._connection is not None  # noqa: S101 - see `connect`
        _, kind, _ = await self._box.run(scripts.KEY, self._pid, user=self._user)
        if kind.strip() == b"key":
            await self._box.run(scripts.SIGNAL, self._pid, int(signal.SIGINT), user=self._user)
        else:
            self._connection.insist(_INTERRUPT)

    async def _learn(self) -> ExitStatus:
        status = await self._box.learn_exit(self._exec_id)
        if status is None:
            with contextlib.suppress(BackendError):
                await self._box.end(self._pid or 0, self._mark, 1.0, user=self._user)
            reason = "the connection to the program was cut; it cannot be taken up again, so the program was ended"
            return ExitStatus(lost=Lost.LINK, message=reason)
        if status.code is not None and (signum := status.code - 128) in self._sent:
            return ExitStatus(signal=signum)
        return status
