"""How much of what was written to a socket its other end has not read."""

from __future__ import annotations

import struct
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket

if sys.platform == "win32":

    def count_unread(_: socket.socket) -> int:
        """Return 0: Windows does not say."""
        return 0

else:
    import fcntl
    import termios

    def count_unread(near: socket.socket) -> int:
        """Return what a Unix socket's other end has not read, in bytes of the kernel's memory (SIOCOUTQ of unix(7)).

        Over TCP it is what the other machine has not acknowledged; 0 where a system cannot say.
        """
        try:
            found = fcntl.ioctl(near.fileno(), termios.TIOCOUTQ, bytes(4))
        except OSError:
            return 0
        (count,) = struct.unpack("i", found)
        return int(count)
