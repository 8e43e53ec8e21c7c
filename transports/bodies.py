"""A bound on the bodies of requests, before anything reads them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from transports import problems

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from starlette.types import ASGIApp, Receive, Scope, Send

LIMIT_BYTES = 1024 * 1024
LIMIT_SECONDS = 30.0

_CLOSE = ((b"connection", b"close"),)

_BODILESS = frozenset({"GET", "HEAD", "OPTIONS"})


class BoundedBody:
    """ASGI middleware that reads a body whole, at most LIMIT_BYTES, and hands it on as one message.

    A larger one is answered with 413: at once where its length is declared, else as soon as it is exceeded; one that
    takes longer than `seconds` with 408, which ends the connection. The
    bodies of methods that have none are left to themselves: nothing here reads them.
    """

    def __init__(self, app: ASGIApp, *, seconds: float = LIMIT_SECONDS) -> None:
        self._app = app
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["method"] in _BODILESS:
            await self._app(scope, receive, send)
            return
        if _declared_bytes(scope) > LIMIT_BYTES:
            await _refuse(send)
            return
        try:
            async with asyncio.timeout(self._seconds):
                body = await _read(receive)
        except TimeoutError:
            detail = f"the body was not complete after {self._seconds:g} seconds"
            await problems.send_problem(problems.build(408, "request_timeout", detail, headers=_CLOSE), send)
            return
        if body is None:
            return  # the client went away in the middle of it
        if len(body) > LIMIT_BYTES:
            await _refuse(send)
            return
        await self._app(scope, _once(body, receive), send)


async def _read(receive: Receive) -> bytes | None:
    """Return the body, or as much of it as is too much; None if it never ends."""
    body = bytearray()
    more = True
    while more and len(body) <= LIMIT_BYTES:
        message = await receive()
        if message["type"] != "http.request":
            return None
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return bytes(body)


def _declared_bytes(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length":
            return int(value)  # the server refuses requests in which this is no number
    return 0


def _once(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that gives the body, then waits for the end of the connection as before."""
    left = [body]

    async def give() -> MutableMapping[str, Any]:
        if left:
            return {"type": "http.request", "body": left.pop(), "more_body": False}
        return await receive()

    return give


async def _refuse(send: Send) -> None:
    detail = f"a body may have at most {LIMIT_BYTES} bytes"
    await problems.send_problem(problems.build(413, "body_too_large", detail), send)
