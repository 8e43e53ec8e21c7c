"""What runs in a terminal, wherever it went, and its end."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import time
from typing import TYPE_CHECKING, Protocol

import structlog

from backends.errors import BackendError
from backends.holder.processes import select

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from backends.holder.processes import Process

_log = structlog.get_logger(__name__)

_PAUSES = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1)
"""Seconds between two looks at dying processes; the last one repeats."""

_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})

_KILL_SECONDS = 1.0
"""At least this long is waited for killed processes to disappear."""


class Processes(Protocol):
    """The processes of this machine, or those of them that may be ours."""

    async def look(self) -> list[Process]:
        """Return those that existed at some time after this call. Raises OSError (no descriptor left), BackendError."""
        ...

    async def signal(self, processes: Iterable[Process], *signals: int) -> list[Process]:
        """Signal these, and none that has got the number of one since; return those that may not be.

        Raises what `look` raises.
        """
        ...


class ProcessTree:
    """What runs in one terminal: its session, what carries its mark, and the descendants of all these.

    The session is all a shell starts, `nohup` and `&` included; the mark, inherited in the environment, finds
    what left it with setsid and two forks. (Out of reach: a process that does both *and* empties its
    environment, and one that changed to another user.)
    """

    def __init__(self, table: Processes, leader: int, mark: str) -> None:
        self._table = table
        self._leader = leader
        self._mark = mark
        self._refused: set[tuple[int, float]] = set()

    async def end(self, grace_seconds: float) -> None:
        """Send HUP, TERM and KILL, a grace apart, until nothing is left.

        CONT goes with them, or a stopped process would not hear them. What cannot be ended is logged and left.
        """
        for signals in ((signal.SIGHUP, signal.SIGCONT), (signal.SIGTERM, signal.SIGCONT), (signal.SIGKILL,)):
            patience = max(grace_seconds, _KILL_SECONDS) if signal.SIGKILL in signals else grace_seconds
            if await self._send(signals, patience):
                return
        _log.warning("processes survived the end of their terminal", leader=self._leader)

    async def _send(self, signals: tuple[int, ...], patience: float) -> bool:
        """Signal everything once, newcomers too, until nothing is left (True) or patience ends."""
        told: set[tuple[int, float]] = set()
        deadline = time.monotonic() + patience
        for pause in _pauses():
            members = await self._members()
            if not members and members is not None:
                return True
            if members is None:
                self._signal_leader(signals)
            else:
                await self._tell([process for process in members if _key(process) not in told], signals, told)
            left = deadline - time.monotonic()
            if left <= 0:
                break
            await asyncio.sleep(min(pause, left))
        return await self._members() == []

    async def _tell(self, strangers: list[Process], signals: tuple[int, ...], told: set[tuple[int, float]]) -> None:
        try:
            refused = await self._table.signal(strangers, *signals)
        except OSError as error:
            if error.errno not in _EXHAUSTED:
                raise
            self._signal_leader(signals)  # the others at the next look
            return
        except BackendError:
            return  # all at the next look
        self._refused |= {_key(process) for process in refused}
        told |= {_key(process) for process in strangers}

    async def _members(self) -> list[Process] | None:
        """Return what is left of the tree; None if it cannot be known (for want of a descriptor, say)."""
        try:
            seen = await self._table.look()
        except OSError as error:
            if error.errno not in _EXHAUSTED:
                raise
            return None
        except BackendError as error:  # whoever sees them is gone; perhaps another one comes
            _log.warning("the processes of a terminal cannot be seen", leader=self._leader, reason=str(error))
            return None
        members = select(seen, self._leader, self._mark)
        return [process for process in members if _key(process) not in self._refused]

    def _signal_leader(self, signals: tuple[int, ...]) -> None:
        """Do what needs no look: the shell is not reaped yet, so its number is its own."""
        for signum in signals:
            try:
                os.killpg(self._leader, signum)
            except (ProcessLookupError, PermissionError):
                continue  # dead already, or another user's: both are found by the next look


def _key(process: Process) -> tuple[int, float]:
    return process.pid, process.started


def _pauses() -> Iterator[float]:
    yield from _PAUSES
    while True:
        yield _PAUSES[-1]
