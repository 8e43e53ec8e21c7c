"""Processes as /proc shows them: which belong to a terminal, and signals that reach no others."""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence


_SECOND_LOOKS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2)
"""Seconds before each further look at processes that change just now: 0.4 s in all, however many there are."""
_KERNEL_THREAD = 0x00200000  # PF_KTHREAD, linux/sched.h


class Process(NamedTuple):
    """A process as it was seen: `started` tells it from a later one with the same pid."""

    pid: int
    parent: int
    session: int
    started: float
    mark: str


_hidden: set[tuple[int, float]] = set()
"""What showed no environment through a whole look, by pid and start: it is looked at, and not waited for again.

A first thread that has ended before the others, a process that dies and cannot: for hours, perhaps.
"""


def scan_proc(mark_name: str) -> list[Process]:
    """Return all living processes, zombies left out. Blocks; raises OSError: no descriptor left, or no /proc.

    `mark_name` is the variable of the environment whose value is the mark. For one thread.
    """
    found: dict[str, Process] = {}
    names = [name for name in os.listdir("/proc") if name.isdecimal() and _is_changing(name, mark_name, found)]
    _hidden.intersection_update([_key(found[name]) for name in names])
    names = [name for name in names if _key(found[name]) not in _hidden]
    for pause in _SECOND_LOOKS:
        if not names:
            break
        time.sleep(pause)
        names = [name for name in names if _is_changing(name, mark_name, found)]
    _hidden.update(_key(found[name]) for name in names)
    return list(found.values())


def _key(process: Process) -> tuple[int, float]:
    return process.pid, process.started


def _is_changing(name: str, mark_name: str, found: dict[str, Process]) -> bool:
    """Note a process if it lives; return whether its environment cannot be seen just now.

    Between the old program and the new one execve(2) shows none, for microseconds or as long as a disk or a busy
    machine takes, and neither does a process that dies, until it is a zombie. What left its terminal's session is
    known by nothing else, and would be taken for gone.
    """
    fields = _stat(name)
    if not fields or (fields[0] in b"ZX" and fields[17] in (b"0", b"1")):
        found.pop(name, None)  # dead; with more threads only the first one is
        return False
    environ = _read_proc(name, "environ")
    mark = _mark_in(environ or b"", mark_name)
    found[name] = Process(int(name), int(fields[1]), int(fields[3]), int(fields[19]), mark)
    flags, start, end = int(fields[6]), fields[47], fields[48]
    started_without_any = start == end != b"0"
    return environ == b"" and not started_without_any and not flags & _KERNEL_THREAD


def _stat(name: str) -> list[bytes]:
    """Return the fields of proc_pid_stat(5) after the command, which is in brackets and may hold anything.

    They begin with the state, the third: the index is three less than the number there. Empty: it has ended.
    """
    stat = _read_proc(name, "stat") or b""
    return stat[stat.rfind(b")") + 2 :].split()


def started(pid: int) -> float:
    """Return when a process was started, in clock ticks since boot; -1 if there is none."""
    fields = _stat(str(pid))
    return int(fields[19]) if fields else -1


def select(processes: Sequence[Process], leader: int, mark: str) -> list[Process]:
    """Return the processes of session `leader`, those marked, and all descendants of these."""
    children: dict[int, list[Process]] = {}
    for process in processes:
        children.setdefault(process.parent, []).append(process)
    found = {
        process.pid: process
        for process in processes
        if leader in (process.pid, process.session) or (mark and process.mark == mark)
    }
    waiting = [leader, *found]
    while waiting:
        for process in children.get(waiting.pop(), ()):
            if process.pid not in found:
                found[process.pid] = process
                waiting.append(process.pid)
    return list(found.values())


def signal_all(
    processes: Iterable[Process], signals: Iterable[int], started: Callable[[int], float] = started
) -> list[Process]:
    """Send signals to processes, each checked to be the one that was seen; return those that may not be."""
    refused = []
    for process in processes:
        try:
            _signal_one(process, signals, started)
        except ProcessLookupError:
            continue
        except PermissionError:
            refused.append(process)
    return refused


def _signal_one(process: Process, signals: Iterable[int], started: Callable[[int], float]) -> None:
    """Signal a process through a descriptor that cannot come to mean another one, where there are such."""
    pidfd = _open_pidfd(process.pid)
    try:
        if started(process.pid) != process.started:
            return
        for signum in signals:
            if sys.platform == "linux" and pidfd >= 0:
                signal.pidfd_send_signal(pidfd, signum)
            else:
                os.kill(process.pid, signum)
    finally:
        if pidfd >= 0:
            os.close(pidfd)


def _open_pidfd(pid: int) -> int:
    if sys.platform == "linux" and hasattr(os, "pidfd_open"):
        try:
            return os.pidfd_open(pid)
        except ProcessLookupError:
            raise
        except OSError:
            return -1  # an old kernel, a seccomp filter
    return -1


def _read_proc(name: str, file: str) -> bytes | None:
    """Read a file of /proc; empty if the process has ended or is about to, None if it is another user's."""
    parts = []
    try:
        descriptor = os.open(f"/proc/{name}/{file}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            while part := os.read(descriptor, 65536):
                parts.append(part)
        finally:
            os.close(descriptor)
    except (FileNotFoundError, ProcessLookupError):
        return b""
    except PermissionError:
        return None
    return b"".join(parts)


def _mark_in(environ: bytes, name: str) -> str:
    _, found, rest = (b"\0" + environ).partition(b"\0" + name.encode() + b"=")
    return rest.split(b"\0", 1)[0].decode("ascii", "replace") if found else ""
