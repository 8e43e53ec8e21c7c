"""A connection that never waits: what the socket does not take at once goes later."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from backends.holder.connection import Connection, rights
from backends.holder.frames import encode

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence

HIGH_WATER_BYTES = 64 * 1024
"""While more than this is unsent nothing is asked of programs for it, and no request is read."""


class StreamConnection(Connection):
    """Unsent are at most the high-water mark and the answers to what one read has brought."""

    def __init__(self, channel: socket.socket) -> None:
        """Take over a connected socket."""
        channel.setblocking(False)  # noqa: FBT003 - positional only
        super().__init__(channel)
        self.name = ""
        """What its owner calls itself."""
        self._unsent = bytearray()

    @property
    def wants_room(self) -> bool:
        """Whether the socket should be watched for room."""
        return bool(self._unsent)

    @property
    def has_room(self) -> bool:
        """Whether it may be given more."""
        return len(self._unsent) < HIGH_WATER_BYTES

    def receive(self) -> list[tuple[dict[str, Any], bytes]]:
        """Read once what is there; return whole frames. Raises EOFError, BadFrame, OSError."""
        try:
            return super().receive()
        except BlockingIOError:
            return []

    def send(self, header: dict[str, Any], payload: bytes = b"", descriptors: Sequence[int] = ()) -> None:
        """Send a frame at the next `flush`; with descriptors at once, which raises OSError."""
        if not descriptors:
            self._unsent += encode(header, payload)
            return
        self._send_with(descriptors, dict(header, descriptors=len(descriptors)), payload)

    def flush(self) -> None:
        """Send what the socket takes. Raises OSError."""
        try:
            while self._unsent:
                sent = self.channel.send(self._unsent)
                del self._unsent[:sent]
        except BlockingIOError:
            pass

    def _send_with(self, descriptors: Sequence[int], header: dict[str, Any], payload: bytes) -> None:
        """Send a frame with descriptors, which is for an owner on this machine. Raises OSError if there is no room."""
        self.flush()
        if self._unsent:
            raise BlockingIOError("an owner on this machine does not read")
        frame = encode(header, payload)
        sent = self.channel.sendmsg([frame], rights(descriptors))
        self._unsent += frame[sent:]
