"""A program that prints an endless stream which its seed decides, and the same stream as a function.

`python tests/support/stream.py SEED [RATE]` prints text, multi-byte UTF-8, colours, cursor moves and titles, at
about RATE bytes a second (default: as fast as it can), in writes that cut characters and escapes anywhere, until
it reads `q`. Then it prints `trailer()` and ends with exit code 7. The terminal is set raw: what is printed is
what arrives.
"""

from __future__ import annotations

import hashlib
import os
import random
import select
import sys
import termios
import tty
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

EXIT_CODE = 7
BLOCK_PIECES = 40
PIECES = (
    b"The quick brown fox ",
    b"0123456789",
    "äöüß€—".encode(),
    "終端機 ".encode(),
    "🦊🐚😀".encode(),
    b"\x1b[1;38;5;208m",
    b"\x1b[0m",
    b"\x1b[2J\x1b[H",
    b"\x1b[10;20H",
    b"\x1b]0;a title\x07",
    b"\x1b]8;;https://example.org\x1b\\link\x1b]8;;\x1b\\",
    b"\r\n",
    b"\t",
)


def blocks(seed: int) -> Iterator[bytes]:
    """Yield the stream, block by block, without end."""
    dice = random.Random(seed)
    while True:
        yield b"".join(dice.choices(PIECES, k=BLOCK_PIECES)) + b"%08x" % dice.getrandbits(32)


def stream(seed: int, size: int) -> bytes:
    """Return the first `size` bytes of the stream."""
    kept = bytearray()
    for block in blocks(seed):
        kept += block
        if len(kept) >= size:
            return bytes(kept[:size])
    raise AssertionError("the stream has no end")


def trailer(printed: bytes) -> bytes:
    """Return what the program prints at its end: how much it printed, and the sum of it."""
    return b"\r\nEND %d %s\r\n" % (len(printed), hashlib.sha256(printed).hexdigest().encode())


def verify(data: bytes, seed: int) -> None:
    """Fail unless `data` is all that the program printed, from its first byte to its trailer."""
    from support.same import assert_same  # noqa: PLC0415 - run as a program, this file finds the standard library only

    body, found, _ = data.rpartition(b"\r\nEND ")
    assert found, f"no trailer at the end of {len(data)} bytes: {data[-100:]!r}"
    assert_same(data[len(body) :], trailer(body), "the program's own sum")
    assert_same(body, stream(seed, len(body)), "the stream")


def _write(data: bytes) -> None:
    while data:
        data = data[os.write(1, data) :]


def main(seed: int, rate: float) -> int:
    """Print until told to end."""
    if os.isatty(0):
        tty.setraw(0, termios.TCSADRAIN)
    dice = random.Random(~seed)
    printed, size = hashlib.sha256(), 0
    rest = b""
    for block in blocks(seed):
        rest += block
        cut = dice.randint(0, len(rest))
        now, rest = rest[:cut], rest[cut:]
        _write(now)
        printed.update(now)
        size += len(now)
        readable, _, _ = select.select([0], [], [], len(now) / rate if rate else 0)
        if readable and os.read(0, 4096).find(b"q") >= 0:
            break
    _write(b"\r\nEND %d %s\r\n" % (size, printed.hexdigest().encode()))
    return EXIT_CODE


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 0.0))
