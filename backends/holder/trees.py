"""The processes of a holder's own programs: what its owner may see and signal through it, and nothing else.

A holder may be run by root for a service that is not. So whoever asks it to signal a process names one that the
holder itself finds in the trees of its programs: a session that one of them leads, what carries its mark, and the
descendants of all these. Needs /proc; where there is none everything raises OSError.
"""

from __future__ import annotations

import fcntl
import os
import stat
import struct
from typing import TYPE_CHECKING, Protocol

from backends.holder.processes import Process, scan_proc, signal_all, started

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_TIOCGSID = 0x5429  # asm-generic/ioctls.h; not in Python's termios
_PTMX = os.makedev(5, 2)  # Documentation/admin-guide/devices.txt: the master side of every PTY


class Root(Protocol):
    """Where a tree begins."""

    pid: int
    is_child: bool
    """Forked by this process and not reaped: its number is its own."""
    started: float
    """When, if it is no child: another process with that number is not meant."""
    mark: str
    """`NAME=value`, as it is in the environment of the tree; may be empty."""


def find(roots: Iterable[Root]) -> list[Process]:
    """Return the living processes of all these trees. Blocks for a look at each process of the machine."""
    roots = list(roots)
    if not roots:
        return []
    leaders = {root.pid for root in roots if root.is_child or started(root.pid) == root.started}
    marks = {root.mark for root in roots if root.mark.partition("=")[2]}
    found: dict[int, Process] = {}
    seen: list[Process] = []
    for name in sorted({mark.partition("=")[0] for mark in marks}) or [""]:
        seen = scan_proc(name)
        found.update({one.pid: one for one in seen if one.session in leaders or f"{name}={one.mark}" in marks})
    children: dict[int, list[Process]] = {}
    for process in seen:
        children.setdefault(process.parent, []).append(process)
    waiting = [*leaders, *found]
    while waiting:
        for process in children.get(waiting.pop(), ()):
            if process.pid not in found:
                found[process.pid] = process
                waiting.append(process.pid)
    return list(found.values())


def signal_them(roots: Iterable[Root], wanted: Sequence[tuple[int, float]], signals: Sequence[int]) -> list[int]:
    """Signal processes, by pid and start; return the pids of those that are in none of these trees, or may not be."""
    own = {(process.pid, process.started): process for process in find(roots)}
    chosen = [own[key] for key in wanted if key in own]
    refused = [process.pid for process in signal_all(chosen, signals)]
    return [*refused, *(pid for pid, begun in wanted if (pid, begun) not in own and started(pid) == begun)]


def signal_foreground(root: Root, master: int, signals: Sequence[int]) -> list[int]:
    """Signal the foreground programs of a terminal, as far as they are of its session; return who may not be."""
    group = os.tcgetpgrp(master)
    members = [process for process in find([root]) if process.session == root.pid and _group(process.pid) == group]
    return [process.pid for process in signal_all(members, signals)]


def _group(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return -1


def leads_at(pid: int, master: int) -> bool:
    """Tell whether a process leads the session that has the terminal of this master: the kernel's word for it."""
    status = os.fstat(master)
    if not stat.S_ISCHR(status.st_mode) or status.st_rdev != _PTMX:
        return False
    try:
        (session,) = struct.unpack("i", fcntl.ioctl(master, _TIOCGSID, bytes(4)))
    except OSError:
        return False
    return bool(session == pid)
