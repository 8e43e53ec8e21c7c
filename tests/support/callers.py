"""Callers that never stop: each opens a connection, asks once, and closes; not one may be refused or left alone."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

ANSWER_SECONDS = 20.0
PAUSE_SECONDS = 0.002


@dataclass
class Callers:
    """Ask one path at one address; `failures` says what went wrong with whom."""

    address: tuple[str, int] | Path
    request: bytes = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    wanted: bytes = b"HTTP/1.1 200"
    answered: int = 0
    slowest_seconds: float = 0.0
    failures: list[str] = field(default_factory=list)

    @contextlib.asynccontextmanager
    async def calling(self, count: int = 3) -> AsyncIterator[None]:
        """Call all the time, in so many tasks; those that are under way at the end get their answer."""
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            for _ in range(count):
                tasks.create_task(self._call_until(stop))
            try:
                yield
            finally:
                stop.set()

    async def _call_until(self, stop: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        while not stop.is_set():
            began = loop.time()
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    answer = await self._call()
            except (OSError, TimeoutError) as error:
                self.failures.append(repr(error))
                continue
            finally:
                self.slowest_seconds = max(self.slowest_seconds, loop.time() - began)
            if answer.startswith(self.wanted):
                self.answered += 1
            else:
                self.failures.append(repr(answer[:200]))
            await asyncio.sleep(PAUSE_SECONDS)

    async def _call(self) -> bytes:
        if isinstance(self.address, tuple):
            reader, writer = await asyncio.open_connection(*self.address)
        else:
            reader, writer = await asyncio.open_unix_connection(self.address)
        try:
            writer.write(self.request)
            return await reader.read()
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
