"""picows' server protocol, put onto a connection whose handshake was answered elsewhere.

picows expects to own a connection from its first byte. Here it takes over after the application has accepted:
it is fed a handshake of our own, to which it answers with the response head prepared for the real one.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Protocol

from picows import (
    WSAutoPingStrategy,
    WSListener,
    WSTransport,
    WSUpgradeResponse,
    WSUpgradeResponseWithListener,
)

# The published stubs leave the protocol class out; `picows.api.ws_create_server` shows how it is made.
from picows.picows import WSProtocol  # type: ignore[attr-defined]

if TYPE_CHECKING:
    import asyncio

# An idle connection costs this much; the parser doubles it when a frame needs more.
_READ_BUFFER_BYTES = 4 * 1024
# picows doubles its buffer whenever a read fills it, whatever the frames' size: without this cap on a read, a
# peer that sends fast would make it grow to the kernel's receive buffer (megabytes), and it never shrinks.
_READ_BYTES = 64 * 1024
_HANDSHAKE = (
    b"GET / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


class Owner(Protocol):
    """Who is told how the connection under the frames fares."""

    def parser_failed(self) -> None:
        """Learn that the parser has met a violation and is about to send the close frame for it."""
        ...

    def half_closed(self) -> None:
        """Learn that the peer will send nothing more; the transport closes once all is sent."""
        ...

    def finish(self) -> None:
        """End the connection: nothing more is to be sent."""
        ...


class Frames(WSProtocol):  # type: ignore[misc] # untyped base, see the import
    """The parser as the event loop's protocol; calls the listener with frames."""

    transport: WSTransport
    listener: WSListener | None

    def __init__(self, owner: Owner, *, max_frame_bytes: int) -> None:
        self._owner: Owner | None = owner
        self._response: WSUpgradeResponseWithListener | None = None
        super().__init__(
            None,  # host and port: a client's
            None,  # path: a client's
            False,  # noqa: FBT003 - is_client_side; the constructor is positional
            lambda _request: self._response,
            _ParserLog(owner),
            True,  # noqa: FBT003 - disconnect_on_exception
            None,  # handshake timeout: the handshake is over
            False,  # noqa: FBT003 - enable_auto_ping
            0,
            0,
            WSAutoPingStrategy.PING_WHEN_IDLE,
            False,  # noqa: FBT003 - enable_auto_pong: it would queue without bound for a peer that does not read
            max_frame_bytes,
            None,  # extra headers: a client's
            _READ_BUFFER_BYTES,
        )

    def open(self, owner: Owner, transport: asyncio.Transport, listener: WSListener, head: bytes) -> WSTransport:
        """Send the response `head` and be ready for frames."""
        self._response = WSUpgradeResponseWithListener(_Head(head), listener)
        self.connection_made(_Underlying(transport, owner))
        self.feed(_HANDSHAKE)
        self._response = None
        return self.transport

    def feed(self, data: bytes | bytearray) -> None:
        """Parse bytes that were read before this protocol was the transport's."""
        rest = memoryview(data)
        while rest:
            room = self.get_buffer(-1)
            count = min(len(room), len(rest))
            room[:count] = rest[:count]
            self.buffer_updated(count)
            rest = rest[count:]

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return the parser's memory for the next read."""
        room: memoryview = super().get_buffer(sizehint)
        return room[:_READ_BYTES]

    def eof_received(self) -> bool:
        """Let the transport close."""
        if self._owner is not None:
            self._owner.half_closed()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the listener, then let go of everything."""
        super().connection_lost(exc)
        self._owner = None


class _Head(WSUpgradeResponse):
    """A 101 response whose bytes are already written down."""

    def __init__(self, head: bytes) -> None:
        made = WSUpgradeResponse.create_101_response()
        self.version, self.status, self.headers, self.body = (
            made.version,
            made.status,
            made.headers,
            made.body,
        )
        self._head = head

    def to_bytes(self) -> bytearray:
        return bytearray(self._head)


class _Underlying:
    """What picows sees of the transport: writing goes straight there, closing is its owner's business."""

    def __init__(self, transport: asyncio.Transport, owner: Owner) -> None:
        self._transport = transport
        self._owner = owner
        self.write = transport.write
        self.get_write_buffer_size = transport.get_write_buffer_size

    def get_extra_info(self, name: str) -> Any:
        value = self._transport.get_extra_info(name)
        return _Socket(value) if name == "socket" else value

    def close(self) -> None:
        self._owner.finish()

    def abort(self) -> None:
        self._transport.abort()


class _Socket:
    """A socket whose options are wishes: a Unix socket has no TCP_NODELAY, one that was reset none."""

    def __init__(self, sock: Any) -> None:
        self.fileno = sock.fileno
        self._setsockopt = sock.setsockopt

    def setsockopt(self, *option: int) -> None:
        with contextlib.suppress(OSError):
            self._setsockopt(*option)

    def getsockopt(self, *_option: int) -> int:
        return 0  # asked for a log line only, which nobody gets


class _ParserLog:
    """What picows takes for its logger, the one place where it tells at once that the parser gave up.

    It sends the close frame right after, but would go on reading for 10 ms before it ends the connection.
    Should a release log otherwise, that end still comes, by `_Underlying.close`.
    """

    def __init__(self, owner: Owner) -> None:
        self.error = self.exception = lambda *_: owner.parser_failed()

    def isEnabledFor(self, _level: int) -> bool:  # noqa: N802 - logging's name
        return False

    def log(self, *_: object) -> None:
        pass

    debug = info = warning = log
