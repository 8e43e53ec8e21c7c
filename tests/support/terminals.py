"""Terminals for tests of backends: opened, and closed again with their backend."""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from backends.base import Backend, Environment, ExitStatus, Order, Program, Pty
from support.sink import CollectingSink

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence


class Terminal:
    """A PTY with its collecting sink."""

    def __init__(self, pty: Pty, sink: CollectingSink) -> None:
        self.pty = pty
        self.sink = sink

    @property
    def output(self) -> bytes:
        return bytes(self.sink.output)

    async def type(self, data: bytes) -> None:
        """Write all of `data`, waiting for room as the contract says."""
        view = memoryview(data)
        while view:
            self.sink.room.clear()
            written = self.pty.write(view)
            view = view[written:]
            if view:
                async with asyncio.timeout(30):
                    await self.sink.room.wait()

    async def wait(self, seconds: float = 30) -> ExitStatus:
        async with asyncio.timeout(seconds):
            return await self.pty.wait()


class Terminals:
    """The terminals of one environment."""

    def __init__(self, backend: Backend, environment: Environment) -> None:
        self.backend = backend
        self.environment = environment

    async def run(self, *command: str, sink: CollectingSink | None = None, **fields: Any) -> Terminal:
        """Start a command, or what `fields` of the Program say."""
        sink = sink or CollectingSink()
        words: Sequence[str] | None = command or None
        program = Program("session-1", command=words, **fields)
        return Terminal(await self.environment.spawn(program, sink), sink)

    async def sh(self, script: str, **fields: Any) -> Terminal:
        return await self.run("/bin/sh", "-c", script, **fields)


@asynccontextmanager
async def opened(backend: Backend) -> AsyncIterator[Terminals]:
    """Open an environment of `backend`; all is ended in the end."""
    environment = await backend.open(Order("session-1"))
    try:
        yield Terminals(backend, environment)
    finally:
        await environment.close()
        await backend.stop()
        await backend.close()


def is_alive(pid: int) -> bool:
    """Tell whether a process exists and is no zombie (Linux)."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:  # noqa: PTH123 - as short as it is
            return stat.read().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except (FileNotFoundError, ProcessLookupError):
        return False


def plain_environment(**more: str) -> dict[str, str]:
    """Return a base environment in which shells read nobody's profile but the system's."""
    return {"PATH": os.environ["PATH"], "HOME": "/", "LANG": "C.UTF-8", **more}
