"""What can go wrong with a log.

::

    ReplayError
    ├── Trimmed        the position is older than what is retained
    ├── BeyondHead     the position has not been written yet
    ├── StorageFull    no room to store more (the log goes on from memory)
    ├── LogMissing     no log of that name
    └── LogDamaged     a stored log cannot be trusted; it was set aside
"""

from __future__ import annotations

from dataclasses import dataclass


class ReplayError(Exception):
    """Base of everything raised by a log or its store."""


@dataclass(eq=False)
class Trimmed(ReplayError):
    """The position asked for is older than `first`, the oldest that is retained."""

    position: int
    first: int

    def __str__(self) -> str:
        """Tell how much is missing."""
        return f"position {self.position} is no longer retained; the oldest is {self.first}"


@dataclass(eq=False)
class BeyondHead(ReplayError):
    """The position asked for lies after `head`, the end of the log."""

    position: int
    head: int

    def __str__(self) -> str:
        """Tell where the log ends."""
        return f"position {self.position} is beyond the end of the output, {self.head}"


@dataclass(eq=False)
class StorageFull(ReplayError):
    """The storage below a log has no room (or failed); `reason` is the system's."""

    reason: str

    def __str__(self) -> str:
        """Give the system's reason."""
        return f"no room for terminal output: {self.reason}"


@dataclass(eq=False)
class LogMissing(ReplayError):
    """There is no log of that name."""

    name: str

    def __str__(self) -> str:
        """Name it."""
        return f"no log named {self.name!r}"


@dataclass(eq=False)
class LogDamaged(ReplayError):
    """A stored log is not whole; `set_aside` is where the file was moved for inspection."""

    name: str
    reason: str
    set_aside: str

    def __str__(self) -> str:
        """Name it, with the reason and where it is now."""
        return f"log {self.name!r} is damaged ({self.reason}); kept as {self.set_aside}"
