"""uvicorn's WebSocket protocol on picows: `uvicorn.Config(ws=PicowsProtocol)`.

Speaks plain ASGI (spec 2.4 with `websocket.http.response`), and offers every application the `Channel` of
transports/channel.py. Deliberately absent: per-message deflate, and keepalive pings, which are the
application's (`ws_ping_interval` is not used). What is logged never contains a query string.
"""

from __future__ import annotations

import asyncio
import enum
import logging
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote

from uvicorn.protocols.utils import ClientDisconnected, get_local_addr, get_remote_addr, is_ssl

from transports.channel import EXTENSION
from transports.picows_channel import PicowsChannel
from transports.upgrade import Headers, UpgradeError, UpgradeRequest, accept_headers, parse, response_head

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from uvicorn.config import Config
    from uvicorn.server import ServerState

    Message = MutableMapping[str, Any]

# The transport's marks for `Channel.writable`: enough to keep a fast reader busy, little per slow one.
_HIGH_WATER_BYTES = 128 * 1024
_LOW_WATER_BYTES = 32 * 1024
# What may arrive before the application has decided; beyond it (and at most one read more) reading is paused.
_EARLY_BYTES = 64 * 1024

_ABRUPT, _NORMAL, _INTERNAL_ERROR, _RESTART = 1006, 1000, 1011, 1012


class _Step(enum.Enum):
    """What the application has said so far."""

    UNDECIDED = enum.auto()
    ACCEPTED = enum.auto()
    DENYING = enum.auto()  # `websocket.http.response.start` was sent
    DENIED = enum.auto()
    CLOSED = enum.auto()


