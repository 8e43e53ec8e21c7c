"""The processes of this machine: seen all at once, signalled one by one. Nothing else looks at them."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil

from backends.environment import MARK

if TYPE_CHECKING:
    from collections.abc import Iterable


_SECOND_LOOKS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1)
"""Seconds before each further look at processes that change just now: 0.2 s in all, however many there are."""
_KERNEL_THREAD = 0x00200000  # PF_KTHREAD, linux/sched.h


@dataclass(frozen=True, slots=True)
class Process:
    """A process as it was seen: `started` tells it from a later one with the same pid."""

    pid: int
    parent: int
    session: int
    started: float
    mark: str


class ProcessTable:
    """All processes of this machine, read in one thread, once for all who ask at the same time."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="processes")
        self._lock = asyncio.Lock()
        self._begun = 0.0
        self._seen: list[Process] = []

    async def start(self) -> None:
        """Have the thread there, so that it cannot be missing later. Raises RuntimeError (there are no more)."""
        await asyncio.get_running_loop().run_in_executor(self._thread, os.getpid)

    async def look(self) -> list[Process]:
        """Return the processes that existed at some time after this call. Raises OSError (no descriptor left)."""
        asked = time.monotonic()
        async with self._lock:
            if self._begun <= asked:  # else a look that began after we asked has been taken meanwhile
                begun = time.monotonic()
                self._seen = await asyncio.get_running_loop().run_in_executor(self._thread, scan)
                self._begun = begun
            return self._seen

    async def signal(self, processes: Iterable[Process], *signals: int) -> list[Process]:
        """Send signals to processes, each checked to be the one that was seen; return those that may not be."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, _signal_all, processes, signals)

    def close(self) -> None:
        """Let the thread end."""
        self._thread.shutdown(wait=False)


def scan() -> list[Process]:
    """Return all living processes, zombies left out. Blocks; raises OSError if no descriptor is left."""
    return _scan_proc() if sys.platform == "linux" else scan_portably()


def scan_portably() -> list[Process]:
    """Do what `scan` does with what psutil and POSIX offer everywhere; slower."""
    found = []
    for entry in psutil.process_iter(["pid", "ppid", "status", "create_time"]):
        if entry.info["status"] == psutil.STATUS_ZOMBIE:
            continue
        try:
            session = os.getsid(entry.pid)
        except (ProcessLookupError, PermissionError):
            continue
        try:
            mark = entry.environ().get(MARK, "")
        except (psutil.Error, OSError):
            mark = ""  # another user's
        found.append(Process(entry.pid, entry.info["ppid"], session, entry.info["create_time"], mark))
    return found


def _scan_proc() -> list[Process]:
    found: dict[str, Process] = {}
    names = [name for name in os.listdir("/proc") if name.isdecimal()]  # noqa: PTH208 - the hot part of every end
    for pause in (0.0, *_SECOND_LOOKS):
        time.sleep(pause)
        names = [name for name in names if _is_changing(name, found)]
        if not names:
            break
    return list(found.values())


def _is_changing(name: str, found: dict[str, Process]) -> bool:
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
    found[name] = Process(int(name), int(fields[1]), int(fields[3]), int(fields[19]), _mark_in(environ or b""))
    flags, start, end = int(fields[6]), fields[47], fields[48]
    started_without_any = start == end != b"0"
    return environ == b"" and not started_without_any and not flags & _KERNEL_THREAD


def _stat(name: str) -> list[bytes]:
    """Return the fields of proc_pid_stat(5) after the command, which is in brackets and may hold anything.

    They begin with the state, the third: the index is three less than the number there. Empty: it has ended.
    """
    stat = _read_proc(name, "stat") or b""
    return stat[stat.rfind(b")") + 2 :].split()


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


def _mark_in(environ: bytes) -> str:
    _, found, rest = (b"\0" + environ).partition(b"\0" + MARK.encode() + b"=")
    return rest.split(b"\0", 1)[0].decode("ascii", "replace") if found else ""


def _signal_all(processes: Iterable[Process], signals: Iterable[int]) -> list[Process]:
    refused = []
    for process in processes:
        try:
            _signal_one(process, signals)
        except ProcessLookupError:
            continue
        except PermissionError:
            refused.append(process)
    return refused


def _signal_one(process: Process, signals: Iterable[int]) -> None:
    """Signal a process through a descriptor that cannot come to mean another one."""
    pidfd = _pidfd(process.pid)
    try:
        if _started(process.pid) != process.started:
            return
        for signum in signals:
            if sys.platform == "linux" and pidfd >= 0:
                signal.pidfd_send_signal(pidfd, signum)
            else:
                os.kill(process.pid, signum)
    finally:
        if pidfd >= 0:
            os.close(pidfd)


def _pidfd(pid: int) -> int:
    """Return a descriptor of a process; -1: there is none to be had here. Raises ProcessLookupError."""
    if sys.platform == "linux":
        try:
            return os.pidfd_open(pid)
        except ProcessLookupError:
            raise
        except (AttributeError, OSError):  # Python or the kernel has no such call, or no descriptor is left
            return -1
    return -1


def _started(pid: int) -> float:
    if sys.platform != "linux":
        try:
            return psutil.Process(pid).create_time()
        except psutil.NoSuchProcess:
            return -1
    fields = _stat(str(pid))
    return int(fields[19]) if fields else -1
