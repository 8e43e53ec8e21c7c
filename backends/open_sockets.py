"""The sockets of an aiohttp client, so that closing it closes them: it leaves TLS connections to close some time."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from typing import TYPE_CHECKING
from weakref import WeakSet

if TYPE_CHECKING:
    import aiohttp

_UNSENT_BYTES = 64 * 1024


class OpenSockets:
    """All that are open. `open` is a connector's `socket_factory`."""

    def __init__(self, *, close_seconds: float) -> None:
        """`close_seconds`: how long `close` waits for those that it has cut."""
        self._close_seconds = close_seconds
        self._open: WeakSet[socket.socket] = WeakSet()

    def open(self, address: aiohttp.AddrInfoType) -> socket.socket:
        """Open one that queues little: what is typed, and what is to interrupt it, is not to wait in the kernel."""
        opened = socket.socket(address[0], address[1], address[2])
        opened.setblocking(False)  # noqa: FBT003 - the standard library's
        if hasattr(socket, "TCP_NOTSENT_LOWAT"):
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT_BYTES)
        self._open.add(opened)
        return opened

    async def close(self) -> None:
        """Cut what is open, and wait until it is closed."""
        for opened in self._left():
            with suppress(OSError):  # it has ended just now
                opened.shutdown(socket.SHUT_RDWR)
        with suppress(TimeoutError):
            async with asyncio.timeout(self._close_seconds):
                while self._left():  # noqa: ASYNC110 - nothing tells
                    await asyncio.sleep(0.005)

    def _left(self) -> list[socket.socket]:
        return [opened for opened in self._open if opened.fileno() >= 0]
