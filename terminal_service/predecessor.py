"""The running service, as the process sees it that replaces it without a moment in which nobody listens."""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING

import structlog

from terminal_service.caller import Caller, inherit
from terminal_service.control import Refused

if TYPE_CHECKING:
    import socket
    from pathlib import Path
    from typing import Self

    from terminal_service.state import Lock

_LOOK_SECONDS = 0.005
_GRACE_SECONDS = 10.0
"""How long the lock may stay taken after the predecessor is gone: somebody else was faster, then."""

log = structlog.get_logger()


class Predecessor:
    """Gives its sockets first, and everything else when its successor is ready."""

    def __init__(self, caller: Caller, pid: int, sockets: dict[str, socket.socket]) -> None:
        """Own the connection and the sockets; see `find`."""
        self.pid = pid
        self._caller = caller
        self._sockets = sockets

    @classmethod
    async def find(cls, directory: Path, *, holder: Path | None, workers: int = 1) -> Self | None:
        """Ask the service that uses a state directory for its listening sockets; None: none runs, or it just ends.

        `holder` is where our programs are: it must be theirs. `workers`: how many of us there will be; several are
        never replaced by one, nor the other way round. Raises Refused, OSError.
        """
        caller = await asyncio.to_thread(Caller.call, directory)
        if caller is None:
            return None
        try:
            answer = await asyncio.to_thread(
                caller.ask, "replace", pid=os.getpid(), holder=str(holder) if holder else None, workers=workers
            )
            pid = int(answer.fields["pid"])
            return cls(caller, pid, inherit(answer))
        except ConnectionError:  # it was killed just now, and its lock is free in a moment
            return cls(caller, 0, {})
        except BaseException:
            caller.close()
            raise

    @property
    def is_gone(self) -> bool:
        """Whether its process has ended, as far as is known now."""
        return self._caller.is_over

    def socket_at(self, place: str) -> socket.socket | None:
        """Return its socket for that place; it is the caller's now. None: it listens elsewhere."""
        return self._sockets.pop(place, None)

    async def take_over(self, lock: Lock) -> None:
        """Have it let go of everything, and take the state directory's lock. Raises Refused, OSError.

        Waits as long as it lives: a program that cannot go on without it may be a while in ending.
        """
        try:
            await asyncio.to_thread(self._caller.say, ready=True)
        except (BrokenPipeError, ConnectionResetError):
            log.warning("the service to be replaced has ended by itself", pid=self.pid)
        deadline = None
        while not lock.try_to_take():
            if self._caller.is_over:
                deadline = deadline or time.monotonic() + _GRACE_SECONDS
                if time.monotonic() > deadline:
                    raise Refused("the running service has ended, but another process has its place")
            await asyncio.sleep(_LOOK_SECONDS)

    def close(self) -> None:
        """Release the connection, and the sockets nobody wanted. Harmless twice."""
        self._caller.close()
        for unwanted in self._sockets.values():
            unwanted.close()
