"""What people at a session are told of the link to the machine it runs on."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from backends.base import Notice

if TYPE_CHECKING:
    from collections.abc import Callable


class LinkNews:
    """Tells once that the link is cut, and once what became of that."""

    def __init__(self, tell: Callable[[Notice], None]) -> None:
        """Begin with a link of which nothing is to be told."""
        self._tell = tell
        self._cut_at: float | None = None

    def cut(self, reason: str, since: float) -> None:
        """Tell that the link is cut since then, by the loop's clock, and is being made again."""
        if self._cut_at is None:
            self._cut_at = since
            message = f"the link is cut ({reason}); the program runs on, and the link is being made again"
            self._tell(Notice("link_lost", message, {"reason": reason}))

    def back(self) -> None:
        """Tell that it is there."""
        if self._cut_at is not None:
            seconds = self._seconds()
            message = f"the link is back after {seconds:.1f} s; nothing was lost"
            self._tell(Notice("link_back", message, {"seconds": seconds}))
            self._cut_at = None

    def given_up(self, reason: str) -> None:
        """Tell that it is not tried any more."""
        if self._cut_at is not None:
            seconds = self._seconds()
            message = f"the link was given up after {seconds:.1f} s: {reason}"
            self._tell(Notice("link_given_up", message, {"reason": reason, "seconds": seconds}))

    def _seconds(self) -> float:
        return round(asyncio.get_running_loop().time() - (self._cut_at or 0), 3)
