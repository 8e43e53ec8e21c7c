"""Taking over a ring file from a process that is gone: nothing it read is lost, and what it lost is told."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replay.log import Log
from replay.memory import MemoryRegion
from replay.ringfile import GUARD_BYTES

if TYPE_CHECKING:
    from replay.ringfile import RingFile

DOUBT_BYTES = 1024 * 1024
"""How far back output is searched for bytes that no text contains: those could hide the end of a torn read."""


def take_over(region: RingFile, *, is_over: bool, at: float) -> Log:
    """Return the log in a ring file, to go on with or, if its program `is_over`, to be read; `at` is wall-clock time.

    A process killed between reading and publishing left bytes behind the head: they are appended. Where that may
    be less than it had read, because the output is not text, an event `gap` says so: `reason` "torn", `bytes` None.

    One killed while its log was in memory has lost that part: the log goes on at the next position, without what
    was before it, or is what it was before, if it is over. An event `gap` says so: `reason` "memory", `bytes` the
    output published in vain; a read that was never published may be lost too.

    The event is stored before what it is derived from is cleared, so dying in here changes nothing for the next.
    """
    start, head, memory_head = region.start, region.head, region.memory_head
    was_reading, lost = region.guard_end > head, max(0, (memory_head or 0) - head)
    if memory_head is None:
        head += region.torn_bytes
    elif lost and not is_over:
        start = head = memory_head
    log = Log(
        region,
        retention_bytes=region.retention_bytes,
        epoch=f"{region.epoch:016x}",
        spare=MemoryRegion,
        start=min(start, head),
        head=head,
        events=region.events(),
        is_over=is_over,
    )
    if memory_head is not None:
        _tell(log, at, reason="memory", lost=lost)
    elif was_reading and _has_other_than_text(log):
        _tell(log, at, reason="torn", lost=None)
    if memory_head is None or not is_over:
        region.publish(start, head)
        region.guard(head, head)
        region.note_memory_head(None)
    return log


def _tell(log: Log, at: float, *, reason: str, lost: int | None) -> None:
    """Mark a gap at the head, unless a process that died right afterwards has done so."""
    told = log.last_event("gap", log.head)
    if told is None or told.position != log.head:
        log.add_event("gap", {"reason": reason, "bytes": lost}, at)


def _has_other_than_text(log: Log) -> bool:
    """Tell whether recent output holds bytes of the guard pattern, or FF: binary data rarely goes without it."""
    recent = log.read_range(max(log.first, log.head - DOUBT_BYTES), log.head)
    return any(byte in recent for byte in (*GUARD_BYTES, 0xFF))
