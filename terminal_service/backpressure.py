"""Whether a program has to wait for its viewers: the only place that pauses and resumes a PTY."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence

    from backends.base import Pty
    from terminal_service.clock import Clock
    from terminal_service.counters import Counters

HIGH_WATER_BYTES = 128 * 1024
"""A program waits while every viewer it has to wait for is further behind than this."""
LOW_WATER_BYTES = 32 * 1024
STALL_SECONDS = 10.0
"""A viewer without progress for this long is not waited for; it catches up from the log."""
CHECK_SECONDS = 1.0


class Reader(Protocol):
    """A viewer as far as the program's waiting goes."""

    is_stalled: bool
    """Set here when it makes no progress, reset by the viewer when it does."""

    @property
    def lag(self) -> int:
        """How many bytes it is behind."""
        ...

    @property
    def holds_back(self) -> bool:
        """Whether the program should wait for it at all."""
        ...

    @property
    def progressed_at(self) -> float:
        """When it last made progress, in monotonic seconds."""
        ...


class Backpressure:
    """Holds a PTY while every viewer it waits for is far behind: a program feels that as at a real terminal.

    With nobody to wait for it runs on, and the log trims. If the log `is_full` it waits, whoever watches: a keeper
    has to copy some of it first.
    """

    def __init__(
        self,
        readers: Sequence[Reader],
        *,
        loop: asyncio.AbstractEventLoop,
        clock: Clock,
        counters: Counters,
        is_full: Callable[[], bool] = lambda: False,
    ) -> None:
        """Begin without a PTY. `readers` is the terminal's own list of viewers and may change at any time."""
        self.is_holding = False
        """Whether the PTY is paused."""
        self._readers = readers
        self._pty: Pty | None = None
        self._loop = loop
        self._clock = clock
        self._counters = counters
        self._is_full = is_full
        self._stall_check: asyncio.TimerHandle | None = None

    def connect(self, pty: Pty) -> None:
        """Begin to hold this PTY where need be."""
        self._pty = pty
        self.balance()

    def close(self) -> None:
        """Watch no longer for viewers that stall; closing twice is harmless."""
        if self._stall_check is not None:
            self._stall_check.cancel()

    def balance(self) -> None:
        """Pause the program while every viewer it waits for is far behind; go on when one is near."""
        is_full = self._is_full()
        if self._pty is None or not (self._readers or self.is_holding or is_full):
            return
        waited_for = [reader.lag for reader in self._readers if reader.holds_back]
        if not self.is_holding and (is_full or (waited_for and min(waited_for) > HIGH_WATER_BYTES)):
            self.is_holding = True
            self._counters.pty_pauses += 1
            self._pty.pause_reading()
            self._stall_check = self._loop.call_later(CHECK_SECONDS, self._check_stalled)
        elif self.is_holding and not is_full and (not waited_for or min(waited_for) <= LOW_WATER_BYTES):
            self.is_holding = False
            self._pty.resume_reading()
            self.close()

    def progressed(self, reader: Reader) -> None:
        """Let the program go on if it is held for this viewer alone."""
        if reader.lag <= LOW_WATER_BYTES or not reader.holds_back:
            self.balance()

    def _check_stalled(self) -> None:
        for reader in self._readers:
            if reader.lag > LOW_WATER_BYTES and self._clock.monotonic() - reader.progressed_at >= STALL_SECONDS:
                reader.is_stalled = True
        self.balance()
        if self.is_holding:
            self._stall_check = self._loop.call_later(CHECK_SECONDS, self._check_stalled)
