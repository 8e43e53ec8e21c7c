"""Connections between two requests: a proxy's are there when it comes back, and there are never too many."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import struct
import weakref
from typing import TYPE_CHECKING, Any

import pytest

from support.asgi import serving
from support.raw import Raw
from support.wait import wait_until
from transports.http_bounds import IDLE_LIMIT, IDLE_SECONDS, BoundedHttp, IdleConnections

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.shared import SharedService

REQUEST = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"


async def ask(raw: Raw) -> None:
    """Send a request and read its whole answer."""
    raw.send(REQUEST)
    head = await raw.head()
    assert head.startswith(b"HTTP/1.1 200 "), head
    length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    await raw.reader.readexactly(int(length.partition(b":")[2]))


@pytest.mark.full
async def test_a_proxy_finds_its_connection_again(service: SharedService, size: Callable[[int, int], int]) -> None:
    async with await Raw.open(service.address[1]) as raw:
        await ask(raw)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(size(6, 65)):  # uvicorn's own patience is 5 s, many a proxy's 60
                assert await raw.reader.read() == b"?", "it was closed"
        await ask(raw)


async def test_of_too_many_idle_connections_those_idle_longest_are_closed(service: SharedService) -> None:
    async with contextlib.AsyncExitStack() as stack:
        raws = [await stack.enter_async_context(await Raw.open(service.address[1])) for _ in range(IDLE_LIMIT)]
        for raw in raws:
            await ask(raw)
        again, *closed = raws[:10]
        await ask(again)
        for _ in closed:
            newcomer = await stack.enter_async_context(await Raw.open(service.address[1]))
            await ask(newcomer)
        for raw in closed:
            assert await raw.rest() == b""
        for raw in (again, *raws[10:]):
            await ask(raw)


async def answer(_: Any, __: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body"})


@pytest.mark.asyncio(loop_factories=["uvloop", "asyncio"])
async def test_nothing_is_kept_of_an_idle_connection_that_is_reset() -> None:
    made: weakref.WeakSet[BoundedHttp] = weakref.WeakSet()

    def make(**options: Any) -> BoundedHttp:
        connection = BoundedHttp(idle=IdleConnections(), **options)
        made.add(connection)
        return connection

    async with serving(answer, http=make, timeout_keep_alive=IDLE_SECONDS) as served:
        async with await Raw.open(served.port) as raw:
            await ask(raw)
            assert len(made) == 1
            connection = raw.writer.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

        def is_gone() -> bool:
            gc.collect()
            return not made

        await wait_until(is_gone, description="the connection to be forgotten")
