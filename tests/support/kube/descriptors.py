"""Read and write descriptors of processes from an event loop, with back-pressure."""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

CHUNK_BYTES = 32_768  # what a container runtime copies at once


class Descriptor:
    """One end of a pipe, a terminal or a socket; one reader and one writer at a time."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._loop = asyncio.get_running_loop()
        self._waiting: set[asyncio.Future[None]] = set()
        self.is_closed = False
        self._is_ending = False
        os.set_blocking(number, False)

    def fileno(self) -> int:
        return self._number

    async def read(self) -> bytes:
        """Return the next bytes, none at the end (a terminal's end too) and when closed."""
        while not self.is_closed:
            try:
                return os.read(self._number, CHUNK_BYTES)
            except BlockingIOError:
                if self._is_ending:
                    return b""
                await self._ready(self._loop.add_reader, self._loop.remove_reader)
            except OSError:  # EIO: the last program of a terminal is gone
                return b""
        return b""

    async def write(self, data: bytes) -> bool:
        """Write all; return False when nobody reads any more."""
        while data and not self.is_closed:
            try:
                data = data[os.write(self._number, data) :]
            except BlockingIOError:
                await self._ready(self._loop.add_writer, self._loop.remove_writer)
            except OSError:
                return False
        return not self.is_closed

    async def _ready(self, add: Callable[..., object], remove: Callable[[int], object]) -> None:
        future = self._loop.create_future()
        self._waiting.add(future)
        add(self._number, _settle, future)
        try:
            await future
        finally:
            self._waiting.discard(future)
            if not self.is_closed:
                remove(self._number)

    def close(self) -> None:
        """Close; whoever waits is told that it is the end."""
        if self.is_closed:
            return
        self.is_closed = True
        self._loop.remove_reader(self._number)
        self._loop.remove_writer(self._number)
        os.close(self._number)
        self._wake()

    def end(self) -> None:
        """Send the end of a socket's stream; what comes from there can still be read."""
        if not self.is_closed:
            with socket.socket(fileno=os.dup(self._number)) as same, suppress(OSError):
                same.shutdown(socket.SHUT_WR)

    def finish(self) -> None:
        """Let the reader have what is there and then the end, though somebody could still write."""
        self._is_ending = True
        self._wake()

    def _wake(self) -> None:
        for future in self._waiting:
            _settle(future)


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
