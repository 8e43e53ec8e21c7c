"""The master side of a PTY on the event loop: output into a sink, input with backpressure."""

from __future__ import annotations

import asyncio
import errno
import os
from typing import TYPE_CHECKING

from backends.holder.hopper import Hopper

if TYPE_CHECKING:
    from backends.base import Sink

_READS = 16
"""Reads per wake-up; Linux gives at most 4 KiB each, so other terminals wait for 64 KiB at the most."""

_INTERACTIVE = 1024
"""A read shorter than this emptied the terminal: another would only say so, for the price of an exception.

Measured in a flood: 99 % of reads are 4095 bytes, the least 1024."""

_RETRY_SECONDS = (0.01, 2.0)
"""First and longest pause after the terminal hung up under a living program."""

_SWEEP_WAKEUPS = 16
"""Bound on the last look at a terminal whose processes are gone (16 x 64 KiB; Linux buffers 128 KiB)."""


class Master:
    """Reads whenever the sink may have more, writes whatever the terminal takes; owns the descriptor.

    The descriptor must be non-blocking. Works alike on asyncio's and uvloop's event loops.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, descriptor: int, sink: Sink, *, hopper: int | None = None
    ) -> None:
        """Take over the descriptors and start to read. Raises OSError (no room to map); then nothing is taken."""
        self.hopper = Hopper(descriptor, hopper)
        self._loop = loop
        self._descriptor = descriptor
        self._sink = sink
        self._paused = False
        self._watched = False
        self._draining = False
        self._awaits_room = False
        self._hung_up = asyncio.Event()
        self._last_read = 0.0
        self._retry: asyncio.TimerHandle | None = None
        self._retry_seconds = 0.0
        self._watch()

    @property
    def descriptor(self) -> int:
        """The descriptor, for questions to the line discipline; -1 after `close`."""
        return self._descriptor

    def pause_reading(self) -> None:
        """Stop reading, until `resume_reading` or `drain`."""
        self._paused = True
        if not self._draining:
            self._unwatch()

    def resume_reading(self) -> None:
        """Read again."""
        self._paused = False
        if self._retry is None:
            self._watch()

    def write(self, data: bytes | memoryview) -> int:
        """Write what fits; if that is not all, call the sink's `resume_writing` once there is room.

        A line longer than 4095 bytes is cut by the line discipline if the program reads in lines (termios(3),
        canonical mode), as at every terminal of the system; whole lines and raw input are never cut.
        """
        if self._draining or self._descriptor < 0:
            return len(data)
        written = self.hopper.pour(data)
        if written < len(data) and not self._awaits_room:
            self._awaits_room = True
            self._loop.add_writer(self._descriptor, self._has_room)
        return written

    async def drain(self, *, quiet_seconds: float, limit_seconds: float) -> None:
        """Read the last output of a program that has ended, even if paused, until the terminal hangs up.

        It does not hang up while somebody else has it open; then `quiet_seconds` without output are the end,
        or `limit_seconds` in all. Input is taken and thrown away from now on.
        """
        self._draining = True
        self._stop_waiting_for_room()
        self._cancel_retry()
        self._last_read = begun = self._loop.time()
        self._watch()
        self._read()
        while not self._hung_up.is_set():
            end = min(self._last_read + quiet_seconds, begun + limit_seconds)
            left = end - self._loop.time()
            if left <= 0:
                return
            try:
                async with asyncio.timeout(left):
                    await self._hung_up.wait()
            except TimeoutError:
                continue

    def sweep(self) -> None:
        """Take what is there now, up to a bound."""
        for _ in range(_SWEEP_WAKEUPS):
            if self._hung_up.is_set() or not self._read():
                return

    def close(self) -> None:
        """Release the descriptor: to whoever still has the terminal open it hangs up. Harmless twice."""
        if self._descriptor < 0:
            return
        self._unwatch()
        self._cancel_retry()
        self._stop_waiting_for_room()
        self.hopper.close()
        os.close(self._descriptor)
        self._descriptor = -1

    def _read(self) -> bool:
        """Read until the terminal is empty or others have waited long enough; tell whether anything was read.

        This is the hot path of the product: nothing is allocated and nothing copied here.
        """
        descriptor, sink = self._descriptor, self._sink
        hung_up = taken = False
        buffer = sink.get_buffer(-1)  # once: what comes in one wake-up goes into it piece by piece
        try:
            for _ in range(_READS):
                count = os.readv(descriptor, (buffer,))
                if not count:
                    hung_up = True  # the BSDs' way to say it
                    break
                taken = True
                sink.buffer_updated(count)
                buffer = buffer[count:]
                if count < _INTERACTIVE or not buffer or not self._watched:  # the sink may have paused us
                    break
        except BlockingIOError:
            pass
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            hung_up = True
        if taken:
            sink.drained()
            self._last_read = self._loop.time()
            self._retry_seconds = 0.0
        if hung_up:
            self._hang_up()
        return taken

    def _hang_up(self) -> None:
        """Nobody has the terminal open, but somebody may again while the program lives.

        login(1) does so with vhangup(2), and a program may close its three descriptors and open /dev/tty
        later. The descriptor would be readable without end, so it is looked at now and then.
        """
        self._unwatch()
        if self._draining:
            self._hung_up.set()
        elif self._retry is None and self._descriptor >= 0:
            first, longest = _RETRY_SECONDS
            self._retry_seconds = min(max(self._retry_seconds * 2, first), longest)
            self._retry = self._loop.call_later(self._retry_seconds, self._look_again)

    def _look_again(self) -> None:
        self._retry = None
        self._watch()

    def _cancel_retry(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None

    def _watch(self) -> None:
        wanted = self._draining or not self._paused
        if wanted and not self._watched and not self._hung_up.is_set() and self._descriptor >= 0:
            self._watched = True
            self._loop.add_reader(self._descriptor, self._read)

    def _unwatch(self) -> None:
        if self._watched:
            self._watched = False
            self._loop.remove_reader(self._descriptor)

    def _has_room(self) -> None:
        self._stop_waiting_for_room()

    def _stop_waiting_for_room(self) -> None:
        """Give the sink its turn: there is room, or nobody to need it."""
        if self._awaits_room:
            self._awaits_room = False
            self._loop.remove_writer(self._descriptor)
            self._sink.resume_writing()
