"""How much of this machine's processors others have: what a test measures by the clock takes longer by that."""

from __future__ import annotations

import contextlib

import psutil

MOST = 0.9
IDLE = ("idle", "iowait", "guest", "guest_nice")


class Busy:
    """Counts from its making on. Ours are this process, all below it, and the processes of a session."""

    def __init__(self, session_pid: int) -> None:
        session = psutil.Process(session_pid)
        holder = session.parent()
        self._roots = [psutil.Process(), session, *([holder] if holder else [])]
        self._machine, self._ours = self._used()

    def share_of_others(self) -> float:
        """Return the share of all processor time since then that went to others, 0 to 0.9."""
        machine, ours = self._used()
        total = sum(machine) - sum(self._machine)
        busy = machine[0] - self._machine[0]
        return min(MOST, max(0.0, busy - (ours - self._ours)) / total)

    def _used(self) -> tuple[tuple[float, float], float]:
        """Return the seconds that the machine was busy and idle, and those that were ours."""
        times = psutil.cpu_times()._asdict()
        idle = times["idle"] + times.get("iowait", 0.0)
        busy = sum(value for name, value in times.items() if name not in IDLE)
        return (busy, idle), sum(map(_seconds, self._processes()))

    def _processes(self) -> set[psutil.Process]:
        found = set()
        for root in self._roots:
            with contextlib.suppress(psutil.NoSuchProcess):
                found |= {root, *root.children(recursive=True)}
        return found


def _seconds(process: psutil.Process) -> float:
    with contextlib.suppress(psutil.NoSuchProcess):
        times = process.cpu_times()
        return float(times.user + times.system)
    return 0.0
