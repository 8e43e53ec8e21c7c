"""The way from viewers' keystrokes to the PTY: one queue per terminal, in order, bounded, acknowledged."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from terminal_service.inputs import InputLedger
from terminal_service.journal import ITEMS_LIMIT

if TYPE_CHECKING:
    from collections.abc import Callable

    from backends.base import Pty
    from terminal_service.counters import Counters
    from terminal_service.journal import Journal

HIGH_WATER_BYTES = 2 * 1024 * 1024
"""Above this the viewers that type are read no further; what they had sent already is still taken.

An interrupt is seen only while its viewer is read: this is how much of a paste it never waits behind.
"""
LOW_WATER_BYTES = 256 * 1024
MESSAGE_COST_BYTES = 512
"""The least that a waiting input counts, about what it takes: tiny ones, and empty ones, fill the queue too."""
INTERRUPT = b"\x03"
_MOST_ON_ITS_WAY = ITEMS_LIMIT - 1
"""The one at the head of the queue may have been begun too."""


@dataclass(slots=True)
class _Pending:
    client: str
    number: int | None
    data: memoryview
    is_begun: bool
    """Whether the journal knows it as the one being written."""


@dataclass(slots=True)
class _OnItsWay:
    client: str
    number: int
    end: int
    """What the terminal has taken once it has all of this (`Pty.written`)."""


class Keyboard:
    """Queues input while the PTY is full.

    `acknowledge(client, n)` is called when everything of a client up to `n` was written, and would be so if this
    process were killed now: what a terminal far away has been sent waits for its word. The queue's bound is
    the high-water mark plus what one read from each viewer brings: its owner stops reading viewers while `is_full`.

    The journal is told before and after each item is written. Whoever goes on with it, after this process was
    killed at whatever moment, writes nothing twice and leaves nothing out of what is sent again.
    """

    def __init__(
        self,
        *,
        acknowledge: Callable[[str, int], None],
        room: Callable[[], None],
        counters: Counters,
        journal: Journal,
    ) -> None:
        """Begin without a PTY: what is typed before it is there waits."""
        self.ledger = InputLedger(journal.written_number)
        self.pending_bytes = 0
        self.is_full = False
        """Whether viewers should be read no further; `room` is called when that has passed."""
        self._queue: deque[_Pending] = deque()
        self._on_its_way: deque[_OnItsWay] = deque()
        self._pty: Pty | None = None
        self._acknowledge = acknowledge
        self._room = room
        self._counters = counters
        self._journal = journal

    def connect(self, pty: Pty) -> None:
        """Begin to write, or go on where an earlier process ended."""
        try:
            self._journal.settle(pty.written)
        except ValueError:  # its memory was released with the log, in a stop: nobody will type
            return
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
        pty = self._pty
        size = len(data)
        self._counters.input_bytes += size
        if pty is not None:
            if data == INTERRUPT and self._interrupt(pty, client, number):
                discarded = self._discard()
                self._written(client, number)
                self._journal.end_interrupt()
                self._watch_marks()
                return discarded
            if not self._queue and len(self._on_its_way) < _MOST_ON_ITS_WAY:
                # Nothing waits: straight to the terminal, which nearly always takes all of it.
                taken = self._begin(pty, client, number, size)
                if taken < size:
                    taken += pty.write(data[taken:] if taken else data)
                if taken == size:
                    self._sent(pty, client, number)
                    return 0
                self._wait(_Pending(client, number, memoryview(data)[taken:], is_begun=True))
                return 0
        self._wait(_Pending(client, number, memoryview(data), is_begun=False))
        return 0

    def _wait(self, item: _Pending) -> None:
        self._queue.append(item)
        self.pending_bytes += len(item.data)
        self.flush()

    def flush(self) -> None:
        """Acknowledge what has been written since, and write what the PTY takes."""
        queue = self._queue
        self._acknowledge_arrived()
        while queue and self._pty is not None:
            head = queue[0]
            if not head.is_begun:
                if len(self._on_its_way) >= _MOST_ON_ITS_WAY:
                    break
                taken = self._begin(self._pty, head.client, head.number, len(head.data))
                self.pending_bytes -= taken
                head.data = head.data[taken:]
                head.is_begun = True
            if head.data:
                taken = self._pty.write(head.data)
                self.pending_bytes -= taken
                head.data = head.data[taken:]
                if head.data:
                    break
            queue.popleft()
            self._sent(self._pty, head.client, head.number)
        self._watch_marks()

    def close(self) -> None:
        """Forget what waits: nobody will read it. It is not acknowledged, since it was not written."""
        self._pty = None
        self._queue.clear()
        self._on_its_way.clear()
        self._counters.input_discarded_bytes += self.pending_bytes
        self.pending_bytes = 0
        self._watch_marks()

    def _begin(self, pty: Pty, client: str, number: int | None, size: int) -> int:
        """Let the journal know what is written next; return how much of it the terminal has already."""
        return 0 if number is None else self._journal.begin(client, number, size, pty.written)

    def _sent(self, pty: Pty, client: str, number: int | None) -> None:
        """Count as written what the terminal has taken, or wait for its word where it is far away."""
        if number is not None and (pty.unconfirmed or self._on_its_way):
            self._on_its_way.append(_OnItsWay(client, number, pty.written))
        else:
            self._written(client, number)

    def _acknowledge_arrived(self) -> None:
        """Count as written what has arrived."""
        if self._pty is not None and self._on_its_way:
            arrived = self._pty.written - self._pty.unconfirmed
            while self._on_its_way and self._on_its_way[0].end <= arrived:
                item = self._on_its_way.popleft()
                self._written(item.client, item.number)

    def _written(self, client: str, number: int | None) -> None:
        if number is not None:
            self._journal.finish(client, number)
            self.ledger.mark_written(client, number)
            self._acknowledge(client, number)

    def _interrupt(self, pty: Pty, client: str, number: int | None) -> bool:
        """Interrupt the program, if the key would; until this is settled the journal takes it for done."""
        if number is not None:
            self._journal.begin_interrupt(client, number)
        if pty.interrupt():
            return True
        self._journal.end_interrupt()
        return False

    def _discard(self) -> int:
        """Drop what waits; it counts as written, or its sender would send it again after the interrupt."""
        discarded = self.pending_bytes
        while self._on_its_way:
            sent = self._on_its_way.popleft()
            self._written(sent.client, sent.number)
        while self._queue:
            item = self._queue.popleft()
            self._written(item.client, item.number)
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
