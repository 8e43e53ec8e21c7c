"""The way from viewers' keystrokes to the PTY: one queue per terminal, in order, bounded, acknowledged."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from terminal_service.inputs import InputLedger

if TYPE_CHECKING:
    from collections.abc import Callable

    from backends.base import Pty
    from terminal_service.counters import Counters

HIGH_WATER_BYTES = 2 * 1024 * 1024
"""Above this the viewers that type are read no further; what they had sent already is still taken.

An interrupt is seen only while its viewer is read: this is how much of a paste it never waits behind.
"""
LOW_WATER_BYTES = 256 * 1024
MESSAGE_COST_BYTES = 512
"""The least that a waiting input counts, about what it takes: tiny ones, and empty ones, fill the queue too."""
INTERRUPT = b"\x03"


@dataclass(slots=True)
class _Pending:
    client: str
    number: int | None
    data: memoryview


class Keyboard:
    """Queues input while the PTY is full.

    `acknowledge(client, n)` is called when everything of a client up to `n` was written. The queue's bound is
    the high-water mark plus what one read from each viewer brings: its owner stops reading viewers while `is_full`.
    """

    def __init__(
        self, *, acknowledge: Callable[[str, int], None], room: Callable[[], None], counters: Counters
    ) -> None:
        """Begin without a PTY: what is typed before it is there waits."""
        self.ledger = InputLedger()
        self.pending_bytes = 0
        self.is_full = False
        """Whether viewers should be read no further; `room` is called when that has passed."""
        self._queue: deque[_Pending] = deque()
        self._pty: Pty | None = None
        self._acknowledge = acknowledge
        self._room = room
        self._counters = counters

    def connect(self, pty: Pty) -> None:
        """Begin to write."""
        self._pty = pty
        self.flush()

    def repeats(self, client: str, number: int) -> bool:
        """Tell whether a numbered input was taken before; if so, acknowledge again what has been written."""
        count = self.ledger.count(client)
        if number > count.taken:
            return False
        self._counters.inputs_repeated += 1
        if count.written:
            self._acknowledge(client, count.written)
        return True

    def type(self, client: str, number: int | None, data: bytes) -> int:
        """Write input, or queue it behind what waits; return how many waiting bytes an interrupt discarded.

        The interrupt key does not wait behind a paste that the program does not read: where the terminal
        would act on it, it is acted on now, and what waits is discarded as the line discipline discards
        its own queue (termios(3), ISIG without NOFLSH). Also when nothing waits here: behind a few KiB of
        unread lines in the kernel's queues the line discipline would not see it either.
        """
        discarded = 0
        self._counters.input_bytes += len(data)
        rest = memoryview(data)
        if data == INTERRUPT and self._pty is not None and self._pty.interrupt():
            discarded = self._discard()
            rest = rest[:0]
        elif not self._queue and self._pty is not None:
            # Nothing waits: straight to the terminal, which nearly always takes all of it.
            taken = self._pty.write(data) if data else 0
            if taken == len(data):
                if number is not None:
                    self.ledger.mark_written(client, number)
                    self._acknowledge(client, number)
                return 0
            rest = rest[taken:]
        self._queue.append(_Pending(client, number, rest))
        self.pending_bytes += len(rest)
        self.flush()
        return discarded

    def flush(self) -> None:
        """Write what the PTY takes."""
        queue = self._queue
        while queue and self._pty is not None:
            head = queue[0]
            if head.data:
                taken = self._pty.write(head.data)
                self.pending_bytes -= taken
                head.data = head.data[taken:]
                if head.data:
                    break
            queue.popleft()
            self._written(head)
        self._watch_marks()

    def close(self) -> None:
        """Forget what waits: nobody will read it. It is not acknowledged, since it was not written."""
        self._pty = None
        self._queue.clear()
        self._counters.input_discarded_bytes += self.pending_bytes
        self.pending_bytes = 0
        self._watch_marks()

    def _written(self, item: _Pending) -> None:
        if item.number is not None:
            self.ledger.mark_written(item.client, item.number)
            self._acknowledge(item.client, item.number)

    def _discard(self) -> int:
        """Drop what waits; it counts as written, or its sender would send it again after the interrupt."""
        discarded = self.pending_bytes
        while self._queue:
            self._written(self._queue.popleft())
        self.pending_bytes = 0
        self._counters.input_discarded_bytes += discarded
        return discarded

    def _watch_marks(self) -> None:
        held = max(self.pending_bytes, MESSAGE_COST_BYTES * len(self._queue))
        if not self.is_full:
            self.is_full = held > HIGH_WATER_BYTES
        elif held <= LOW_WATER_BYTES:
            self.is_full = False
            self._room()
