"""How much input may come in: a rate in the long run, and a burst at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from transports.connection import MESSAGE_COST_BYTES

if TYPE_CHECKING:
    from terminal_service.clock import Clock
    from terminal_service.settings import Settings


class Allowance:
    """A bucket of INPUT_BURST_BYTES that fills with INPUT_BYTES_PER_SECOND; 0 for either: no limit."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        """Begin full."""
        self._rate = settings.input_bytes_per_second
        self._burst = settings.input_burst_bytes
        self._clock = clock
        self._left = float(self._burst)
        self._at = clock.monotonic()

    def spend(self, nbytes: int) -> bool:
        """Take from it; False, taking nothing, while nothing is left. What is larger than the burst makes a debt."""
        if not self._rate or not self._burst:
            return True
        now = self._clock.monotonic()
        self._left = min(self._burst, self._left + (now - self._at) * self._rate)
        self._at = now
        if self._left <= 0:
            return False
        self._left -= max(nbytes, MESSAGE_COST_BYTES)
        return True
