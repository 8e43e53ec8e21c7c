"""A program that prints numbered lines, repeats each line it is told, and keeps on disk what it wrote and read.

`python tests/support/parrot.py DIRECTORY [PAUSE_SECONDS [LINES]]` sets its terminal raw: what is written is what
arrives. Every PAUSE_SECONDS it prints LINES lines. Told `quiet` it only repeats, told `end` it ends with exit code 7.
Standard library without site-packages, so that fifty of them start in a second.
"""

from __future__ import annotations

import os
import select
import sys
import termios
import time
import tty

EXIT_CODE = 7
WROTE, READ = "wrote", "read"
PADDING = b"." * 60


class Parrot:
    """One run."""

    def __init__(self, directory: str, pause_seconds: float, lines: int) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        self._wrote, self._read = (os.open(f"{directory}/{name}", flags, 0o600) for name in (WROTE, READ))
        self._pause_seconds = pause_seconds
        self._lines = lines
        self._number = 0
        self._heard = b""
        self._is_quiet = False

    def run(self) -> int:
        """Print and repeat until told to end."""
        self._say(b"READY\r\n")
        due = time.monotonic()
        while True:
            left = None if self._is_quiet else max(0.0, due - time.monotonic())
            if select.select([0], [], [], left)[0] and self._listen():
                return EXIT_CODE
            if not self._is_quiet and time.monotonic() >= due:
                due = time.monotonic() + self._pause_seconds
                self._print_lines()

    def _print_lines(self) -> None:
        numbers = range(self._number, self._number + self._lines)
        self._number += self._lines
        self._say(b"".join(b"line %d %s\r\n" % (number, PADDING) for number in numbers))

    def _listen(self) -> bool:
        """Repeat what was told; return whether that is to end."""
        told = os.read(0, 65536)
        os.write(self._read, told)
        *lines, self._heard = (self._heard + told).split(b"\n")
        for line in lines:
            self._say(b"got %s\r\n" % line)
            self._is_quiet = self._is_quiet or line == b"quiet"
        return b"end" in lines

    def _say(self, data: bytes) -> None:
        while data:
            written = os.write(1, data)
            os.write(self._wrote, data[:written])
            data = data[written:]


def main(directory: str, pause_seconds: str = "0.05", lines: str = "5") -> int:
    """Run once."""
    tty.setraw(0, termios.TCSADRAIN)  # nothing typed before is thrown away
    return Parrot(directory, float(pause_seconds), int(lines)).run()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
