"""One WebSocket: messages in and out, the rules picows leaves to its user, and the closing handshake.

picows checks opcodes, masking, lengths and the size of a frame. Here are checked reserved bits, the order of
fragments, the size of a whole message, UTF-8 and close codes. Message bytes held here are bounded: reading
stops as soon as one message waits for a listener, so there is at most what one read brought.
"""

from __future__ import annotations

import enum
import logging
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

from picows import WSFrame, WSListener, WSMsgType, WSTransport

from transports.fragments import Fragments, MessageTooBig
from transports.picows_frames import Frames

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from transports.channel import Listener

_TEXT, _BINARY, _CONTINUATION = WSMsgType.TEXT, WSMsgType.BINARY, WSMsgType.CONTINUATION
_PING, _PONG, _CLOSE = WSMsgType.PING, WSMsgType.PONG, WSMsgType.CLOSE

_NO_CODE, _ABRUPT, _NORMAL = 1005, 1006, 1000
_PROTOCOL_ERROR, _NOT_UTF8, _TOO_BIG, _INTERNAL_ERROR = 1002, 1007, 1009, 1011
_REASON_BYTES = 123
# Above this size picows hands the caller's own memory to the transport, which may send it long after `send`.
_COPIED_BYTES = 8192
_HEADER_ROOM = bytes(14)
_PONGS_PER_TURN = 32

_log = logging.getLogger("uvicorn.error")


class _State(enum.Enum):
    NEW = enum.auto()  # not accepted yet
    OPEN = enum.auto()
    CLOSING = enum.auto()  # our close frame is sent, the peer's is awaited
    OVER = enum.auto()


class Owner(Protocol):
    """Who has the connection under the channel."""

    def wake(self) -> None:
        """Look again: a message waits, writing is possible, or the WebSocket is over."""
        ...

    def expire(self) -> None:
        """Cut the connection if it still stands in 5 s."""
        ...

    def finish(self) -> None:
        """End the connection after what is queued has been sent."""
        ...

    def lost(self) -> None:
        """Learn that the connection is gone."""
        ...


class _Nobody:
    """The owner once the connection is gone, so that a late timer of the parser reaches nothing."""

    def wake(self) -> None:
        pass

    expire = finish = lost = wake


