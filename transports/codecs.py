"""The encodings of the WebSocket protocol, one per subprotocol; the same messages in each."""

from __future__ import annotations

import time
from typing import Protocol

from terminal_service import wire


class Codec(Protocol):
    """How messages look on the wire. `decode` raises `wire.DecodeError`."""

    name: str
    output_is_text: bool
    messages_are_text: bool

    def output(self, data: memoryview, seq: int, *, replay: bool) -> bytes:
        """Encode output, the one message that must be fast."""
        ...

    def message(self, message: wire.ServerMessage) -> bytes | None:
        """Encode any other message; None where this encoding has no place for it."""
        ...

    def decode(self, data: bytes | str) -> wire.ClientMessage:
        """Read what the client sent."""
        ...


class JsonCodec:
    """Text frames, bytes in base64: `terminal.v1.json`, and clients that name no subprotocol."""

    name = "terminal.v1.json"
    output_is_text = messages_are_text = True

    def output(self, data: memoryview, seq: int, *, replay: bool) -> bytes:
        """Encode output."""
        return wire.encode_json(wire.Output(data, seq, time.time(), replay))

    def message(self, message: wire.ServerMessage) -> bytes | None:
        """Encode a message."""
        return wire.encode_json(message)

    def decode(self, data: bytes | str) -> wire.ClientMessage:
        """Read a message; binary frames holding JSON are taken too (the first service sent such)."""
        return wire.decode_json(data)


class MsgpackCodec:
    """Binary frames: `terminal.v1.msgpack`, the fast one."""

    name = "terminal.v1.msgpack"
    output_is_text = messages_are_text = False

    def output(self, data: memoryview, seq: int, *, replay: bool) -> bytes:
        """Encode output."""
        return wire.encode_msgpack(wire.Output(data, seq, time.time(), replay))

    def message(self, message: wire.ServerMessage) -> bytes | None:
        """Encode a message."""
        return wire.encode_msgpack(message)

    def decode(self, data: bytes | str) -> wire.ClientMessage:
        """Read a message."""
        if isinstance(data, str):
            raise wire.DecodeError("terminal.v1.msgpack takes binary messages only")
        return wire.decode_msgpack(data)


class RawCodec:
    """Bare bytes both ways: `terminal.v1.raw`. Made for emulators that know no protocol.

    With `control`, messages travel as JSON in text frames beside the bytes. Without it a text frame is input,
    as xterm.js' attach addon sends it, nothing but output is sent, and a gap is told in the output itself.
    """

    name = "terminal.v1.raw"
    output_is_text = False

    def __init__(self, *, control: bool) -> None:
        """Choose whether text frames are control messages or input."""
        self.messages_are_text = self._control = control

    def output(self, data: memoryview, seq: int, *, replay: bool) -> bytes:  # noqa: ARG002 - bare bytes have neither
        """Return the bytes themselves."""
        return bytes(data)

    def message(self, message: wire.ServerMessage) -> bytes | None:
        """Encode a message for a text frame, or what must not go untold for the output."""
        if self._control:
            return wire.encode_json(message)
        if isinstance(message, wire.Gap) and message.reason == "torn":
            return b"\r\n[some output may be missing here]\r\n"
        if isinstance(message, wire.Gap):
            return b"\r\n[%d bytes of output were %s]\r\n" % (message.lost_bytes, message.reason.encode()) + (
                message.preamble or b""
            )
        if isinstance(message, wire.Attached):
            lost = message.lost_bytes or 0
            notice = b"\r\n[%d bytes of output are no longer kept]\r\n" % lost if lost else b""
            return (notice + (message.preamble or b"")) or None
        return None

    def decode(self, data: bytes | str) -> wire.ClientMessage:
        """Read bytes as input, text as a message or as input."""
        if isinstance(data, bytes):
            return wire.Input(data)
        return wire.decode_json(data) if self._control else wire.Input(data.encode())


SUBPROTOCOLS = (MsgpackCodec.name, JsonCodec.name, RawCodec.name)


def make_codec(subprotocol: str | None, *, control: bool) -> Codec:
    """Return the codec of a subprotocol, JSON for None; `control` is for the raw one only."""
    if subprotocol == RawCodec.name:
        return RawCodec(control=control)
    return MsgpackCodec() if subprotocol == MsgpackCodec.name else JsonCodec()


class SharedFrame:
    """The last output frame of a terminal in one encoding: many viewers at the same place cost one encoding.

    It holds memory, so a terminal's only viewer does without.
    """

    def __init__(self, codec: Codec) -> None:
        """Begin empty."""
        self._codec = codec
        self._key: tuple[int, int, bool] = (-1, -1, False)
        self._frame = b""

    def encode(self, data: memoryview, seq: int, *, replay: bool) -> bytes:
        """Encode output, or return what was encoded for another viewer."""
        key = (seq, len(data), replay)
        if key != self._key:
            self._frame = self._codec.output(data, seq, replay=replay)
            self._key = key
        return self._frame
