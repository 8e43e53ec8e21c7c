"""Bounds on what an HTTP client may keep the server waiting for, or make it keep, before a request is a request.

uvicorn on httptools has none: a head may trickle in for ever or be of any size, and so may trailers and chunk
extensions; any number of requests may be sent at once without reading an answer. And it closes a connection after
5 s without a request, under the hands of any proxy that means to use it again: that is a 502 for somebody.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from transports import problems

if TYPE_CHECKING:
    import asyncio

HEAD_BYTES = 64 * 1024
"""Request line and headers; also trailers, and anything else that is neither head nor body."""
HEAD_SECONDS = 10.0
"""From the first byte of a head (the opening of the connection, for the first one) to its last."""
PIPELINE_LIMIT = 100
"""Requests of one connection that wait for an earlier one's answer."""
IDLE_SECONDS = 3900
"""How long a connection may wait for its next request: longer than proxies keep one, so that it is they who close it.

Envoy keeps one an hour, Google's load balancers 10 minutes, Caddy 2, nginx and Amazon's 1. The bound is the number:
"""
IDLE_LIMIT = 256
"""Connections that wait for their next request; with one more the one that has waited longest is closed."""


class IdleConnections:
    """The connections of a server that wait for their next request, the longest waiting first."""

    def __init__(self, limit: int = IDLE_LIMIT) -> None:
        """Begin with none; `limit` of them may wait."""
        self._limit = limit
        self._waiting: dict[BoundedHttp, None] = {}

    def add(self, connection: BoundedHttp) -> None:
        """Let one wait, and end the one that has waited longest if that is one too many."""
        self._waiting[connection] = None
        if len(self._waiting) > self._limit:
            longest = next(iter(self._waiting))
            del self._waiting[longest]
            longest.timeout_keep_alive_handler()

    def discard(self, connection: BoundedHttp) -> None:
        """Forget one: it waits no more."""
        self._waiting.pop(connection, None)


class BoundedHttp(HttpToolsProtocol):
    """uvicorn's HTTP protocol, ending connections that go beyond the bounds."""

    _unparsed_bytes = 0
    _head_timer: asyncio.TimerHandle | None = None
    _is_last = False

    @property
    def owes_answer(self) -> bool:
        """Whether a client counts on this connection: it has asked something, or has just come in order to ask."""
        return not self.transport.is_closing() and (self._is_new or self._is_answering)

    def take_leave(self) -> None:
        """End after the answer that is owed; an idle connection ends at once."""
        self._is_last = True
        if not self._is_new:
            self.shutdown()

    def __init__(self, *arguments: Any, idle: IdleConnections, **options: Any) -> None:
        """Begin; `idle` is the same for all connections of a server."""
        super().__init__(*arguments, **options)
        self._idle = idle

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as its base
        """Begin to wait for a head."""
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._stop_waiting()
        self._idle.discard(self)
        self._unset_keepalive_if_required()  # uvicorn forgets that after a reset: it would stay for IDLE_SECONDS
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse; then see whether this leads anywhere."""
        if self.transport.is_closing():
            return
        self._idle.discard(self)
        self._unparsed_bytes += len(data)
        if not self._is_answering:
            self._await_head()
        super().data_received(data)
        if self._unparsed_bytes > HEAD_BYTES:
            detail = f"a request's headers may have {HEAD_BYTES} bytes"
            self._end(problems.build(431, "headers_too_large", detail))

    def on_headers_complete(self) -> None:
        """Begin to serve a request, or to queue it. Raises RuntimeError, which the parser reports as its own."""
        self._stop_waiting()
        self._unparsed_bytes = 0
        if len(self.pipeline) >= PIPELINE_LIMIT:
            raise RuntimeError("too many requests at once")
        super().on_headers_complete()
        if self._is_last and not self._is_new:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        """Take a part of a body."""
        self._unparsed_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Take the end of a request."""
        self._unparsed_bytes = 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Go on with what was sent meanwhile, or begin to wait for the next request."""
        super().on_response_complete()
        if self.timeout_keep_alive_task is not None:
            self._idle.add(self)

    @property
    def _is_new(self) -> bool:
        cycle: Any = self.cycle
        return cycle is None

    @property
    def _is_answering(self) -> bool:
        cycle: Any = self.cycle  # None, whatever its type says, before the first request
        return cycle is not None and not cycle.response_complete

    def _await_head(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_SECONDS, self._lose_patience)

    def _stop_waiting(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _lose_patience(self) -> None:
        detail = f"the request's headers were not complete after {HEAD_SECONDS:g} seconds"
        self._end(problems.build(408, "request_timeout", detail))

    def _end(self, problem: problems.Problem) -> None:
        """Answer, if no other answer is under way, and close."""
        if self.transport.is_closing():
            return
        if not self._is_answering:
            self.transport.write(_response(problem))
        self.transport.close()


def _response(problem: problems.Problem) -> bytes:
    body = problem.body()
    lines = (
        b"HTTP/1.1 %d %s" % (problem.status, HTTPStatus(problem.status).phrase.encode()),
        b"content-type: " + problems.CONTENT_TYPE,
        b"content-length: %d" % len(body),
        b"connection: close",
        b"",
        body,
    )
    return b"\r\n".join(lines)
