"""A program that weighs what it is sent: `python tests/support/scale.py BYTES` reads so many and prints their SHA-256.

Raw terminal, so that what is typed is what arrives. Prints `ready` first, `more` if anything follows.
"""

from __future__ import annotations

import hashlib
import os
import select
import sys
import termios
import tty

QUIET_SECONDS = 0.5


def main(count: str) -> None:
    """Run once."""
    tty.setraw(0, termios.TCSADRAIN)
    os.write(1, b"ready\r\n")
    left, digest = int(count), hashlib.sha256()
    while left:
        data = os.read(0, min(left, 65536))
        digest.update(data)
        left -= len(data)
    os.write(1, f"sha256 {digest.hexdigest()}\r\n".encode())
    if select.select([0], [], [], QUIET_SECONDS)[0]:
        os.write(1, b"more\r\n")
    os.write(1, b"done\r\n")
    while os.read(0, 65536):
        pass


if __name__ == "__main__":
    main(*sys.argv[1:])