class PicowsProtocol(asyncio.Protocol):
    """One connection, from the upgrade request that uvicorn hands over to the end of the socket."""

    end_seconds = 5.0  # how long a peer may take to end, after us

    def __init__(self, config: Config, server_state: ServerState, app_state: dict[str, Any]) -> None:
        self._app = config.loaded_app
        self._config = config
        self._state = server_state
        self._app_state = app_state
        self._loop = asyncio.get_running_loop()
        self._log = logging.getLogger("uvicorn.error")
        self._transport: asyncio.Transport
        self._channel = PicowsChannel(self, self._loop, limit_bytes=config.ws_max_size)
        self._request: UpgradeRequest | None = None
        self._step = _Step.UNDECIDED
        self._start: Message = {}
        self._early = bytearray()
        self._connect_told = False
        self._woken = asyncio.Event()
        self._ended = False  # nothing more is sent, and what still arrives is dropped
        self._cut: asyncio.TimerHandle | None = None

    # The event loop's side: the protocol before acceptance and after the last frame

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection over from uvicorn's HTTP protocol."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by type
        self._transport.set_write_buffer_limits(high=_HIGH_WATER_BYTES, low=_LOW_WATER_BYTES)
        self._state.connections.add(self)  # type: ignore[arg-type] # uvicorn names its own classes only

    def data_received(self, data: bytes) -> None:
        """Take the request's head, which uvicorn passes in one piece; later, what the client says early."""
        if self._ended:
            return
        if self._request is None:
            self._begin(data)
            return
        self._early += data
        if len(self._early) > _EARLY_BYTES:
            self._transport.pause_reading()

    def eof_received(self) -> None:
        """Let the transport close, but not wait forever for a peer that does not read."""
        self.expire()

    def connection_lost(self, exc: Exception | None) -> None:
        """Learn that the socket is gone."""
        self._channel.connection_lost(exc)

    def pause_writing(self) -> None:
        """Learn that the high-water mark is passed."""
        self._channel.pause_writing()

    def resume_writing(self) -> None:
        """Learn that the low-water mark is reached."""
        self._channel.resume_writing()

    # the server's side

    @property
    def owes_answer(self) -> bool:
        """Whether a client waits for the answer to its handshake."""
        return self._step is _Step.UNDECIDED and not self._ended

    def take_leave(self) -> None:
        """Nothing: whoever is attached is told by the application."""

    def shutdown(self) -> None:
        """End the connection, because the server stops."""
        if self._step is _Step.UNDECIDED and not self._ended:
            self._step = _Step.DENIED
            self._respond(503, [], b"the service is stopping\n")
        self._channel.close(_RESTART)

    # The channel's side

    def wake(self) -> None:
        """Let the application's `receive` and `send` look again."""
        self._woken.set()

    def expire(self) -> None:
        """Cut the connection if it still stands in 5 s, from the first call."""
        if self._cut is None:
            self._cut = self._loop.call_later(self.end_seconds, self._transport.abort)

    def finish(self) -> None:
        """Send what is queued, then nothing more, and wait at most 5 s for the peer to end as well.

        Closing the socket at once would, with bytes of the peer still unread, reset the connection, and a
        reset can overtake our last frame (RFC 6455, section 7.1.1). So only our half is closed, and what the
        peer still sends is dropped.
        """
        if self._ended:
            return
        self._ended = True
        self.expire()
        if self._transport.is_closing():
            return
        self._transport.set_protocol(self)
        if not self._transport.can_write_eof():  # TLS, whose own closing handshake does the same
            self._transport.close()
            return
        try:
            self._transport.write_eof()
        except OSError:  # the peer has reset the connection
            self._transport.abort()
        else:
            self._transport.resume_reading()

    def lost(self) -> None:
        """Clean up: the connection is gone."""
        self._ended = True
        self._early = bytearray()
        if self._cut is not None:
            self._cut.cancel()
        self._state.connections.discard(self)

    # The application

    def _begin(self, head: bytes) -> None:
        try:
            self._request = parse(head)
        except UpgradeError as error:
            self._step = _Step.DENIED
            self._respond(error.status, error.headers, f"{error}\n".encode())
            return
        task = self._loop.create_task(self._run(self._scope(self._request)), name="websocket application")
        task.add_done_callback(self._state.tasks.discard)
        self._state.tasks.add(task)

    def _scope(self, request: UpgradeRequest) -> Message:
        root = self._config.root_path
        return {
            "type": "websocket",
            "asgi": {"version": self._config.asgi_version, "spec_version": "2.4"},
            "http_version": "1.1",
            "scheme": "wss" if is_ssl(self._transport) else "ws",
            "server": get_local_addr(self._transport),
            "client": get_remote_addr(self._transport),
            "root_path": root,
            "path": root + request.path,
            "raw_path": root.encode("ascii") + request.raw_path,
            "query_string": request.query,
            "headers": request.headers,
            "subprotocols": request.subprotocols,
            "state": self._app_state.copy(),
            "extensions": {"websocket.http.response": {}, EXTENSION: self._channel},
        }

    async def _run(self, scope: Message) -> None:
        code = _INTERNAL_ERROR
        try:
            await self._app(scope, self._receive, self._send)
            code = _NORMAL
        except ClientDisconnected:
            pass
        except Exception:  # noqa: BLE001 - the task's outermost edge
            self._log.exception("Exception in ASGI application")
        finally:
            self._leave(code)

    def _leave(self, code: int) -> None:
        """End what the application has left open."""
        if self._step is _Step.UNDECIDED and self._channel.code is None:
            if code == _NORMAL:
                self._log.error("ASGI application returned without answering the handshake")
            self._step = _Step.DENIED
            self._respond(500, [], b"Internal Server Error\n")
        elif self._step is _Step.DENYING:
            self._transport.abort()  # the response is incomplete, and must not look complete
        self._channel.close(code)

    async def _receive(self) -> Message:
        if not self._connect_told:
            self._connect_told = True
            return {"type": "websocket.connect"}
        while True:
            message = self._channel.take()
            if isinstance(message, str):
                return {"type": "websocket.receive", "text": message}
            if message is not None:
                return {"type": "websocket.receive", "bytes": message}
            if self._channel.code is not None:
                return {"type": "websocket.disconnect", "code": self._channel.code, "reason": ""}
            await self._wait()

    async def _send(self, message: Message) -> None:
        if self._step in (_Step.DENIED, _Step.CLOSED):
            raise RuntimeError(f"unexpected ASGI message {message['type']!r} after the last one")
        while not self._channel.writable and self._channel.code is None:
            await self._wait()
        if self._channel.code is not None or self._ended:
            raise ClientDisconnected
        if self._step is _Step.UNDECIDED and self._request is not None:
            self._decide(self._request, message)
            return
        match self._step, message["type"]:
            case _Step.DENYING, "websocket.http.response.body":
                self._deny(message.get("body", b""), more=message.get("more_body", False))
            case _Step.ACCEPTED, "websocket.send":
                text = message.get("text")
                self._channel.send(message["bytes"] if text is None else text.encode(), text=text is not None)
            case _Step.ACCEPTED, "websocket.close":
                self._step = _Step.CLOSED
                self._channel.close(message.get("code", _NORMAL), message.get("reason") or "")
            case step, kind:
                raise RuntimeError(f"unexpected ASGI message {kind!r} while {step.name.lower()}")

    def _decide(self, request: UpgradeRequest, message: Message) -> None:
        """Take the application's answer to the handshake."""
        match message["type"]:
            case "websocket.accept":
                self._accept(request, message)
            case "websocket.close":
                self._step = _Step.DENIED
                self._respond(403, [], b"")
            case "websocket.http.response.start":
                self._start, self._step = message, _Step.DENYING
            case kind:
                raise RuntimeError(f"unexpected ASGI message {kind!r} in answer to the handshake")

    async def _wait(self) -> None:
        self._woken.clear()
        await self._woken.wait()

    def _accept(self, request: UpgradeRequest, message: Message) -> None:
        headers = [*accept_headers(request), *self._state.default_headers, *message.get("headers", [])]
        if message.get("subprotocol"):
            headers.append((b"sec-websocket-protocol", message["subprotocol"].encode("latin-1")))
        head = response_head(101, headers)
        self._step = _Step.ACCEPTED
        self._note("accepted")
        early, self._early = self._early, bytearray()
        self._channel.open(self._transport, head, early)

    def _deny(self, body: bytes, *, more: bool) -> None:
        """Send a piece of the application's own response; without a length its end is the connection's."""
        if self._start:
            headers = list(self._start.get("headers", []))
            names = {name.lower() for name, _ in headers}
            if not more and not names & {b"content-length", b"transfer-encoding"}:
                headers.append((b"content-length", b"%d" % len(body)))
            self._respond_head(self._start["status"], headers)
            self._start = {}
        self._transport.write(body)
        if not more:
            self._step = _Step.DENIED
            self.finish()
            self._channel.deny()

    def _respond(self, status: int, headers: Headers, body: bytes) -> None:
        """Answer the handshake with a whole response, and end."""
        self._respond_head(status, [*headers, (b"content-length", b"%d" % len(body))])
        self._transport.write(body)
        self.finish()
        self._channel.deny()

    def _respond_head(self, status: int, headers: Headers) -> None:
        named = [(name, value) for name, value in headers if name.lower() != b"connection"]
        head = response_head(status, [*self._state.default_headers, *named, (b"connection", b"close")])
        self._note(str(status))
        self._transport.write(head)

    def _note(self, outcome: str) -> None:
        if self._config.access_log and self._request is not None:
            self._log.info('"WebSocket %s" %s', quote(self._request.path), outcome)
