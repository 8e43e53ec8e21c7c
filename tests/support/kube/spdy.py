"""Just enough of SPDY/3.1 to serve the streams of `kubectl port-forward`: frames, bytes in and out."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field

# The dictionary of the SPDY/3 specification, 2.6.10.1: words with their lengths, then plain text.
_WORDS = (
    "options head post put delete trace accept accept-charset accept-encoding accept-language accept-ranges age allow "
    "authorization cache-control connection content-base content-encoding content-language content-length "
    "content-location content-md5 content-range content-type date etag expect expires from host if-match "
    "if-modified-since if-none-match if-range if-unmodified-since last-modified location max-forwards pragma "
    "proxy-authenticate proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade "
    "user-agent vary via warning www-authenticate method get status 200_OK version HTTP/1.1 url public set-cookie "
    "keep-alive origin"
)
_TEXT = (
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505"
    "203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized"
    "403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable"
    "Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT"
    "chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,"
    "text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0."
)
DICTIONARY = (
    b"".join(struct.pack(">I", len(word)) + word.replace("_", " ").encode() for word in _WORDS.split()) + _TEXT.encode()
)

CONTROL = 0x80030000  # a control frame of version 3
SYN_STREAM, SYN_REPLY, RST_STREAM, PING, GOAWAY = 1, 2, 3, 6, 7
FIN = 1
HEADER = struct.Struct(">II")


@dataclass(frozen=True)
class Opened:
    """The client has opened a stream."""

    stream: int
    headers: dict[str, str]
    is_last: bool


@dataclass(frozen=True)
class Data:
    """The client has sent something on a stream; with `is_last` no more will come."""

    stream: int
    data: bytes
    is_last: bool


@dataclass(frozen=True)
class Reset:
    """The client has given a stream up."""

    stream: int


Event = Opened | Data | Reset


@dataclass
class Connection:
    """The server's side of a connection."""

    _buffer: bytearray = field(default_factory=bytearray)

    def __post_init__(self) -> None:
        self._inflate = zlib.decompressobj(zdict=DICTIONARY)
        self._deflate = zlib.compressobj(zdict=DICTIONARY)
        self.to_send: list[bytes] = []
        """Answers that are due without anybody's doing."""

    def receive(self, data: bytes) -> list[Event]:
        """Take bytes of the client; return what it has done."""
        self._buffer += data
        events: list[Event] = []
        while len(self._buffer) >= HEADER.size:
            first, second = HEADER.unpack_from(self._buffer)
            end = HEADER.size + (second & 0xFFFFFF)
            if len(self._buffer) < end:
                break
            body = bytes(self._buffer[HEADER.size : end])
            del self._buffer[:end]
            flags = second >> 24
            if not first & 0x80000000:
                events.append(Data(first, body, bool(flags & FIN)))
            elif event := self._control(first & 0xFFFF, flags, body):
                events.append(event)
        return events

    def _control(self, kind: int, flags: int, body: bytes) -> Event | None:
        if kind == SYN_STREAM:
            (stream,) = struct.unpack_from(">I", body)
            headers = _read_headers(self._inflate.decompress(body[10:]))
            return Opened(stream, headers, bool(flags & FIN))
        if kind == RST_STREAM:
            return Reset(struct.unpack_from(">I", body)[0])
        if kind == PING:
            self.to_send.append(_frame(CONTROL | PING, 0, body))
        return None

    def reply(self, stream: int) -> bytes:
        """Accept a stream."""
        packed = self._deflate.compress(struct.pack(">I", 0)) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
        return _frame(CONTROL | SYN_REPLY, 0, struct.pack(">I", stream) + packed)


def data(stream: int, payload: bytes, *, is_last: bool = False) -> bytes:
    return _frame(stream, FIN * is_last, payload)


def _frame(first: int, flags: int, body: bytes) -> bytes:
    return HEADER.pack(first, flags << 24 | len(body)) + body


def _read_headers(block: bytes) -> dict[str, str]:
    (count,) = struct.unpack_from(">I", block)
    at = 4
    found = []
    for _ in range(2 * count):
        (size,) = struct.unpack_from(">I", block, at)
        found.append(block[at + 4 : at + 4 + size].decode())
        at += 4 + size
    return dict(zip(found[::2], found[1::2], strict=True))
