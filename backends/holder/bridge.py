"""A bridge between standard input and output and the holder of a directory: what an owner elsewhere starts.

It copies bytes both ways and knows nothing. When the link is cut it ends, or is killed; the holder and what that
holds live on, and the next bridge goes on where this one was. The first thing on standard output is the greeting:
whatever came before it was said by a login script.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import TYPE_CHECKING

from backends.holder.reach import NoHolder, NotOurs, reach

if TYPE_CHECKING:
    import socket

GREETING = b"\0terminal holder 1\n"

EXIT_CUT, EXIT_NO_HOLDER, EXIT_HOLDER_GONE = 0, 1, 4

_MARKS = ("TERMINAL_PROCESS_TREE", "TERMINAL_SESSION_ID")
"""By these whoever runs the bridge ends what it has left running: the holder, which is to stay, has none of them."""

_PIECE_BYTES = 64 * 1024


def bridge(directory: str) -> int:
    """Copy until either side ends; return the exit code. Never returns if the owner's side ends first."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    own = os.environ.items()  # noqa: TID251
    environment = {name: value for name, value in own if not name.startswith("PYTHON") and name not in _MARKS}
    try:
        channel = reach(directory, "--streams", environment=environment)
    except (NoHolder, NotOurs, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_NO_HOLDER
    channel.settimeout(None)
    threading.Thread(target=_copy_in, args=(channel,), daemon=True).start()
    try:
        _write(GREETING)
        while True:
            data = channel.recv(_PIECE_BYTES)
            if not data:
                return EXIT_HOLDER_GONE
            _write(data)
    except BrokenPipeError:
        return EXIT_CUT
    except ConnectionError:
        return EXIT_HOLDER_GONE


def _copy_in(channel: socket.socket) -> None:
    """Copy from standard input; the end of it is the end of the bridge."""
    try:
        while True:
            data = os.read(0, _PIECE_BYTES)
            if not data:
                break
            channel.sendall(data)
    except OSError:
        os._exit(EXIT_HOLDER_GONE)
    os._exit(EXIT_CUT)


def _write(data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(1, view) :]
