"""What a process of the service has been asked: to stop, in one of several ways, and then to hurry."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

INSISTING_SECONDS = 0.5
"""A second signal counts after so long: wrappers pass on what the terminal has sent to us already."""


class Stop(NamedTuple):
    """How this process ends."""

    cause: str
    ends_all: bool
    """Whether all programs end with it, also those that could go on."""
    successor: int | None = None
    """The process that goes on with its sockets, if there is one."""


class Asked:
    """The first wish to stop wins; the second one only hurries it. Belongs to the event loop's thread."""

    def __init__(self) -> None:
        """Begin with no wish."""
        self.stop: asyncio.Future[Stop] = asyncio.get_running_loop().create_future()
        self.on_begin: Callable[[int], None] = lambda _: None
        """Called with the number of living sessions when the end begins."""
        self.on_drain: Callable[[float], int] = lambda _: 0
        """Called with how many seconds to wait, where a parent process says it; returns how many sessions live."""
        self.on_drained: Callable[[Stop], object] = self.to_stop
        """Called when it has drained; a parent process, where there is one, says then when it ends."""
        self.on_hurry: Callable[[], None] = lambda: None
        self._asked_at = 0.0

    def to_stop(self, stop: Stop) -> bool:
        """Ask; tell whether it is the first time."""
        if self.stop.done():
            return False
        self._asked_at = time.monotonic()
        self.stop.set_result(stop)
        return True

    def again(self) -> None:
        """Insist: end now, whatever that costs."""
        if time.monotonic() - self._asked_at >= INSISTING_SECONDS:
            self.on_hurry()
