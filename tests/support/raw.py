"""A WebSocket client of single bytes, for what a well-behaved client never sends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import struct
from typing import Self

HANDSHAKE = {
    "Host": "127.0.0.1",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}
ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # RFC 6455, section 1.3: the answer to that key

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0, masked: bool = True) -> bytes:
    """Build a frame as a client sends it; `rsv` are the three reserved bits as a number."""
    size = len(payload)
    first = fin << 7 | rsv << 4 | opcode
    if size < 126:
        head = struct.pack("!BB", first, masked << 7 | size)
    elif size < 1 << 16:
        head = struct.pack("!BBH", first, masked << 7 | 126, size)
    else:
        head = struct.pack("!BBQ", first, masked << 7 | 127, size)
    if not masked:
        return head + payload
    mask = os.urandom(4)
    key = (mask * (size // 4 + 1))[:size]
    return head + mask + (int.from_bytes(payload) ^ int.from_bytes(key)).to_bytes(size)


class Raw:
    """One connection; every wait ends after 30 s."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, port: int, *, limit: int = 1 << 16) -> Self:
        """Connect; nothing is sent."""
        return cls(*await asyncio.open_connection("127.0.0.1", port, limit=limit))

    @classmethod
    async def upgraded(cls, port: int) -> Self:
        """Connect and complete the handshake."""
        raw = await cls.open(port)
        raw.request()
        head = await raw.head()
        assert head.startswith(b"HTTP/1.1 101 "), head
        return raw

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.transport.abort()
        await asyncio.sleep(0)

    def request(self, path: str = "/", method: str = "GET", **changes: str | None) -> None:
        """Send a handshake; `changes` replace headers (underscores for dashes), None leaves one out."""
        headers = HANDSHAKE | {name.replace("_", "-"): value for name, value in changes.items()}
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items() if value)]
        self.writer.write("\r\n".join([*lines, "", ""]).encode("latin-1"))

    async def head(self) -> bytes:
        """Return the response's head."""
        async with asyncio.timeout(30):
            return await self.reader.readuntil(b"\r\n\r\n")

    def send(self, *frames: bytes) -> None:
        """Send bytes in one piece."""
        self.writer.write(b"".join(frames))

    async def receive(self) -> tuple[int, bytes]:
        """Return the next frame's opcode and payload; the server's are never masked nor in parts."""
        async with asyncio.timeout(30):
            first, size = await self.reader.readexactly(2)
            if size == 126:
                (size,) = struct.unpack("!H", await self.reader.readexactly(2))
            elif size == 127:
                (size,) = struct.unpack("!Q", await self.reader.readexactly(8))
            assert first & 0xF0 == 0x80, "final, no reserved bits"
            return first & 0x0F, await self.reader.readexactly(size)

    async def rest(self) -> bytes:
        """Return everything up to the end of the connection, however it ends, and end this side as well."""
        found = bytearray()
        async with asyncio.timeout(30):
            with contextlib.suppress(ConnectionError):
                while data := await self.reader.read(1 << 16):
                    found += data
        self.writer.close()
        return bytes(found)

    async def close_code(self) -> int:
        """Skip frames up to the close frame and return its code (1005: none)."""
        while True:
            opcode, payload = await self.receive()
            if opcode == CLOSE:
                return int.from_bytes(payload[:2], "big") if payload else 1005
