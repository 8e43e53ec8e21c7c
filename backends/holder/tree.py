"""The end of everything that runs in one terminal, step by step."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from typing import TYPE_CHECKING

from backends.holder.processes import Process, scan_proc, select, signal_all

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_PAUSES = (0.005, 0.01, 0.02, 0.05, 0.1)
"""Seconds between two looks at dying processes; the last one repeats."""

_KILL_SECONDS = 1.0
"""At least this long is waited for killed processes to disappear."""

_FRESH_SECONDS = 0.01
"""A look at all processes serves all who ask within this time: many terminals may end at once."""


class Tree:
    """What runs in one terminal: its session, what carries its mark, and the descendants of all these.

    The leader must not have been reaped, so that its number, which is the session's too, is still its own. Where
    there is no /proc only process groups are known: the leader's and `foreground`.
    """

    def __init__(self, leader: int, mark_name: str, mark: str, foreground: Callable[[], int]) -> None:
        """`mark` is the value of the variable `mark_name` in the environment of its processes; may be empty."""
        self._leader = leader
        self._mark_name = mark_name
        self._mark = mark
        self._foreground = foreground
        self._refused: set[tuple[int, float]] = set()
        self._asked = 0.0

    def end(self, grace_seconds: float) -> Iterator[float]:
        """Send HUP, TERM and KILL, a grace apart, until nothing is left; yields the seconds to wait.

        CONT goes with them, or a stopped process would not hear them. What may not be signalled is left.
        """
        self._asked = time.monotonic()
        for signals in ((signal.SIGHUP, signal.SIGCONT), (signal.SIGTERM, signal.SIGCONT), (signal.SIGKILL,)):
            patience = max(grace_seconds, _KILL_SECONDS) if signal.SIGKILL in signals else grace_seconds
            told: set[tuple[int, float]] = set()
            deadline = time.monotonic() + patience
            looks = 0
            while True:
                if self._tell(signals, told):
                    return
                left = deadline - time.monotonic()
                if left <= 0:
                    break
                yield min(_PAUSES[min(looks, len(_PAUSES) - 1)], left)
                looks += 1

    def _tell(self, signals: tuple[int, ...], told: set[tuple[int, float]]) -> bool:
        """Signal everything that was not told before, newcomers too; return whether nothing is left."""
        members = self._members()
        if members is None:
            return self._tell_groups(signals, told)
        strangers = [process for process in members if _key(process) not in told]
        try:
            self._refused |= {_key(process) for process in signal_all(strangers, signals)}
        except OSError:  # no descriptor left; the others at the next look
            self._tell_groups(signals, set())
            return False
        told |= {_key(process) for process in strangers}
        return not members

    def _members(self) -> list[Process] | None:
        try:
            seen = _look(self._mark_name, self._asked)
        except OSError:
            return None  # no descriptor left, or no /proc at all
        members = select(seen, self._leader, self._mark)
        return [process for process in members if _key(process) not in self._refused]

    def _tell_groups(self, signals: tuple[int, ...], told: set[tuple[int, float]]) -> bool:
        groups = {self._leader}
        with contextlib.suppress(OSError):
            groups |= {self._foreground()} - {0, -1}
        is_empty = True
        for group in groups:
            wanted = (0,) if (group, 0.0) in told else signals
            told.add((group, 0.0))
            try:
                for signum in wanted:
                    os.killpg(group, signum)
                is_empty = False
            except (ProcessLookupError, PermissionError):  # macOS refuses where only zombies are left
                continue
        return is_empty


_last_look: tuple[float, list[Process]] = (0.0, [])


def _look(mark_name: str, asked: float) -> list[Process]:
    """Return the processes that existed at some time after `asked`."""
    global _last_look  # noqa: PLW0603 - of a process that has one thread
    now = time.monotonic()
    if _last_look[0] < max(asked, now - _FRESH_SECONDS):
        _last_look = now, scan_proc(mark_name)
    return _last_look[1]


def _key(process: Process) -> tuple[int, float]:
    return process.pid, process.started
