"""One end of a Unix socket that carries frames and descriptors."""

from __future__ import annotations

import os
import socket
import struct
from typing import TYPE_CHECKING, Any

from backends.holder.frames import Decoder, encode

if TYPE_CHECKING:
    from collections.abc import Sequence

_READ_BYTES = 256 * 1024
_ANCILLARY_BYTES = socket.CMSG_SPACE(4 * 64)


class Connection:
    """Somebody who speaks to the holder."""

    def __init__(self, channel: socket.socket) -> None:
        self.channel = channel
        self._decoder = Decoder()
        self._received: list[int] = []

    def receive(self) -> list[tuple[dict[str, Any], bytes]]:
        """Read once what is there; return whole frames. Raises EOFError, BadFrame, OSError."""
        data, ancillary, _, _ = self.channel.recvmsg(_READ_BYTES, _ANCILLARY_BYTES)
        for level, kind, content in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                self._received += [number for (number,) in struct.iter_unpack("i", content[: len(content) & ~3])]
        if not data:
            raise EOFError
        return self._decoder.feed(data)

    def take_descriptors(self, count: int) -> list[int]:
        """Return the next descriptors that came; they are the caller's now."""
        taken, self._received = self._received[:count], self._received[count:]
        return taken

    def send(self, header: dict[str, Any], payload: bytes = b"", descriptors: Sequence[int] = ()) -> None:
        """Send a frame. Raises OSError, also (a timeout) if the other side does not read."""
        if descriptors:
            header["descriptors"] = len(descriptors)
        frame = encode(header, payload)
        sent = self.channel.sendmsg([frame], rights(descriptors))
        if sent < len(frame):  # or the end of a peer that has its answer already would be an error
            self.channel.sendall(memoryview(frame)[sent:])

    def close(self) -> None:
        """Release all, descriptors nobody took too."""
        for descriptor in self._received:
            os.close(descriptor)
        self.channel.close()


def rights(descriptors: Sequence[int]) -> list[tuple[int, int, bytes]]:
    """Return the ancillary data that makes descriptors travel (unix(7), SCM_RIGHTS)."""
    packed = struct.pack(f"{len(descriptors)}i", *descriptors)
    return [(socket.SOL_SOCKET, socket.SCM_RIGHTS, packed)] if descriptors else []


def peer_user(channel: socket.socket) -> int:
    """Return the user id at the other end of a Unix socket (SO_PEERCRED; getpeereid(3) elsewhere)."""
    if hasattr(socket, "SO_PEERCRED"):
        _, user, _ = struct.unpack("3i", channel.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    else:
        # struct xucred of macOS and FreeBSD: u32 version, u32 user; LOCAL_PEERCRED is 1, of level 0
        _, user = struct.unpack_from("2I", channel.getsockopt(0, 1, 76))
    return int(user)
