"""Which bytes of a log a reader gets that asks for a position: the exact ones, or a told gap. Nothing here awaits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from replay.log import Log


@dataclass(frozen=True)
class Start:
    """Where reading begins: `position`, and how many of the bytes asked for are no longer kept before it."""

    position: int
    lost_bytes: int
    is_same_epoch: bool

    @property
    def is_exact(self) -> bool:
        """Whether it continues what the reader has."""
        return self.lost_bytes == 0 and self.is_same_epoch


def starting_point(log: Log, asked: int, epoch: str | None) -> Start | None:
    """Return where to begin; None for a position beyond the end.

    Positions of another epoch mean nothing here: such a reader begins at the oldest byte kept.
    """
    if epoch is not None and epoch != log.epoch:
        return Start(log.first, log.first, is_same_epoch=False)
    if asked > log.head:
        return None
    return Start(max(asked, log.first), max(log.first - asked, 0), is_same_epoch=True)


def headers(log: Log, start: Start) -> dict[str, str]:
    """Return the headers that tell a reader where it is."""
    told = {
        "X-Terminal-From": str(start.position),
        "X-Terminal-Head": str(log.head),
        "X-Terminal-First": str(log.first),
        "X-Terminal-Epoch": log.epoch,
    }
    if start.lost_bytes:
        told["X-Terminal-Lost-Bytes"] = str(start.lost_bytes)
    return told
