"""A program that keeps on disk what its terminal is told, and prints what a file says when it is told to.

`python tests/support/recorder.py DIRECTORY`: raw terminal; prints `DIRECTORY/history` at first, and `DIRECTORY/live` at
each SIGUSR1. What it reads goes to `DIRECTORY/heard`.
"""

from __future__ import annotations

import os
import signal
import sys
import termios
import tty
from pathlib import Path

HISTORY, LIVE, HEARD = "history", "live", "heard"
READY = b"\r\nready\r\n"


def say(data: bytes) -> None:
    """Print all of it."""
    while data:
        data = data[os.write(1, data) :]


def main(directory: str) -> None:
    """Run until the terminal is gone."""
    tty.setraw(0, termios.TCSADRAIN)
    place = Path(directory)
    heard = os.open(place / HEARD, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    signal.signal(signal.SIGUSR1, lambda *_: say((place / LIVE).read_bytes()))
    say((place / HISTORY).read_bytes() + READY)
    while data := os.read(0, 65536):
        os.write(heard, data)


if __name__ == "__main__":
    main(*sys.argv[1:])
