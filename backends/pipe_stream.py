"""A program's standard input and output as a stream to a remote holder: a bridge here, or ssh or kubectl before it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_READ_BYTES = 256 * 1024


class PipeStream:
    """A `durable.wire.Stream`; ends the program when it is closed."""

    def __init__(
        self, process: subprocess.Popen[bytes], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
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
        starting = asyncio.get_running_loop().run_in_executor(None, _start, command, theirs, environment)
        try:
            process = await asyncio.shield(starting)
            reader, writer = await asyncio.open_connection(sock=ours, limit=_READ_BYTES)
        except BaseException:
            ours.close()
            process = await starting  # nearly done: it is not left to itself
            process.kill()
            await asyncio.get_running_loop().run_in_executor(None, process.wait)
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
        self._process.kill()
        self._writer.close()
        reaping = asyncio.get_running_loop().run_in_executor(None, self._process.wait)
        await asyncio.shield(reaping)  # also if nobody waits any longer
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()


def _start(
    command: Sequence[str], theirs: socket.socket, environment: Mapping[str, str] | None
) -> subprocess.Popen[bytes]:
    with theirs:
        return subprocess.Popen(  # noqa: S603 - whoever runs the service has configured it
            command, stdin=theirs.fileno(), stdout=theirs.fileno(), env=environment, start_new_session=True
        )
