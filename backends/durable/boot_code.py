"""What is executed on another machine to have a holder there: `holder/boot.py` as words of a command line."""

from __future__ import annotations

import base64
import hashlib
import zlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from backends.holder import boot
from backends.holder.pack import pack

OLDEST = (3, 8)
"""Python there is at least this."""


@dataclass(frozen=True)
class Packed:
    """The holder as one file."""

    data: bytes
    digest: str
    """SHA-256 in hex, by which it is known there."""


@cache
def packed_holder() -> Packed:
    """Return the file; packed once (50 ms, and it reads files)."""
    data = pack()
    return Packed(data, hashlib.sha256(data).hexdigest())


def boot_command(python: str, owner: str, *, starts: bool, directory: str = "") -> list[str]:
    """Return the command; see `holder/boot.py`. Reads files.

    Its words have no character that any shell (csh too) treats in a way of its own within single quotes.
    """
    packed = packed_holder()
    words = [owner, packed.digest, str(len(packed.data)), str(int(starts)), *([directory] if directory else [])]
    return [python, "-I", "-c", _code(), *words]


@cache
def _code() -> str:
    """Return the boot file as one line that any Python understands, if only to say that it is too old."""
    source = base64.b64encode(zlib.compress(Path(boot.__file__).read_bytes(), 9)).decode("ascii")
    code = f'compile(zlib.decompress(base64.b64decode("{source}")), "boot", "exec")'
    run = f'eval({code}, dict(__name__="__main__"))'  # `eval`: Python 2 has no function `exec`
    old = f'sys.stdout.write("\\0{boot.MARK}{{\\"old\\": \\"%d.%d\\"}}\\n" % sys.version_info[:2])'
    return f"import base64, sys, zlib; {run} if sys.version_info >= {OLDEST!r} else {old}"
