"""What a holder and a service say to each other: frames of a JSON header and a payload.

::

    u32 header bytes | u32 payload bytes | header (a JSON object, UTF-8) | payload        both numbers big-endian

A request has `op` and `id`; its answer has the same `id` and `ok` (true), or `error` with a `kind`. What the holder
says unasked has `event`. Whoever reads ignores fields it does not know, and answers an operation it does not know
with the error `unknown_op`: so old and new versions work together. `descriptors` says how many open files travel
with a frame (SCM_RIGHTS); they arrive no later than its last byte and in the order of the frames.
"""

from __future__ import annotations

import json
import struct

VERSION = 1
"""Of this protocol; a higher number may only add. Told in `hello`."""

LIMIT_BYTES = 32 * 1024 * 1024
"""The most that one frame may have: the environment of a program, or the notes of thousands of programs."""

_LENGTHS = struct.Struct("!II")


class BadFrame(Exception):
    """What came is no frame of this protocol; the connection cannot go on."""


def encode(header: dict[str, object], payload: bytes = b"") -> bytes:
    """Return one frame. Raises BadFrame if it would be too long."""
    text = json.dumps(header, separators=(",", ":")).encode("utf-8", "surrogateescape")
    if len(text) + len(payload) > LIMIT_BYTES:
        raise BadFrame(f"a frame of {len(text) + len(payload)} bytes")
    return _LENGTHS.pack(len(text), len(payload)) + text + payload


class Decoder:
    """Puts frames together from whatever pieces arrive; keeps less than one frame."""

    def __init__(self) -> None:
        """Begin at the start of a frame."""
        self._data = bytearray()

    def feed(self, data: bytes) -> list[tuple[dict[str, object], bytes]]:
        """Take what has arrived; return the frames that are whole now. Raises BadFrame."""
        self._data += data
        found = []
        while len(self._data) >= _LENGTHS.size:
            header_bytes, payload_bytes = _LENGTHS.unpack_from(self._data)
            end = _LENGTHS.size + header_bytes + payload_bytes
            if end - _LENGTHS.size > LIMIT_BYTES:
                raise BadFrame(f"a frame of {end - _LENGTHS.size} bytes")
            if len(self._data) < end:
                break
            text = bytes(self._data[_LENGTHS.size : _LENGTHS.size + header_bytes])
            found.append((_parse(text), bytes(self._data[_LENGTHS.size + header_bytes : end])))
            del self._data[:end]
        return found


def _parse(text: bytes) -> dict[str, object]:
    try:
        header = json.loads(text.decode("utf-8", "surrogateescape"))
    except (ValueError, RecursionError) as error:
        raise BadFrame(f"its header is not JSON: {error}") from None
    if not isinstance(header, dict):
        raise BadFrame("its header is not an object")
    return header
