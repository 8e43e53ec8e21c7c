"""What every place that keeps logs offers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable

    from replay.log import Log


class Store(Protocol):
    """Keeps the logs of terminals beyond the objects that use them.

    A name is `<session id>/<terminal id>`. All calls but `settle` may block for the time of a file operation:
    make them off the event loop. The logs they return never block (a store into memory that is already there).
    """

    def create(self, name: str, retention_bytes: int) -> Log:
        """Begin a new log under a name not in use.

        A store without room returns a log that lives in memory, with `degraded` set: a full disk is no reason
        to refuse a shell.
        """
        ...

    def open(self, name: str, *, is_over: bool = False) -> Log:
        """Return a stored log to go on with, or, if its program `is_over`, to be read. Raises LogMissing, LogDamaged.

        Only one process at a time may have it open.
        """
        ...

    def names(self) -> Iterable[str]:
        """Return the names of all stored logs."""
        ...

    def delete(self, name: str) -> None:
        """Forget a log (it must have been closed); deleting twice is harmless."""
        ...

    async def settle(self, seconds: float) -> None:
        """Bring what was appended to where it is kept for others, as far as that is done in the time."""
        ...

    def close(self) -> None:
        """Release what the store itself holds."""
        ...
