"""The terminal of a command that could not be executed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backends.base import ExitStatus

if TYPE_CHECKING:
    from backends.base import Sink
    from backends.executable import CannotExecute


def tell_failure(failure: CannotExecute, sink: Sink) -> FailedPty:
    """Print why, as a shell would, and return a terminal that is over."""
    sink.data_received(f"{failure}\r\n".encode())
    sink.drained()
    return FailedPty(ExitStatus(code=failure.code, message=str(failure)))


class FailedPty:
    """A `Pty` whose command could not be executed: it is over."""

    pid: int | None = None
    unconfirmed = 0
    written = 0

    def __init__(self, status: ExitStatus) -> None:
        """Take the exit status that says why."""
        self._status = status

    def write(self, data: bytes | memoryview) -> int:
        """Take everything: nobody will ever read it."""
        return len(data)

    def interrupt(self) -> bool:
        """Do nothing."""
        return True

    def resize(self, rows: int, cols: int) -> None:
        """Do nothing."""

    def signal(self, signum: int) -> None:
        """Do nothing."""

    def pause_reading(self) -> None:
        """Do nothing."""

    def resume_reading(self) -> None:
        """Do nothing."""

    async def wait(self) -> ExitStatus:
        """Return why."""
        return self._status

    async def close(self, grace_seconds: float) -> None:
        """Do nothing."""

    def annotate(self, note: str) -> None:
        """Do nothing."""

    async def detach(self) -> None:
        """Do nothing."""
