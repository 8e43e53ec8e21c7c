"""Unix sockets between two processes of one user: who is at the other end, and descriptors that travel.

Windows has none of this; nothing here is called there.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def is_same_user(channel: socket.socket) -> bool:
    """Tell whether the process at the other end acts as the same user as this one. Raises OSError."""
    if sys.platform == "win32":
        return False
    if hasattr(socket, "SO_PEERCRED"):
        _, user, _ = struct.unpack("=iII", channel.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    else:  # struct xucred of LOCAL_PEERCRED: version, user, ...
        _, user = struct.unpack_from("=II", channel.getsockopt(0, 1, 76))
    return bool(user == os.geteuid())


def send_with(channel: socket.socket, data: bytes, sockets: Sequence[socket.socket]) -> None:
    """Send some bytes, all at once, and sockets with them. Raises OSError."""
    if sys.platform == "win32":
        raise AssertionError("descriptors do not travel here")
    socket.send_fds(channel, [data], [each.fileno() for each in sockets])


def receive_with(channel: socket.socket, limit_bytes: int, limit: int) -> tuple[bytes, list[socket.socket]]:
    """Receive some bytes, and the sockets that came with them, which are the caller's. Raises OSError."""
    if sys.platform == "win32":
        raise AssertionError("descriptors do not travel here")
    data, descriptors, _, _ = socket.recv_fds(channel, limit_bytes, limit)
    return data, [socket.socket(fileno=descriptor) for descriptor in descriptors]
