"""Time in a loop that has no other: calls in the future, and work that is done step by step."""

from __future__ import annotations

import heapq
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Timer:
    """One call in the future."""

    def __init__(self, due: float, number: int, callback: Callable[[], object]) -> None:
        self.callback: Callable[[], object] | None = callback
        self._order = (due, number)

    @property
    def due(self) -> float:
        """When, on the monotonic clock."""
        return self._order[0]

    def __lt__(self, other: Timer) -> bool:
        return self._order < other._order

    def cancel(self) -> None:
        """Do not call; harmless after the call."""
        self.callback = None


class Clock:
    """All calls that are to come. Whoever waits asks `pause` for how long, and calls `run` afterwards."""

    def __init__(self) -> None:
        """Begin with none."""
        self._timers: list[Timer] = []
        self._last_number = 0

    def call_later(self, seconds: float, callback: Callable[[], object]) -> Timer:
        """Call `callback` in `seconds`."""
        self._last_number += 1
        timer = Timer(time.monotonic() + seconds, self._last_number, callback)
        heapq.heappush(self._timers, timer)
        return timer

    def pause(self) -> float | None:
        """Return the seconds until the next call; None if there is none."""
        while self._timers and self._timers[0].callback is None:
            heapq.heappop(self._timers)
        return max(0.0, self._timers[0].due - time.monotonic()) if self._timers else None

    def run(self) -> None:
        """Make the calls that are due now."""
        now = time.monotonic()
        while self._timers and self._timers[0].due <= now:
            timer = heapq.heappop(self._timers)
            if timer.callback is not None:
                timer.callback()


class Steps:
    """Work that yields how many seconds it waits at most (None: until it is woken) and so holds up nobody."""

    def __init__(self, clock: Clock, work: Iterator[float | None]) -> None:
        """Do the first step at the clock's next turn."""
        self._clock = clock
        self._work = work
        self._timer: Timer | None = None
        self._is_over = False
        self._wait(0)

    def wake(self) -> None:
        """Do the next step at the clock's next turn."""
        if not self._is_over:
            self._wait(0)

    def cancel(self) -> None:
        """Do no more steps."""
        self._is_over = True
        if self._timer is not None:
            self._timer.cancel()

    def _wait(self, seconds: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if seconds is None else self._clock.call_later(seconds, self._step)

    def _step(self) -> None:
        self._timer = None
        try:
            seconds = next(self._work)
        except StopIteration:
            self._is_over = True
            return
        if not self._is_over:
            self._wait(seconds)
