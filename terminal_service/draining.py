"""Whether this process takes no new sessions any more, and how long it waits for those that it has."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from terminal_service import wire
from terminal_service.errors import Draining as DrainingError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from replay.event import Event
    from terminal_service.clock import Clock
    from terminal_service.session import Session

LOOK_SECONDS = 0.2
EVENT = "draining"
"""The event of a log that tells viewers, wherever they are; its one field is `deadline`."""

log = structlog.get_logger()


class Draining:
    """Begins once and is not undone: whoever drains a process wants it to end. A process begins without it.

    Viewers are told by an event in the log of each session, so they learn of it at other nodes too, and late.
    """

    def __init__(self, clock: Clock) -> None:
        """Begin to take sessions."""
        self.on_begin: Callable[[], None] = lambda: None
        """Called when it begins: what other nodes know of this one changes."""
        self.deadline: float | None = None
        """When this process ends at the latest, by the wall clock, for people; None: it does not drain."""
        self._until = 0.0
        self._begun = asyncio.Event()
        self._clock = clock

    @property
    def is_on(self) -> bool:
        """Whether new sessions are refused."""
        return self._begun.is_set()

    def check(self) -> None:
        """Raise errors.Draining if no new session is taken."""
        if self.is_on:
            raise DrainingError

    def begin(self, seconds: float, sessions: Iterable[Session]) -> float:
        """Take no new sessions, and tell the viewers of these; return the deadline, in wall-clock seconds.

        Again: another deadline.
        """
        is_first = not self.is_on
        self._until = self._clock.monotonic() + seconds
        self.deadline = self._clock.wall() + seconds
        self._begun.set()
        for session in sessions:
            self.tell(session)
        if is_first:
            self.on_begin()
        log.info("draining", seconds=seconds)
        return self.deadline

    def tell(self, session: Session) -> None:
        """Tell the viewers of a session until when it can stay here, if it cannot stay for good."""
        if self.is_on and session.is_living and session.terminal is not None:
            session.terminal.log.add_event(EVENT, {"deadline": self.deadline}, self._clock.wall())

    def lift(self, session: Session) -> None:
        """Tell the viewers of a session that has gone on in this process what no longer holds."""
        output = session.terminal.log if session.terminal is not None else None
        told = output.last_event(EVENT, output.head) if output is not None else None
        if output is not None and told is not None and told.fields["deadline"] is not None:
            output.add_event(EVENT, {"deadline": None}, self._clock.wall())

    async def over(self, living_count: Callable[[], int]) -> None:
        """Return when it has begun, and then every session has ended or the time is over."""
        await self._begun.wait()
        while living_count() and (left := self._until - self._clock.monotonic()) > 0:  # noqa: ASYNC110 - the deadline may move
            await asyncio.sleep(min(left, LOOK_SECONDS))
        log.info("drained", sessions_left=living_count())


def message_of(event: Event) -> wire.Draining:
    """Return what a viewer is told by the event."""
    deadline = event.fields["deadline"]
    return wire.Draining(deadline=None if deadline is None else float(str(deadline)))
