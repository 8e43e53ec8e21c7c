"""How far one log has been copied to Redis, and what goes there next. Sends nothing itself."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from replay.redis_scripts import APPEND, CLAIM, DELETE, Call, Keys, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable

    from replay.event import Event
    from replay.log import Log
    from replay.redis_scripts import Answer

CHUNK_BYTES = 63 * 1024
"""The most output in one entry of the stream: with what is around it, it fits the allocator's class of 64 KiB."""
PROOF_BYTES = 64 * 1024
"""So much of what an earlier writer stored is compared by its heir before it goes on."""
EVENT_BYTES = 256
"""What an event counts for in a batch."""


class State(Enum):
    """Whether a copy goes on; it ends in at most one way."""

    OPEN = "open"
    FENCED = "another node writes this log now"
    FORKED = "the log in Redis has other bytes at the same positions"
    DELETED = "deleted"


@dataclass(frozen=True)
class Batch:
    """One call, and what it brings: `position` and `index` are where the next one begins once it is stored."""

    call: Call
    position: int = 0
    index: int = 0
    size: int = 0
    output_bytes: int = 0
    lost_bytes: int = 0
    """Output that had left the memory before it could be stored: a gap in the stream."""


class Copy:
    """One log on its way to Redis: a cursor that moves when Redis has answered.

    Belongs to the event loop's thread, as the log does; it may be made in another one.
    """

    def __init__(self, name: str, log: Log, *, number: int, ttl_seconds: float, wake: Callable[[Copy], None]) -> None:
        """Begin at what an earlier process is known to have stored.

        `number`: of this writer, higher than that of every one before it. `wake` is called when there is more.
        """
        self.name = name
        self.log = log
        self.state = State.OPEN
        self.is_waiting = False
        """Whether it is queued already, or in flight."""
        self.failures = 0
        self.touched_at = 0.0
        self.position = log.stored
        self._index = 1
        self._number = number
        self._is_claimed = False
        self._is_deleted = False
        self._is_sure = False
        """Whether this process has stored everything before `position`, or seen that it is the same."""
        self._keys = Keys.of(name)
        self._ttl_ms = int(ttl_seconds * 1000)
        self._wake = wake
        self._leave = log.subscribe(self.touch)

    def touch(self) -> None:
        """Ask for a turn. The way of every append, kept short."""
        if not self.is_waiting:
            self._wake(self)

    @property
    def is_behind(self) -> bool:
        """Whether Redis does not have everything yet."""
        return (
            self.state is State.DELETED
            or self.position < self.log.head
            or self._index < self.log.next_index
            or not self._is_claimed
        )

    @property
    def backlog_bytes(self) -> int:
        """How much output Redis does not have yet."""
        return max(0, self.log.head - self.position)

    @property
    def is_over(self) -> bool:
        """Whether it will never be sent again."""
        return self._is_deleted if self.state is State.DELETED else self.state is not State.OPEN

    @property
    def is_released(self) -> bool:
        """Whether there is nothing to be sent: its log is closed, and it was not deleted."""
        return self.is_over or (self.log.is_closed and self.state is State.OPEN)

    def fail(self, error: Exception) -> None:
        """Note that Redis did not do what it was asked, or that nobody knows.

        Viewers are told the kind of error: its text names machines, and is for whoever operates them.
        """
        self.failures += 1
        self.log.trouble = f"Redis does not take it at the moment ({type(error).__name__})"

    # -- sending

    def take(self, limit_bytes: int, *, now: float) -> Batch:
        """Return what goes next, up to about so many bytes; with nothing new it refreshes the time to live.

        `now` is wall-clock seconds.
        """
        log = self.log
        if self.state is State.DELETED:
            return Batch(Call(DELETE, self._keys, (log.epoch,)))
        if not self._is_claimed:
            arguments = (log.epoch, self._number, log.first, log.retention_bytes, self._ttl_ms)
            return Batch(Call(CLAIM, self._keys, arguments))
        return self._take_items(limit_bytes, int(now * 1000))

    def _take_items(self, limit_bytes: int, milliseconds: int) -> Batch:
        log = self.log
        base = position = self.position
        index, size, lost = self._index, 0, 0
        items: list[str | bytes | int] = []
        if position < log.held_first:
            lost, position = log.held_first - position, log.held_first
            items += ["g", milliseconds, position]
        while size < limit_bytes:
            event = log.next_event(index, 0)
            if event is not None and event.position <= position:
                items += ["e", event.index, _write_event(event)]
                index, size = event.index + 1, size + EVENT_BYTES
                continue
            end = min(log.head, position + CHUNK_BYTES, position + limit_bytes - size)
            end = end if event is None else min(end, event.position)
            if end <= position:
                break
            items += ["d", milliseconds, log.read_held(position, end)]
            position, size = end, size + end - position
        arguments = (log.epoch, self._number, log.first, self._ttl_ms, base, *items)
        call = Call(APPEND, self._keys, arguments)
        return Batch(call, position, index, size, position - base - lost, lost)

    # -- what came of it

    def settle(self, batch: Batch, answer: Answer) -> None:
        """Move on, or back, as Redis has answered."""
        self.failures, self.log.trouble = 0, None
        match answer.verdict:
            case Verdict.CLAIMED if answer.head > self.log.head:
                self.end(State.FORKED)
            case Verdict.CLAIMED:
                self._is_claimed = True
                proof = answer.head - PROOF_BYTES
                self._go_to(answer, back_to=min(proof, self.position) if self._is_sure else proof)
            case Verdict.STORED:
                self.position, self._index, self._is_sure = batch.position, batch.index, True
                self.log.note_stored(answer.head)
            case Verdict.BEHIND:
                self._go_to(answer, back_to=answer.head)
            case Verdict.UNKNOWN:
                self._is_claimed = False
            case Verdict.FENCED:
                self.end(State.FENCED)
            case Verdict.FORKED:
                self.end(State.FORKED)
            case Verdict.DELETED:
                self._is_deleted = True

    def _go_to(self, answer: Answer, *, back_to: int) -> None:
        """Go on where Redis is, or a little before: what it has is compared, and another history is not continued."""
        self.position = min(answer.head, max(back_to, self.log.held_first))
        self._index = answer.index + 1
        self.log.note_stored(answer.head)

    def end(self, state: State) -> None:
        """Copy no more, for good; nobody waits for it. Ending twice changes nothing but to DELETED."""
        if self.state is State.OPEN or state is State.DELETED:
            self.state = state
        self._leave()
        self.log.end_copying()
        self.log.trouble = None if state is State.DELETED else state.value


def _write_event(event: Event) -> bytes:
    fields = [event.index, event.position, event.kind, dict(event.fields), event.at]
    return json.dumps(fields, separators=(",", ":")).encode()
