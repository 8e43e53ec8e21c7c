"""Holders that tests leave behind on purpose: what they have, and their end."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from typing import TYPE_CHECKING, Any

from backends.holder import SOCKET
from backends.holder.frames import Decoder, encode
from support.terminals import is_alive
from support.wait import poll_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

STOP_SECONDS = 30.0


def ask(directory: Path, operation: str) -> dict[str, Any] | None:
    """Ask the holder of a directory something; None if there is none."""
    with _reached(directory) as channel:
        if channel is None:
            return None
        channel.sendall(encode({"op": operation, "id": 1}))
        decoder = Decoder()
        while data := channel.recv(65536):
            for header, _ in decoder.feed(data):
                if header.get("id") == 1:
                    return header
    return None


def holder_pid(directory: Path) -> int | None:
    """Return the process id of the holder of a directory; None if there is none."""
    answer = ask(directory, "hello")
    return None if answer is None else int(answer["pid"])


def held_pids(directory: Path) -> list[int]:
    """Return the process ids of the programs that the holder of a directory keeps."""
    answer = ask(directory, "list")
    return [] if answer is None else [program["pid"] for program in answer["programs"]]


def stop_holder(directory: Path) -> None:
    """Tell the holder of a directory to end, if there is one, and wait for that: terminals it has hang up."""
    pid = holder_pid(directory)
    if pid is not None:  # by a signal: only its owner may ask it, which a link that is just being cut may still be
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        # It closes its files one by one, and the disk they are on may be needed.
        poll_until(lambda: not is_alive(pid), description="the end of the holder")


@contextlib.contextmanager
def _reached(directory: Path) -> Iterator[socket.socket | None]:
    """Give a connection to the holder of a directory, or None if there is none."""
    try:
        here = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        yield None
        return
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as channel:
            channel.settimeout(STOP_SECONDS)
            try:
                channel.connect(f"/proc/self/fd/{here}/{SOCKET}")
            except (FileNotFoundError, ConnectionRefusedError):
                yield None
            else:
                yield channel
    finally:
        os.close(here)