class PicowsChannel(WSListener):
    """A `transports.channel.Channel`; its messages can also be taken one by one with `take`."""

    def __init__(self, owner: Owner, loop: asyncio.AbstractEventLoop, *, limit_bytes: int) -> None:
        self.code: int | None = None  # the close code once the WebSocket is over
        self._owner: Owner = owner
        self._loop = loop
        self._limit_bytes = limit_bytes
        self._state = _State.NEW
        self._listener: Listener | None = None
        self._queue: deque[bytes | str] = deque()
        self._fragments: Fragments | None = None
        self._held = False  # the application has paused reading
        self.writable = True  # the transport holds less than its high-water mark
        self._pong: bytes | None = None  # answer to the last ping that was not answered at once
        self._answered_at = 0.0
        self._answers = 0
        self._transport: asyncio.Transport | None = None
        self._frames: Frames | None = None
        self._wire: WSTransport  # from `open` until the connection is lost; used while OPEN only

    # The application's side: transports.channel.Channel

    def listen(self, listener: Listener) -> None:
        """Deliver what waits, then every message as it arrives; raises RuntimeError before acceptance."""
        if self._state is _State.NEW:
            raise RuntimeError("the WebSocket has not been accepted yet")
        while self._queue:
            self._deliver(listener, self._queue.popleft())
        if self.code is not None:
            self._tell(listener.connection_lost, self.code)
            return
        self._listener = listener
        self._regulate()

    def send(self, data: bytes | bytearray | memoryview, *, text: bool = False) -> None:
        """Send a message; `data` may be changed as soon as this returns."""
        if self._state is not _State.OPEN:
            return
        kind = _TEXT if text else _BINARY
        if len(data) <= _COPIED_BYTES:
            self._wire.send(kind, data)
        else:
            framed = bytearray().join((_HEADER_ROOM, data))
            self._wire.send_reuse_external_bytearray(kind, framed, len(_HEADER_ROOM))

    def ping(self) -> None:
        """Send an empty ping."""
        if self._state is _State.OPEN:
            self._wire.send_ping()

    def pause_reading(self) -> None:
        """Stop reading; what the last read brought is still delivered."""
        self._held = True
        self._regulate()

    def resume_reading(self) -> None:
        """Read again."""
        self._held = False
        self._regulate()

    def close(self, code: int, reason: str = "") -> None:
        """Send a close frame and drop what still arrives; the end comes with the peer's answer or in 5 s."""
        if self._state is not _State.OPEN:
            return
        self._state = _State.CLOSING
        self._send_close(code, reason)
        self._queue.clear()
        self._fragments = None
        self._owner.expire()
        self._regulate()

    def abort(self) -> None:
        """Reset the connection."""
        if self._transport is not None:
            self._transport.abort()

    # The owner's side

    def open(self, transport: asyncio.Transport, head: bytes, early: bytearray) -> None:
        """Send the response `head`, take over the transport, and parse what came `early`."""
        self._transport = transport
        self._frames = Frames(self, max_frame_bytes=self._limit_bytes)
        self._state = _State.OPEN
        self._wire = self._frames.open(self, transport, self, head)
        transport.set_protocol(self._frames)
        self._frames.feed(early)
        self._regulate()

    def deny(self) -> None:
        """End without having been opened: the handshake was answered otherwise."""
        self._over(_ABRUPT)

    def take(self) -> bytes | str | None:
        """Return the next message nobody listened to, or None; reading goes on once all are taken."""
        if not self._queue:
            return None
        message = self._queue.popleft()
        self._regulate()
        return message

    def connection_lost(self, exc: Exception | None) -> None:
        """Learn that the connection is gone while it was not the frames' to know."""
        if self._frames is not None:
            self._frames.connection_lost(exc)
        else:
            self.on_ws_disconnected(None)

    # The parser's side

    def on_ws_frame(self, _wire: WSTransport, frame: WSFrame) -> None:
        """Take a frame; its memory is the parser's again afterwards."""
        kind = frame.msg_type
        if (
            kind is _BINARY
            and self._state is _State.OPEN
            and self._listener is not None
            and self._fragments is None
            and frame.fin
            and not (frame.rsv1 or frame.rsv2 or frame.rsv3)
        ):
            self._deliver(self._listener, frame.get_payload_as_bytes())  # a keystroke
            return
        if self._state is not _State.OPEN:
            if self._state is _State.CLOSING and kind == _CLOSE:
                self._closed(_close_code(frame))
            return
        if frame.rsv1 or frame.rsv2 or frame.rsv3:
            self._fail(_PROTOCOL_ERROR, "reserved bits are set")
        elif kind == _PING:
            self._answer(frame.get_payload_as_bytes())
        elif kind == _PONG:
            if self._listener is not None:
                self._tell(self._listener.pong_received)
        elif kind == _CLOSE:
            self._closed(_close_code(frame))
        else:
            self._collect(frame, kind)

    def on_ws_disconnected(self, _wire: WSTransport | None) -> None:
        """Learn that the connection is gone."""
        self._over(_ABRUPT)
        owner, self._owner = self._owner, _Nobody()
        owner.lost()
        # What is left are references in a circle, which would keep the socket's objects until a collection.
        self._listener = self._frames = self._transport = None
        if hasattr(self, "_wire"):
            del self._wire

    def pause_writing(self) -> None:
        """Learn that the transport holds more than its high-water mark."""
        self.writable = False

    def resume_writing(self) -> None:
        """Learn that the transport's buffer has drained."""
        self.writable = True
        self._answer_latest()
        self._owner.wake()
        if self._listener is not None and self.code is None:
            self._tell(self._listener.resume_writing)

    def parser_failed(self) -> None:
        """End after the parser has sent its close frame, which it does next.

        It parses one frame ahead of `on_ws_frame`. If it has already seen the peer's close frame, the
        violation came behind that and means nothing (RFC 6455, section 5.5.1): the close frame is answered.
        """
        handshake: Any = self._wire.close_handshake
        if self._state is _State.OPEN and handshake is not None and handshake.recv is not None:
            self._closed(int(handshake.recv.code) or _NO_CODE)
        if self._state is _State.OPEN:
            self._state = _State.CLOSING  # it would deliver the rest of a frame too big that comes with further reads
        self._loop.call_soon(self._after_parser_failed)

    def half_closed(self) -> None:
        """Do not wait forever for a peer that sends nothing more to read what it was sent."""
        self._owner.expire()

    def finish(self) -> None:
        """End the connection."""
        self._owner.finish()

    def _after_parser_failed(self) -> None:
        if self._state in (_State.OPEN, _State.CLOSING):
            sent: Any = self._wire.close_handshake.sent
            self._over(int(sent.code))
            self._owner.finish()

    def _collect(self, frame: WSFrame, kind: WSMsgType) -> None:
        """Take a data frame; deliver the message if it is complete."""
        if (kind == _CONTINUATION) is (self._fragments is None):
            self._fail(_PROTOCOL_ERROR, "continuation out of order")
            return
        message: bytes | str | None
        try:
            if self._fragments is not None:
                message = self._fragments.add(frame.get_payload_as_bytes(), final=frame.fin)
            elif frame.fin:
                message = frame.get_payload_as_bytes() if kind == _BINARY else frame.get_payload_as_utf8_text()
            else:
                self._fragments = Fragments(text=kind == _TEXT, limit_bytes=self._limit_bytes)
                message = self._fragments.add(frame.get_payload_as_bytes(), final=False)
        except UnicodeDecodeError:
            self._fail(_NOT_UTF8, "text is not UTF-8")
        except MessageTooBig:
            self._fail(_TOO_BIG, "message too big")
        else:
            if message is not None:
                self._fragments = None
                self._receive(message)

    def _receive(self, message: bytes | str) -> None:
        if self._listener is not None:
            self._deliver(self._listener, message)
            return
        self._queue.append(message)
        self._regulate()
        self._owner.wake()

    def _answer(self, payload: bytes) -> None:
        """Answer a ping; of a flood, or while the peer does not read, only the latest (RFC 6455, section 5.5.3)."""
        now = self._loop.time()  # uvloop's clock stands still within a turn of the loop
        if now != self._answered_at:
            self._answered_at, self._answers = now, 0
        self._answers += 1
        if self.writable and self._answers <= _PONGS_PER_TURN:
            self._wire.send_pong(payload)
            return
        if self._pong is None and self.writable:
            self._loop.call_soon(self._answer_latest)
        self._pong = payload

    def _answer_latest(self) -> None:
        if not self.writable:
            return
        if self._pong is not None and self._state is _State.OPEN:
            self._wire.send_pong(self._pong)
        self._pong = None

    def _closed(self, code: int) -> None:
        """Take the code of the peer's close frame; it answers ours, or is answered by the same."""
        if code != _NO_CODE and not _may_be_sent(code):
            self._fail(_PROTOCOL_ERROR, "invalid close code")
            return
        if self._state is _State.OPEN:
            # picows cannot send a close frame without a code; none is answered by the one that means "fine".
            self._send_close(_NORMAL if code == _NO_CODE else code)
        self._over(code)
        self._owner.finish()

    # Both sides

    def _fail(self, code: int, reason: str = "") -> None:
        """Close at once, without waiting for the peer's answer (RFC 6455, section 7.1.7)."""
        if self._state is _State.OPEN:
            self._send_close(code, reason)
        if self._state in (_State.OPEN, _State.CLOSING):
            self._over(code)
            self._owner.finish()

    def _send_close(self, code: int, reason: str = "") -> None:
        short = reason.encode()[:_REASON_BYTES].decode(errors="ignore")
        self._wire.send_close(code, short)  # type: ignore[arg-type] # any code; the stubs know picows' own

    def _over(self, code: int) -> None:
        """Tell once that nothing follows."""
        if self.code is not None:
            return
        self.code = code
        self._state = _State.OVER
        self._fragments = None
        self._owner.wake()
        if self._listener is not None:
            self._tell(self._listener.connection_lost, code)

    def _regulate(self) -> None:
        """Read, unless the application has paused it or a message waits for somebody to listen."""
        if self._transport is None or self._transport.is_closing():
            return
        if self._state is _State.OPEN and (self._held or self._queue):
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def _deliver(self, listener: Listener, message: bytes | str) -> None:
        try:
            listener.message_received(message)
        except Exception:  # noqa: BLE001 - the edge: an error of the application must not end the server
            _log.exception("Exception in WebSocket listener")
            self._queue.clear()
            self._fail(_INTERNAL_ERROR)

    def _tell(self, call: Callable[..., None], *args: Any) -> None:
        try:
            call(*args)
        except Exception:  # noqa: BLE001 - the edge: an error of the application must not end the server
            _log.exception("Exception in WebSocket listener")


def _close_code(frame: WSFrame) -> int:
    """Return the code in a close frame."""
    payload = frame.get_payload_as_bytes()
    return int.from_bytes(payload[:2], "big") if payload else _NO_CODE


def _may_be_sent(code: int) -> bool:
    """Tell whether a close frame may carry the code (RFC 6455, section 7.4, and IANA's registry)."""
    return code in (1000, 1001, 1002, 1003) or 1007 <= code <= 1014 or 3000 <= code <= 4999  # noqa: PLR2004
