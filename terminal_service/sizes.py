"""How large a terminal is when several viewers look at it."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable

LIMIT = 1000
"""Most rows and columns; larger ones serve nobody and cost a program memory."""


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
