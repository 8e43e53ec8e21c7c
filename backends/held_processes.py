"""The processes of other users' programs, as their holder sees them: this process may neither know nor signal them."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from backends.holder.processes import Process

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from backends.holder_link import HolderLink


class HeldProcesses:
    """A `Processes` that asks the holder, once for all who ask at the same time."""

    def __init__(self, reach: Callable[[], Awaitable[HolderLink]]) -> None:
        """Ask the holder that `reach` gives; it may be another one each time."""
        self._reach = reach
        self._lock = asyncio.Lock()
        self._begun = 0.0
        self._seen: list[Process] = []

    async def look(self) -> list[Process]:
        """Return the processes of all held programs that existed at some time after this call. Raises HolderError."""
        asked = time.monotonic()
        async with self._lock:
            if self._begun <= asked:  # else a look that began after we asked has been taken meanwhile
                link = await self._reach()
                begun = time.monotonic()
                reply = await link.call("processes")
                self._seen, self._begun = [Process(*fields) for fields in reply.fields["processes"]], begun
            return self._seen

    async def signal(self, processes: Iterable[Process], *signals: int) -> list[Process]:
        """Send signals to processes; return those that the holder refuses to signal. Raises HolderError."""
        processes = list(processes)
        if not processes:
            return []
        link = await self._reach()
        wanted = [(process.pid, process.started) for process in processes]
        reply = await link.call("signal", processes=wanted, signals=list(signals))
        return [process for process in processes if process.pid in reply.fields["refused"]]
