"""Only this module knows how each server words input and output on its WebSocket."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Protocol

import msgspec
from picows import WSMsgType

if TYPE_CHECKING:
    from collections.abc import Sequence

Message = tuple[WSMsgType, bytes]


class Wire(Protocol):
    """One server's protocol; pure functions of bytes."""

    subprotocol: str | None

    def hello(self) -> Sequence[Message]:
        """Return what a client says first."""
        ...

    def stdin(self, data: bytes) -> Message:
        """Return the message that types `data`."""
        ...

    def stdout(self, kind: WSMsgType, payload: bytes) -> bytes:
        """Return the terminal output in a message; empty for any other message."""
        ...


class TerminadoWire:
    """Terminado: JSON arrays, output as text (it replaces bytes that are no UTF-8; the bench prints none)."""

    subprotocol: str | None = None
    _decoder = msgspec.json.Decoder()
    _encoder = msgspec.json.Encoder()

    def hello(self) -> Sequence[Message]:
        """Say nothing: the size stays as the server made it."""
        return ()

    def stdin(self, data: bytes) -> Message:
        """Return ["stdin", text]."""
        return WSMsgType.TEXT, self._encoder.encode(["stdin", data.decode()])

    def stdout(self, kind: WSMsgType, payload: bytes) -> bytes:
        """Take ["stdout", text]."""
        if kind is not WSMsgType.TEXT:
            return b""
        message: list[str] = self._decoder.decode(payload)
        return message[1].encode() if message[0] == "stdout" else b""


class TtydWire:
    """Ttyd: one command byte before the data; '0' is input one way and output the other (src/server.h)."""

    subprotocol: str | None = "tty"

    def hello(self) -> Sequence[Message]:
        """Send the JSON message that makes ttyd start the program."""
        return ((WSMsgType.BINARY, b'{"AuthToken":"","columns":80,"rows":24}'),)

    def stdin(self, data: bytes) -> Message:
        """Return '0' and the data."""
        return WSMsgType.BINARY, b"0" + data

    def stdout(self, kind: WSMsgType, payload: bytes) -> bytes:
        """Take '0' and the data."""
        return payload[1:] if kind is WSMsgType.BINARY and payload[:1] == b"0" else b""


class Event(msgspec.Struct):
    """What the bench reads of this service's messages; `data` and `seq` belong to `output`."""

    type: str
    data: bytes = b""
    seq: int = 0


class Position(msgspec.Struct):
    """The same without the data, which is then skipped and not copied."""

    type: str
    seq: int = 0


class JsonWire:
    """This service, JSON text frames with base64 data."""

    subprotocol: str | None = "terminal.v1.json"
    _decoder = msgspec.json.Decoder(Event)

    def hello(self) -> Sequence[Message]:
        """Say nothing: the server speaks first."""
        return ()

    def stdin(self, data: bytes) -> Message:
        """Return an `input` message."""
        return WSMsgType.TEXT, b'{"type":"input","data":"' + base64.b64encode(data) + b'"}'

    def stdout(self, kind: WSMsgType, payload: bytes) -> bytes:
        """Take an `output` message."""
        if kind is not WSMsgType.TEXT:
            return b""
        event = self._decoder.decode(payload)
        return event.data if event.type == "output" else b""


class MsgpackWire:
    """This service, msgpack binary frames."""

    subprotocol: str | None = "terminal.v1.msgpack"
    _decoder = msgspec.msgpack.Decoder(Event)
    _positions = msgspec.msgpack.Decoder(Position)
    _encoder = msgspec.msgpack.Encoder()

    def hello(self) -> Sequence[Message]:
        """Say nothing: the server speaks first."""
        return ()

    def stdin(self, data: bytes) -> Message:
        """Return an `input` message."""
        return WSMsgType.BINARY, self._encoder.encode({"type": "input", "data": data})

    def stdout(self, kind: WSMsgType, payload: bytes) -> bytes:
        """Take an `output` message."""
        if kind is not WSMsgType.BINARY:
            return b""
        event = self._decoder.decode(payload)
        return event.data if event.type == "output" else b""

    def position(self, payload: bytes) -> int:
        """Return the position after an `output` message; 0 for any other."""
        event = self._positions.decode(payload)
        return event.seq if event.type == "output" else 0

    def ack(self, position: int) -> Message:
        """Return the message that acknowledges everything up to `position`."""
        return WSMsgType.BINARY, self._encoder.encode({"type": "ack", "seq": position})


class RawWire:
    """This service, bare bytes in binary frames; control messages are text."""

    subprotocol: str | None = "terminal.v1.raw"

    def hello(self) -> Sequence[Message]:
        """Say nothing: the server speaks first."""
        return ()

    def stdin(self, data: bytes) -> Message:
        """Return the data itself."""
        return WSMsgType.BINARY, data

    def stdout(self, kind: WSMsgType, payload: bytes) -> bytes:
        """Take a binary frame whole."""
        return payload if kind is WSMsgType.BINARY else b""
