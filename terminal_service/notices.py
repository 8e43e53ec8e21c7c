"""What the place where a session runs says of itself while people watch: kept in the log, so that all see the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from backends.base import Notice
from terminal_service import wire

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Mapping

    from replay.event import Event
    from replay.log import Log
    from terminal_service.clock import Clock
    from terminal_service.session import Session

EVENT = "notice"
"""The event of a log. Of several at one position the last one stays: it is what holds there."""
PROGRESS = "progress"
PACE_SECONDS = 0.25
"""Progress is told so often at most, the latest."""
MESSAGE_CHARACTERS = 500
FIELDS_BYTES = 2048
STANDING = frozenset({"link_lost", "ending_soon"})
"""Kinds that hold until another notice: whoever comes later is told too."""
REMARKABLE = frozenset({PROGRESS, "link_lost", "link_back", "link_given_up"})
"""Kinds that say how it is with the session's state, and so are a reason in its history."""


class Notices:
    """Tells the viewers of one session; belongs to the loop's thread. Nothing is told before there is a log."""

    def __init__(self, session: Session, loop: asyncio.AbstractEventLoop, clock: Clock) -> None:
        """Begin with nothing told."""
        self._session = session
        self._loop = loop
        self._clock = clock
        self._last: Notice | None = None
        self._told_at = float("-inf")
        self._waiting: Notice | None = None
        self._timer: asyncio.TimerHandle | None = None

    def tell(self, notice: Notice) -> None:
        """Tell it where the output is now; the same one again is told once."""
        notice = _bounded(notice)
        self._drop_waiting()
        if notice == self._last:
            return
        wait = self._told_at + PACE_SECONDS - self._clock.monotonic()
        if notice.kind == PROGRESS and wait > 0:
            self._waiting = notice
            self._timer = self._loop.call_later(wait, self._tell_waiting)
            return
        self._put(notice)

    def tell_ready(self) -> None:
        """Tell that what was prepared is ready, if anybody was told of its progress."""
        if self._last is not None and self._last.kind == PROGRESS:
            self.tell(Notice("ready", "the session runs"))

    def tell_back(self, message: str) -> None:
        """Tell that a link is there again, if anybody was told that it is lost."""
        if self._last is not None and self._last.kind == "link_lost":
            self.tell(Notice("link_back", message))

    def _drop_waiting(self) -> None:
        self._waiting = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tell_waiting(self) -> None:
        notice, self._waiting, self._timer = self._waiting, None, None
        if notice is not None:
            self._put(notice)

    def _put(self, notice: Notice) -> None:
        session = self._session
        terminal = session.terminal
        if terminal is None or terminal.is_left or not session.is_living:
            return
        self._last, self._told_at = notice, self._clock.monotonic()
        fields = {"kind": notice.kind, "message": notice.message, "fields": dict(notice.fields)}
        terminal.log.add_event(EVENT, fields, self._clock.wall())
        if notice.kind in REMARKABLE:
            session.remark(notice.message)


def message_of(event: Event) -> wire.Notice:
    """Return what a viewer is told by the event."""
    fields = event.fields.get("fields")
    return wire.Notice(
        kind=str(event.fields["kind"]),
        message=str(event.fields["message"]),
        seq=event.position,
        timestamp=event.at,
        fields=dict(fields) if isinstance(fields, dict) else {},
    )


def last_notice(log: Log) -> wire.Notice | None:
    """Return what was told last, if that is still known."""
    event = log.last_event(EVENT, log.head)
    return None if event is None else message_of(event)


def _bounded(notice: Notice) -> Notice:
    """Return it as it may be shown: one short line, and fields that are not large."""
    message = "".join(each if each.isprintable() else " " for each in notice.message[:MESSAGE_CHARACTERS])
    return Notice(notice.kind, message, _bounded_fields(notice.fields))


def _bounded_fields(fields: Mapping[str, object]) -> Mapping[str, object]:
    try:
        encoded = msgspec.json.encode(dict(fields))
    except (TypeError, ValueError, OverflowError):  # what JSON does not have
        return {}
    return dict(fields) if len(encoded) <= FIELDS_BYTES else {}
