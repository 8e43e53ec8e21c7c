"""The processes of this machine: seen all at once, signalled one by one. Nothing else looks at them."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import psutil

from backends.environment import MARK
from backends.holder.processes import Process, scan_proc, signal_all, started

if TYPE_CHECKING:
    from collections.abc import Iterable


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
        return await asyncio.get_running_loop().run_in_executor(self._thread, signal_all, processes, signals, _started)

    def close(self) -> None:
        """Let the thread end."""
        self._thread.shutdown(wait=False)


def scan() -> list[Process]:
    """Return all living processes, zombies left out. Blocks; raises OSError if no descriptor is left."""
    return scan_proc(MARK) if sys.platform == "linux" else scan_portably()


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


def _started(pid: int) -> float:
    if sys.platform == "linux":
        return started(pid)
    try:
        return psutil.Process(pid).create_time()
    except psutil.NoSuchProcess:
        return -1
