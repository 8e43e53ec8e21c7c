"""The local copy of a log that another node writes: what of messages and of the stream goes into it, and what not.

Two sources say the same thing: messages, which are fast and may be lost, doubled, late or damaged, and the stream,
which is the truth. A message is taken if it continues the copy exactly where it ends: same history, same position,
same event before it. Anything else is no more than a hint that the stream has more. Sends nothing itself.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from replay.event import Event
from replay.log import MINIMUM_RETENTION_BYTES, SLACK_BYTES, Log
from replay.memory import MemoryRegion
from replay.redis_reader import Chunk, Hole, parse_entry

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from replay.redis_message import Message
    from replay.redis_reader import Facts, Item

TURN_BYTES = 256 * 1024
"""How much is taken before others have their turn."""
PENDING_BYTES = 1024 * 1024
"""How much of what is heard while the stream is read is kept until that is done; the rest is read from there."""
ITEM_BYTES = 256
"""What a message or entry counts for beside its bytes."""


class HistoryLost(Exception):
    """The copy cannot be continued: what Redis has now is another history, or nothing."""


@dataclass(frozen=True)
class State:
    """How far Redis is with a log."""

    epoch: str
    head: int
    index: int
    is_sealed: bool


class Mirror:
    """A copy of a log in memory, as its owner's: same epoch, positions, events and retention.

    Where output is missing (the owner lost it before Redis had it, or it was trimmed before it was read here) the copy
    goes on behind that, and forgets what is before: a position alone cannot tell the two sides apart. A reader that had
    not come so far is told what it missed, as it is by any log (`Trimmed`).
    """

    def __init__(self, facts: Facts) -> None:
        """Begin with what is known of the log; `log` is there when the first of it was read."""
        self._facts = facts
        self._early: list[Event] = []
        self._log: Log | None = None
        self._pending: deque[Message] = deque()
        self._pending_bytes = 0
        self._has_missed = False
        self.is_reading = True
        """Whether the stream is read, or about to be; what is heard meanwhile has to wait."""

    @property
    def epoch(self) -> str:
        """The name of the history it is a copy of."""
        return self._facts.epoch

    @property
    def log(self) -> Log:
        """The copy."""
        if self._log is None:
            raise AssertionError("nothing was read yet")
        return self._log

    # -- messages

    def hear(self, message: Message | None) -> bool:
        """Take a message (None: it was damaged) if it fits; return whether the stream should be read."""
        if self.is_reading:
            self._keep(message)
            return False
        return message is None or not self._fit(message)

    def _keep(self, message: Message | None) -> None:
        if message is None or self._pending_bytes + _size_of(message.item) > PENDING_BYTES:
            self._has_missed = True
            return
        self._pending.append(message)
        self._pending_bytes += _size_of(message.item)

    def _fit(self, message: Message) -> bool:
        """Append it, if it is the very next thing; return whether it, or what is there, is enough."""
        log, item = self.log, message.item
        if message.epoch != log.epoch:
            return False  # the stream knows which of the two it is
        is_known = item.index < log.next_index if isinstance(item, Event) else item.end <= log.head
        if is_known:
            return True
        if message.head != log.head or message.index != log.next_index - 1:
            return False
        self._append(log, item)
        return True

    # -- the stream

    def prepare(self) -> None:
        """Redis is asked now: what was heard before is in the stream."""
        self._pending.clear()
        self._pending_bytes, self._has_missed = 0, False

    def learn(self, facts: Facts) -> None:
        """Note what was known of the log before the entries that are taken next were read."""
        self._facts = facts

    def take(self, entries: Sequence[tuple[bytes, Mapping[bytes, bytes]]]) -> int:
        """Take as many entries of the stream as one turn allows; return how many."""
        size = count = 0
        for entry_id, fields in entries:
            if size >= TURN_BYTES:
                break
            item = parse_entry(entry_id, fields)
            self._take(item)
            size += _size_of(item)
            count += 1
        return count

    def _take(self, item: Item) -> None:
        log = self._log
        if log is None:
            if isinstance(item, Event):
                self._early.append(item)
                return
            log = self._begin(item.end if isinstance(item, Hole) else item.start)
        if isinstance(item, Event):
            if item.index >= log.next_index:
                self._skip_to(log, item.position)
                log.put_event(item)
        elif item.end > log.head:
            self._skip_to(log, item.start)
            self._append(log, item)

    def _skip_to(self, log: Log, position: int) -> None:
        """Where output is missing, go on behind it, with what is known of the events there."""
        if position > log.head:
            _skip(log, position)
            self._put_known(log)

    def _put_known(self, log: Log) -> None:
        """Put the last events of each kind that are not in the stream any more."""
        for event in self._facts.events:
            if event.index >= log.next_index and event.position <= log.head:
                log.put_event(event)

    def _begin(self, start: int) -> Log:
        retention = max(self._facts.retention_bytes, MINIMUM_RETENTION_BYTES)
        region = MemoryRegion(retention + SLACK_BYTES)
        log = Log(
            region, retention_bytes=retention, epoch=self._facts.epoch, spare=MemoryRegion, start=start, head=start
        )
        known = {event.index: event for event in (*self._facts.events, *self._early) if event.position <= start}
        for _, event in sorted(known.items()):
            log.put_event(event)
        self._early.clear()
        self._log = log
        return log

    def catch_up(self) -> bool:
        """Take of what was heard since `prepare` as much as one turn allows; return whether that goes on."""
        log = self._log if self._log is not None else self._begin(self._facts.head)
        log.next_index = max(log.next_index, self._facts.index + 1)
        size = 0
        while self._pending and not self._has_missed:
            if size >= TURN_BYTES:
                return True
            message = self._pending.popleft()
            size += _size_of(message.item)
            self._has_missed = not self._fit(message)
        return False

    def finish_reading(self) -> bool:
        """Go on with messages; return whether the stream has to be read again first."""
        self.is_reading = self._has_missed or bool(self._pending)
        self._pending_bytes = 0
        return self.is_reading

    def compare(self, state: State) -> bool:
        """Return whether the stream has something that is not here. Raises HistoryLost."""
        log = self.log
        if state.epoch != log.epoch:
            raise HistoryLost
        if state.head > log.head or (state.head == log.head and state.index >= log.next_index):
            return True
        if state.is_sealed and not self.is_reading and log.last_event("ended", log.head) is None:
            raise HistoryLost  # Redis has lost what is here, and then its owner has gone too
        return False

    def close(self) -> None:
        """Release the memory."""
        if self._log is not None:
            self._log.close()

    @staticmethod
    def _append(log: Log, item: Item) -> None:
        if isinstance(item, Event):
            log.put_event(item)
        elif isinstance(item, Chunk):
            log.append(memoryview(item.data)[log.head - item.start :])
        else:
            _skip(log, item.end)


def _size_of(item: Item) -> int:
    return ITEM_BYTES + (len(item.data) if isinstance(item, Chunk) else 0)


def _skip(log: Log, position: int) -> None:
    """Move the head over what is not there, and forget what is before it."""
    while log.head < position:
        log.commit(min(len(log.get_buffer()), position - log.head))
    log.trim(position)
    log.notify()
