"""Who is attached to a terminal, as everybody attached is told."""

from __future__ import annotations

from typing import TYPE_CHECKING

from terminal_service import wire

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence

    from terminal_service.clock import Clock
    from terminal_service.viewer import Viewer

PRESENCE_SECONDS = 0.1
"""Changes of who is attached, and how large, are told at most this often: of N viewers each is told of N."""


def responder_of(attachments: Sequence[Viewer]) -> str | None:
    """Return the client whose emulator answers the program's queries: of several only one may."""
    return next((each.client_id for each in attachments if each.is_writer), None)


class Presence:
    """Tells the viewers of one terminal of each other: at once, or soon after it was last told."""

    def __init__(self, attachments: Sequence[Viewer], *, loop: asyncio.AbstractEventLoop, clock: Clock) -> None:
        """Begin untold. `attachments` is the terminal's own list and may change at any time."""
        self._attachments = attachments
        self._loop = loop
        self._clock = clock
        self._told_at = float("-inf")
        self._timer: asyncio.TimerHandle | None = None

    def tell(self) -> None:
        """Tell everybody who is attached: now, or soon if that was told just now."""
        if self._timer is not None:
            return
        wait = self._told_at + PRESENCE_SECONDS - self._clock.monotonic()
        if wait <= 0:
            self._tell_now()
        else:
            self._timer = self._loop.call_later(wait, self._tell_now)

    def welcome(self, attachment: Viewer) -> None:
        """Tell everybody of a newcomer, and the newcomer at once."""
        self.tell()
        if self._timer is not None:  # the others will be told; it must not wait
            attachment.tell_viewers(self._message())

    def _tell_now(self) -> None:
        self._timer = None
        self._told_at = self._clock.monotonic()
        message = self._message()
        for attachment in list(self._attachments):
            attachment.tell_viewers(message)

    def _message(self) -> wire.Viewers:
        viewers: list[dict[str, object]] = [
            {
                "client_id": a.client_id,
                "user": a.user,
                "role": a.role,
                "rows": a.size.rows if a.size else None,
                "cols": a.size.cols if a.size else None,
                "position": a.position,
            }
            for a in self._attachments
        ]
        return wire.Viewers(viewers=viewers, responder=responder_of(self._attachments))
