"""Numbered input of a client: kept until it is acknowledged, sent again on every connection."""

from __future__ import annotations

from collections import deque

from support.transcript import Deviation

LIMIT_BYTES = 1 << 20
"""Input kept until it is acknowledged; beyond it `put` is refused (AssertionError)."""


class Outbox:
    """What was typed and not acknowledged, and how far it was sent on this connection."""

    def __init__(self) -> None:
        self.acked_n = 0
        self._waiting: deque[tuple[int, bytes]] = deque()
        self._waiting_bytes = 0
        self._next_n = 1
        self._unsent = 0  # index into _waiting: inputs from here on were not sent on this connection

    def __len__(self) -> int:
        """How many inputs are not acknowledged."""
        return len(self._waiting)

    def put(self, data: bytes) -> int:
        """Keep an input; return its number."""
        number = self._next_n
        self._next_n += 1
        self._waiting.append((number, data))
        self._waiting_bytes += len(data)
        assert self._waiting_bytes <= LIMIT_BYTES, "too much unacknowledged input"
        return number

    def take_unsent(self) -> tuple[int, bytes] | None:
        """Return the next input to send on this connection."""
        if self._unsent == len(self._waiting):
            return None
        self._unsent += 1
        return self._waiting[self._unsent - 1]

    def begin(self, taken_n: int) -> None:
        """Begin on a new connection, whose server has taken inputs up to `taken_n`. Raises Deviation.

        All that is not acknowledged is sent again, though the server may have taken it: only what is written
        counts, and an acknowledgement that was lost comes again for a number that is repeated.
        """
        self._unsent = 0
        if self._next_n == 1:  # an earlier client of this id has typed: its numbers go on
            self.acked_n, self._next_n = taken_n, taken_n + 1
        if not self.acked_n <= taken_n < self._next_n:
            raise Deviation(f"input_n {taken_n}, acknowledged {self.acked_n}, sent {self._next_n - 1}")

    def acknowledge(self, number: int) -> None:
        """Forget what was written. Raises Deviation."""
        if not self.acked_n <= number < self._next_n:
            raise Deviation(f"input_ack {number}, was {self.acked_n}, sent {self._next_n - 1}")
        self.acked_n = number
        while self._waiting and self._waiting[0][0] <= number:
            _, data = self._waiting.popleft()
            self._waiting_bytes -= len(data)
            self._unsent = max(0, self._unsent - 1)
