"""A way to a daemon, by TCP, on which the connections of programs can be cut."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

_PIECE_BYTES = 64 * 1024


class CutDaemon:
    """Carries bytes to a daemon's socket and back; the programs' connections can be cut, all others go on."""

    def __init__(self, daemon: Path) -> None:
        """Begin without listening."""
        self.url = ""
        self._daemon = daemon
        self._programs: list[asyncio.WriteTransport] = []

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[CutDaemon]:
        """Carry, until the end of the block."""
        async with asyncio.TaskGroup() as links:

            def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                links.create_task(self._carry(reader, writer))

            async with await asyncio.start_server(carry, "127.0.0.1") as server:
                self.url = f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
                yield self

    def cut(self) -> int:
        """Cut the connections of all programs; return how many there were."""
        programs, self._programs = self._programs, []
        for transport in programs:
            transport.abort()
        return len(programs) // 2

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = await reader.read(_PIECE_BYTES)
        there, back = await asyncio.open_unix_connection(self._daemon)
        if b"/exec/" in first and b"/start HTTP" in first:
            self._programs += [writer.transport, back.transport]
        back.write(first)
        async with asyncio.TaskGroup() as ways:
            ways.create_task(_copy(reader, back))
            ways.create_task(_copy(there, writer))


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while piece := await source.read(_PIECE_BYTES):
            target.write(piece)
            await target.drain()
    with suppress(OSError):
        target.close()
        await target.wait_closed()
