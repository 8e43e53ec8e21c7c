"""Processes as /proc shows them: which belong to a terminal, and signals that reach no others."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence


class Process(NamedTuple):
    """A process as it was seen: `started` tells it from a later one with the same pid."""

    pid: int
    parent: int
    session: int
    started: float
    mark: str


def scan_proc(mark_name: str) -> list[Process]:
    """Return all living processes, zombies left out. Blocks; raises OSError: no descriptor left, or no /proc.

    `mark_name` is the variable of the environment whose value is the mark.
    """
    found = []
    for name in os.listdir("/proc"):
        if not name.isdecimal():
            continue
        stat = _read_proc(name, "stat")
        # proc_pid_stat(5): the command, in brackets, may hold anything; after it come state, ppid, pgrp,
        # session, ...; 20th is the number of threads, 22nd the start in clock ticks since boot.
        fields = stat[stat.rfind(b")") + 2 :].split()
        if len(fields) < 20:  # noqa: PLR2004 - it ended meanwhile
            continue
        if fields[0] in b"ZX" and fields[17] in (b"0", b"1"):
            continue  # dead; with more threads only the first one is
        mark = _mark_in(_read_proc(name, "environ"), mark_name)
        found.append(Process(int(name), int(fields[1]), int(fields[3]), int(fields[19]), mark))
    return found


def started(pid: int) -> float:
    """Return when a process was started, in clock ticks since boot; -1 if there is none."""
    stat = _read_proc(str(pid), "stat")
    fields = stat[stat.rfind(b")") + 2 :].split()
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
            if pidfd >= 0:
                signal.pidfd_send_signal(pidfd, signum)
            else:
                os.kill(process.pid, signum)
    finally:
        if pidfd >= 0:
            os.close(pidfd)


def _open_pidfd(pid: int) -> int:
    if not hasattr(os, "pidfd_open"):
        return -1
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        raise
    except OSError:
        return -1  # an old kernel, a seccomp filter


def _read_proc(name: str, file: str) -> bytes:
    """Read a file of /proc; empty if the process has ended or is another user's."""
    try:
        descriptor = os.open(f"/proc/{name}/{file}", os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return b""
    parts: list[bytes] = []
    try:
        while True:
            part = os.read(descriptor, 65536)
            if not part:
                return b"".join(parts)
            parts.append(part)
    except (ProcessLookupError, PermissionError):
        return b""
    finally:
        os.close(descriptor)


def _mark_in(environ: bytes, name: str) -> str:
    _, found, rest = (b"\0" + environ).partition(b"\0" + name.encode() + b"=")
    return rest.split(b"\0", 1)[0].decode("ascii", "replace") if found else ""
