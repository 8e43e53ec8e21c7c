"""The log of a terminal: bytes with positions, events at positions. Everything that reads it is a cursor.

A position is the number of bytes before it. Bytes live in a ring: position `p` at offset `p % size` of a
`Region`. The region is larger than what is retained by `SLACK_BYTES`, so that new output can be read straight
into it without touching a byte that a reader may still ask for: `first` and `head` alone say what is valid.

A process killed between reading into the ring and moving the head leaves bytes that nobody else can read again.
So the memory is guarded before it is handed out: filled with what no text holds, up to a position that is kept.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

from replay.errors import BeyondHead, StorageFull, Trimmed
from replay.event import Event

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from replay.region import Region

SLACK_BYTES = 64 * 1024
"""The most that one `get_buffer` hands out, and how much larger a region is than what it retains."""

FIRST_WINDOW_BYTES = 4096
"""How much is guarded ahead of a log that has little to say: it touches no page before it needs it."""

EVENTS_LIMIT = 1024
"""How many events a log keeps; the oldest go first (a resize flood must not grow memory)."""

MINIMUM_RETENTION_BYTES = 64 * 1024


class Log:
    """One terminal's output: appended once, read by any number of cursors.

    Not thread-safe: it belongs to the event loop's thread. Nothing here awaits, logs or reads a clock.
    Memory is bounded by the region; a reader that falls behind `first` gets `Trimmed`, never wrong bytes.
    """

    def __init__(
        self,
        region: Region,
        *,
        retention_bytes: int,
        epoch: str,
        spare: Callable[[int], Region],
        make_durable: Callable[[], Region] | None = None,
        start: int = 0,
        head: int = 0,
        events: tuple[Event, ...] = (),
        is_over: bool = False,
    ) -> None:
        """Continue (or begin) the log kept in `region`; `spare` makes memory to go on in if it fills up.

        A log begun in memory for want of room has `make_durable`, which makes the storage it should have been in.
        One that `is_over` is there to be read: appending to it is a mistake.
        """
        self.epoch = epoch
        self.head = head
        self.degraded: StorageFull | None = None
        """Why the log lives in memory only at the moment; None while its storage works."""
        self.cells = region.cells
        """496 words (a memoryview of format Q), zero in a new log and kept with it: for a journal of its user's.

        A log begun in memory takes them along when `restore_storage` gives it a file: fetch them again then.
        """
        self._retention = retention_bytes
        self._start = start
        self._region = region
        self._durable = region
        self._make_durable = make_durable
        self._spare = spare
        self._view = region.view
        self._size = len(self._view)
        self._publish: Callable[[int, int], None] = region.publish
        self._guard_end = head
        """Up to here the bytes after the head are guarded."""
        self._window = FIRST_WINDOW_BYTES // 2  # doubled before its first use
        self._is_over = is_over
        self._is_closed = False
        self._events = list(events)
        self.next_index = events[-1].index + 1 if events else 1
        """The index that the next event will have."""
        self._recorded_index = 1
        """While in memory: events from this index on are not in the storage."""
        self._readers: list[Callable[[], None]] = []
        self.stored = 0
        """Up to here a keeper has copied the output to where others read it too."""
        self.trouble: str | None = None
        """Why a keeper cannot copy at the moment; None while it can, or if there is none."""
        self.on_room: Callable[[], None] = lambda: None
        """Called when the log is no longer full."""
        self._backlog_limit: int | None = None
        self._is_copied = False

    # -- bounds

    @property
    def first(self) -> int:
        """The oldest position that can be read."""
        return max(self._start, self.head - self._retention)

    @property
    def held_first(self) -> int:
        """The oldest position whose bytes are still in the memory, for a keeper: at most `first`."""
        return max(self._start, self.head - (self._size - SLACK_BYTES))

    @property
    def retention_bytes(self) -> int:
        """How many bytes are kept."""
        return self._retention

    @property
    def is_closed(self) -> bool:
        """Whether it has been closed."""
        return self._is_closed

    # -- being copied by a keeper

    def begin_copying(self, *, margin_bytes: int | None, after_writer: int = 0) -> int:
        """Have a keeper copy what is appended: it calls `note_stored` as it goes. Return its number as a writer.

        That is higher than all before it of this log, and than `after_writer`.

        The log counts as full when what is not stored yet leaves less than `margin_bytes` of the memory free: who
        appends must wait then, or the keeper finds a gap. None: never full.
        """
        capacity, self._is_copied = self._size - SLACK_BYTES, True
        self._backlog_limit = None if margin_bytes is None else max(capacity - margin_bytes, capacity // 2)
        self.stored = min(max(self._region.stored, self.held_first), self.head)
        self._region.note_writer(max(self._region.writer, after_writer) + 1)
        return self._region.writer

    @property
    def backlog_bytes(self) -> int:
        """How much a keeper has not stored yet; 0 if there is none."""
        return self.head - self.stored if self._is_copied else 0

    @property
    def shortcoming(self) -> str | None:
        """Why output is not kept as it should be at the moment; None: it is."""
        return self.trouble if self.degraded is None else str(self.degraded)

    @property
    def is_full(self) -> bool:
        """Whether nothing more may be appended until the keeper has copied some of what there is."""
        return self._backlog_limit is not None and self.head - self.stored > self._backlog_limit

    def note_stored(self, position: int) -> None:
        """Note how far the keeper has come; if it finds that something was lost there, less far than before."""
        if self._is_closed:
            return
        was_full = self.is_full
        self.stored = position
        self._durable.note_stored(position)
        if was_full and not self.is_full:
            self.on_room()

    def end_copying(self) -> None:
        """Wait for no keeper any more."""
        was_full, self._backlog_limit, self._is_copied = self.is_full, None, False
        if was_full:
            self.on_room()

    def read_held(self, position: int, end: int) -> bytes:
        """Return a copy for a keeper, of what may be older than `first`. Raises Trimmed, BeyondHead."""
        return self._copy_range(position, end, self.held_first)

    # -- appending

    def get_buffer(self) -> memoryview:
        """Return memory for the next output, 1 to SLACK_BYTES bytes; store into it, `commit` at once or in steps.

        Commit all that is stored: if this process is killed before, it counts as output nevertheless.
        """
        room = self._guard_end - self.head
        if room <= self._window >> 1:
            room = self._widen(room)
        offset = self.head % self._size
        return self._view[offset : offset + room]

    def _widen(self, room: int) -> int:
        """Guard a whole window again, a larger one if the last was used up at once; return how long it is."""
        if self._is_over:
            raise AssertionError("the log was opened to be read only")
        if room == 0:
            self._window = min(2 * self._window, SLACK_BYTES)
        offset = self.head % self._size
        length = min(self._window, self._size - offset)
        try:
            self._region.ensure(offset + length)
            self._region.guard(self._guard_end, self.head + length)
        except StorageFull as error:
            self._move_to_memory(error)
        self._guard_end = self.head + length
        return length

    def commit(self, nbytes: int) -> None:
        """Append the next `nbytes` of the buffer last returned; readers learn of it by `notify`."""
        self.head += nbytes
        self._publish(self._start, self.head)

    def append(self, data: bytes | bytearray | memoryview) -> None:
        """Append a copy of `data` and notify."""
        rest = memoryview(data).cast("B")
        while rest:
            buffer = self.get_buffer()
            taken = min(len(buffer), len(rest))
            buffer[:taken] = rest[:taken]
            self.commit(taken)
            rest = rest[taken:]
        self.notify()

    def add_event(self, kind: str, fields: Mapping[str, object], at: float) -> Event:
        """Append an event at the head and notify. One of the same kind at the same position is replaced."""
        event = Event(self.next_index, self.head, kind, fields, at)
        self.put_event(event)
        return event

    def put_event(self, event: Event) -> None:
        """Append an event of the log that this one follows: behind all others, at the head or before it."""
        self.next_index = event.index + 1
        self._events = [
            other for other in self._events if (other.position, other.kind) != (event.position, event.kind)
        ][-(EVENTS_LIMIT - 1) :]
        self._events.append(event)
        self._region.record(event)
        self.notify()

    def trim(self, before: int) -> None:
        """Forget everything before a position (at most the head)."""
        self._start = max(self._start, min(before, self.head))
        self._publish(self._start, self.head)

    # -- reading

    def read(self, position: int, limit: int) -> memoryview:
        """Return up to `limit` bytes from `position` without copying; empty at the head.

        The memory is valid until control returns to the event loop. Raises Trimmed, BeyondHead.
        """
        if position > self.head:
            raise BeyondHead(position, self.head)
        if position < self.first:
            raise Trimmed(position, self.first)
        return self._piece(position, limit)

    def _piece(self, position: int, limit: int) -> memoryview:
        offset = position % self._size
        return self._view[offset : offset + min(limit, self.head - position, self._size - offset)]

    def read_range(self, position: int, end: int) -> bytes:
        """Return a copy of the bytes from `position` to `end`. Raises Trimmed, BeyondHead."""
        return self._copy_range(position, end, self.first)

    def _copy_range(self, position: int, end: int, first: int) -> bytes:
        if end > self.head:
            raise BeyondHead(end, self.head)
        if position < min(first, end):
            raise Trimmed(position, first)
        pieces = []
        while position < end:
            piece = self._piece(position, end - position)
            pieces.append(bytes(piece))
            position += len(piece)
        return b"".join(pieces)

    def next_event(self, index: int, position: int) -> Event | None:
        """Return the first event at or after `position` whose index is at least `index`."""
        events = self._events
        if not events or events[-1].index < index:
            return None  # the common case on the hot path
        at = bisect_left(events, index, key=lambda event: event.index)
        return next((event for event in events[at:] if event.position >= position), None)

    def last_event(self, kind: str, before: int) -> Event | None:
        """Return the last event of a kind at or before a position."""
        return next((e for e in reversed(self._events) if e.kind == kind and e.position <= before), None)

    def subscribe(self, reader: Callable[[], None]) -> Callable[[], None]:
        """Call `reader` after everything that is appended, until the function returned is called.

        Subscribing before the first read leaves no gap in which an append could go unnoticed.
        """
        self._readers.append(reader)

        def unsubscribe() -> None:
            if reader in self._readers:
                self._readers.remove(reader)

        return unsubscribe

    @property
    def readers_count(self) -> int:
        """How many have subscribed and not left."""
        return len(self._readers)

    def notify(self) -> None:
        """Tell all readers that there is more."""
        for reader in tuple(self._readers):
            reader()

    # -- storage trouble

    def _move_to_memory(self, error: StorageFull) -> None:
        """Go on in memory when the storage fails: output is not lost, only its survival of a crash is."""
        spare = self._spare(self._size)
        position = self.held_first
        while position < self.head:  # the rest may be holes, and on a full disk reading one can be a SIGBUS too
            piece = self._piece(position, self.head - position)
            offset = position % self._size
            spare.view[offset : offset + len(piece)] = piece
            position += len(piece)
        self._durable.note_memory_head(self.head)
        self._region, self._view, self._publish = spare, spare.view, self._publish_from_memory
        self._recorded_index = self.next_index
        self.degraded = error

    def _publish_from_memory(self, _start: int, head: int) -> None:
        self._durable.note_memory_head(head)

    def reserve_storage(self) -> bool:
        """Make room in the storage for what is in memory only; return whether there is room now.

        May block for file operations; the one thing here that may be called in a thread of its own (once at a
        time, not after `close`): meanwhile a log in memory stores words beside the ring, nothing else.
        """
        if self.degraded is None:
            return True
        try:
            if self._make_durable is not None:
                durable, self._recorded_index = self._make_durable(), 1
                self._durable, self._make_durable = durable, None
            self._durable.ensure(self._needed_bytes)
        except StorageFull as error:
            self.degraded = error
            return False
        return self._region is not self._durable

    @property
    def _needed_bytes(self) -> int:
        """How much of the storage holds what there is, and the next output."""
        return min(self.head + SLACK_BYTES, self._size)

    def restore_storage(self) -> bool:
        """Try to return to the storage after trouble; return whether the log is durable (again).

        Blocks no longer than copying takes if `reserve_storage` has just made room.
        """
        if self.degraded is None:
            return True
        if not self.reserve_storage():
            return False
        filled, durable = min(self.head, self._size), self._durable
        # First say that nothing is kept: dying while copying must not leave a mixture that looks whole.
        durable.publish(self.head, self.head)
        durable.view[:filled] = self._view[:filled]
        for event in self._events:
            if event.index >= self._recorded_index:
                durable.record(event)
        if self.cells is not durable.cells:
            durable.cells[:] = self.cells
            self.cells = durable.cells
        durable.publish(self.first, self.head)
        durable.guard(self.head, self.head)
        durable.note_memory_head(None)
        durable.note_stored(self.stored)
        self._region.close()
        self._region, self._view, self._publish = durable, durable.view, durable.publish
        self._guard_end, self.degraded = self.head, None
        return True

    def close(self) -> None:
        """Release the memory; closing twice is harmless. Reading afterwards raises ValueError."""
        if self._is_closed:
            return
        self._is_closed = True
        self._backlog_limit = None
        self._readers.clear()
        if not self._is_over:
            self._region.guard(self.head, self.head)
        self._view = memoryview(b"")
        self._view.release()
        if self._region is not self._durable:
            self._region.close()
        self._durable.close()
