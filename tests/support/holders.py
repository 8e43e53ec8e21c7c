"""Holders that tests leave behind on purpose: their end."""

from __future__ import annotations

import contextlib
import os
import socket
from typing import TYPE_CHECKING

from backends.holder import SOCKET
from backends.holder.frames import encode

if TYPE_CHECKING:
    from pathlib import Path

STOP_SECONDS = 30.0


def stop_holder(directory: Path) -> None:
    """Tell the holder of a directory to end, if there is one, and wait for that: terminals it has hang up."""
    try:
        here = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as channel:
            channel.settimeout(STOP_SECONDS)
            with contextlib.suppress(FileNotFoundError, ConnectionRefusedError, ConnectionResetError, BrokenPipeError):
                channel.connect(f"/proc/self/fd/{here}/{SOCKET}")
                channel.sendall(encode({"op": "stop", "id": 1}))
                while channel.recv(65536):
                    pass
    finally:
        os.close(here)
