"""How large a terminal is when several viewers look at it, and how large it was where in its output."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterable

    from backends.base import Pty
    from replay.log import Log
    from terminal_service.clock import Clock

LIMIT = 1000
"""Most rows and columns; larger ones serve nobody and cost a program memory."""
NUDGE_SECONDS = 0.05


class Size(NamedTuple):
    """Rows and columns of characters."""

    rows: int
    cols: int


class SizePolicy(enum.Enum):
    """Whose size counts."""

    SMALLEST = "smallest"
    LATEST = "latest"
    OWNER = "owner"
    FIXED = "fixed"


def size_at(log: Log, position: int) -> Size | None:
    """Return the size that output at a position was made for; None: the log does not know (any more)."""
    event = log.last_event("resize", position)
    return None if event is None else Size(int(str(event.fields["rows"])), int(str(event.fields["cols"])))


class Sized(Protocol):
    """A viewer as far as sizes go."""

    @property
    def size(self) -> Size | None:
        """What it can show, if it said so."""
        ...

    @property
    def size_order(self) -> int:
        """Grows with every size any viewer reports; tells who was last."""
        ...

    @property
    def is_owner(self) -> bool:
        """Whether it belongs to the session's owner."""
        ...


def choose_size(policy: SizePolicy, viewers: Iterable[Sized], current: Size) -> Size:
    """Return the size that a terminal should have; `current` where nobody who counts has said one."""
    sized = [viewer for viewer in viewers if viewer.size is not None]
    if policy is SizePolicy.OWNER:
        sized = [viewer for viewer in sized if viewer.is_owner]
    if policy is SizePolicy.FIXED or not sized:
        return current
    if policy is SizePolicy.SMALLEST:
        sizes = [viewer.size for viewer in sized if viewer.size is not None]
        return Size(min(size.rows for size in sizes), min(size.cols for size in sizes))
    latest = max(sized, key=lambda viewer: viewer.size_order).size
    return latest or current


class SizedViewer(Sized, Protocol):
    """A viewer that may have a say in the size."""

    size: Size | None
    size_order: int

    @property
    def client_id(self) -> str:
        """Who it is."""
        ...

    @property
    def is_writer(self) -> bool:
        """Whether it may type; no other counts."""
        ...


class Sizes:
    """The size of one terminal: what its viewers wish, what the policy makes of it, what the PTY is told.

    Every change is an event in the log, so that whoever reads old output knows how wide it was.
    """

    def __init__(
        self,
        log: Log,
        size: Size,
        policy: SizePolicy,
        *,
        viewers: Iterable[SizedViewer],
        loop: asyncio.AbstractEventLoop,
        clock: Clock,
    ) -> None:
        """Begin without a PTY, at `size` or where an earlier log left off.

        `viewers` is the terminal's own list and may change at any time.
        """
        self.policy = policy
        self.current = size
        self._log = log
        self._viewers = viewers
        self._pty: Pty | None = None
        self._loop = loop
        self._clock = clock
        self._reports = 0
        self._is_closed = False
        if log.last_event("resize", log.head) is None:
            self._record(size, "")
        self.current = self.at(log.head)

    def connect(self, pty: Pty) -> None:
        """Begin to tell this PTY."""
        self._pty = pty

    def close(self) -> None:
        """Change no more: the program has ended."""
        self._is_closed = True

    def at(self, position: int) -> Size:
        """Return the size that output at a position was made for."""
        return size_at(self._log, position) or self.current

    def resize(self, size: Size, client_id: str = "") -> None:
        """Set the size, whatever the policy; viewers' next reports count again. Nothing once it has ended."""
        if size != self.current and not self._is_closed:
            self.current = size
            if self._pty is not None:
                self._pty.resize(*size)
            self._record(size, client_id)

    def report(self, viewer: SizedViewer, size: Size) -> bool:
        """Take the size of a viewer; return whether the terminal's changed."""
        self._reports += 1
        viewer.size, viewer.size_order = size, self._reports
        return self.apply_policy(viewer.client_id)

    def apply_policy(self, client_id: str = "") -> bool:
        """Resize if the policy says so; return whether the size changed."""
        before = self.current
        writers = [viewer for viewer in self._viewers if viewer.is_writer]
        self.resize(choose_size(self.policy, writers, self.current), client_id)
        return self.current != before

    def nudge(self) -> None:
        """Have a full-screen program repaint: one row less, and back. No event: the size does not change."""
        if self._pty is not None and self.current.rows > 1 and not self._is_closed:
            self._pty.resize(self.current.rows - 1, self.current.cols)
            self._loop.call_later(NUDGE_SECONDS, self._unnudge)

    def _unnudge(self) -> None:
        if self._pty is not None and not self._is_closed:
            self._pty.resize(*self.current)

    def _record(self, size: Size, client_id: str) -> None:
        fields = {"rows": size.rows, "cols": size.cols, "client_id": client_id}
        self._log.add_event("resize", fields, self._clock.wall())
