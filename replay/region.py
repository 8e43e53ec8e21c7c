"""The memory below a log: what a place that keeps logs has to offer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from replay.event import Event


class Region(Protocol):
    """Memory of a fixed size in which a log keeps its bytes, and what makes them last."""

    @property
    def view(self) -> memoryview:
        """All of the memory, writable; only the part that `ensure` covered may be stored to."""
        ...

    @property
    def cells(self) -> memoryview:
        """496 words of 64 bits beside it (format Q), zero at first."""
        ...

    def ensure(self, end: int) -> None:
        """Make offsets below `end` safe to store to. Raises StorageFull."""
        ...

    def guard(self, begin: int, end: int) -> None:
        """Mark the bytes from position `begin` to `end` as not written, and those before as guarded earlier.

        They must not reach over the edge of the ring. `begin` equal to `end`: nothing is handed out.
        """
        ...

    def publish(self, start: int, head: int) -> None:
        """Make the bytes before `head`, from `start`, part of what a later reader finds."""
        ...

    def note_memory_head(self, head: int | None) -> None:
        """Keep how far the log has gone on elsewhere, so that no position is used twice; None: it is here."""
        ...

    def record(self, event: Event) -> None:
        """Keep an event; the oldest may go."""
        ...

    @property
    def stored(self) -> int:
        """What `note_stored` kept last; 0: nothing."""
        ...

    @property
    def writer(self) -> int:
        """What `note_writer` kept last; 0: nothing."""
        ...

    def note_writer(self, number: int) -> None:
        """Keep the number of the keeper that copies the log now."""
        ...

    def note_stored(self, position: int) -> None:
        """Keep how far a keeper has copied the log (see `Log.begin_copying`)."""
        ...

    def close(self) -> None:
        """Release the memory; what was published stays where it is kept."""
        ...
