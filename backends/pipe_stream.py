"""A program's standard input and output as a stream to a remote holder: a bridge here, or ssh or kubectl before it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_READ_BYTES = 256 * 1024


class PipeStream:
    """A `remote_wire.Stream`; ends the program when it is closed."""

    def __init__(
        self, process: asyncio.subprocess.Process, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Take over a process and the socket to it; see `open`."""
        self.pid = process.pid
        self._process = process
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, *command: str, environment: Mapping[str, str] | None = None) -> PipeStream:
        """Start a program; what it says on standard error goes where this process's goes. Raises OSError."""
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                process = await asyncio.create_subprocess_exec(
                    *command, stdin=theirs.fileno(), stdout=theirs.fileno(), env=environment, start_new_session=True
                )
            reader, writer = await asyncio.open_connection(sock=ours, limit=_READ_BYTES)
        except BaseException:
            ours.close()  # which ends a program that was started
            raise
        return cls(process, reader, writer)

    async def read(self) -> bytes:
        """Return what has arrived; b"" at the end."""
        return await self._reader.read(_READ_BYTES)

    async def write(self, data: bytes) -> None:
        """Send all of it. Raises OSError."""
        self._writer.write(data)
        await self._writer.drain()

    async def close(self) -> None:
        """Kill the program: whatever it would still say is asked for again."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        self._writer.close()
        await self._process.wait()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()
