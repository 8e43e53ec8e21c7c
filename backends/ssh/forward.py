"""A TCP connection made by a host, as a stream here."""

from __future__ import annotations

from typing import TYPE_CHECKING

import asyncssh

if TYPE_CHECKING:
    from collections.abc import Callable

_READ_BYTES = 256 * 1024


class ForwardedConnection:
    """An `abilities.Connection`. What is not read fills the channel's window and no more."""

    def __init__(
        self, reader: asyncssh.SSHReader[bytes], writer: asyncssh.SSHWriter[bytes], over: Callable[[], None]
    ) -> None:
        """Take over a channel's streams; `over` is called once it is closed."""
        self._reader = reader
        self._writer = writer
        self._over = over
        self._closed = False

    async def read(self) -> bytes:
        """Return what has arrived; b"" at the end. Raises OSError."""
        try:
            return await self._reader.read(_READ_BYTES)
        except asyncssh.Error as error:
            raise ConnectionResetError(str(error)) from None

    async def write(self, data: bytes) -> None:
        """Send all of it. Raises OSError."""
        try:
            self._writer.write(data)
            await self._writer.drain()
        except asyncssh.Error as error:
            raise ConnectionResetError(str(error)) from None

    async def write_eof(self) -> None:
        """Send no more. Raises OSError."""
        self._writer.write_eof()

    async def close(self) -> None:
        """Release everything."""
        if not self._closed:
            self._closed = True
            self._writer.channel.abort()
            self._over()
