"""A response that goes on for as long as a terminal prints: a cursor on its log, over HTTP."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from starlette.responses import Response

from replay.errors import Trimmed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from starlette.types import Receive, Scope, Send

    from terminal_service.audience import Audience

CHUNK_BYTES = 64 * 1024


class Follower(Response):
    """Sends output from a position until the terminal ends, `limit_bytes` are sent, or the client leaves.

    A follower never holds up the program. One that is so slow that what it has not been sent is trimmed cannot be
    told so within raw bytes: its response is cut off (no final chunk), which every HTTP client reports as an
    error, and it comes back for the position it has; likewise when another process goes on with the terminal.
    Memory: one chunk, and what the server's socket buffers.
    """

    media_type = "application/octet-stream"

    def __init__(
        self,
        terminal: Audience,
        position: int,
        *,
        limit_bytes: int | None,
        headers: Mapping[str, str],
        over: Callable[[], None],
    ) -> None:
        """Follow from a position that is kept now; `over` is called at the end, however it comes."""
        super().__init__(None, headers={**headers, "Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._terminal = terminal
        self._position = position
        self._end = None if limit_bytes is None else position + limit_bytes
        self._over = over
        self._is_gone = False
        self._wake = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI
        """Send until the end."""
        unsubscribe = self._terminal.log.subscribe(self._wake.set)  # before the first read: nothing is missed
        try:
            async with asyncio.TaskGroup() as tasks:
                watch = tasks.create_task(self._watch(receive), name="watch follower")
                await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
                if await self._follow(send):
                    await send({"type": "http.response.body", "body": b""})
                watch.cancel()
        finally:
            unsubscribe()
            self._over()

    async def _watch(self, receive: Receive) -> None:
        """Notice that the client leaves."""
        while (await receive())["type"] != "http.disconnect":
            continue
        self._is_gone = True
        self._wake.set()

    async def _follow(self, send: Send) -> bool:
        """Send; return whether everything that was asked for was sent."""
        log = self._terminal.log
        while not self._is_gone and not self._terminal.is_left:
            self._wake.clear()
            if self._position == self._end:
                return True
            try:
                data = self._read()
            except Trimmed as trimmed:
                self._terminal.told_gap("trimmed", trimmed.first - trimmed.position)
                return False
            if data:
                self._position += len(data)
                self._terminal.counters.delivered_bytes += len(data)
                await send({"type": "http.response.body", "body": data, "more_body": True})
                await asyncio.sleep(0)  # a socket that takes everything must not keep others from their turn
            elif self._position < log.head:
                return False  # the session was forgotten, and its log closed, while there was more
            elif self._terminal.end_message() is not None:
                return True
            else:
                await self._wake.wait()
        return False

    def _read(self) -> bytes:
        """Return a copy of the next bytes; empty at the head. Raises Trimmed."""
        limit = CHUNK_BYTES if self._end is None else min(CHUNK_BYTES, self._end - self._position)
        return bytes(self._terminal.log.read(self._position, limit))
