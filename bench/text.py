"""Only this module knows what the programs under measurement print, and what a terminal makes of it."""

from __future__ import annotations

import hashlib
import itertools
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

BLOCK_BYTES = 256 * 1024

# The program in every terminal: no echo, then whatever is typed is run, line by line. It never ends by itself
# because several servers lose the last output of a program that exits (ttyd issue 1429).
READY = b"bench-ready"
PROGRAM = ("sh", "-c", 'stty -echo; printf bench-%s ready; while IFS= read -r line; do eval "$line"; done')


@dataclass(frozen=True)
class Text:
    """A file of terminal output and what a terminal delivers when it is printed (each LF becomes CR LF)."""

    path: Path
    terminal_bytes: int
    sha256: str

    @property
    def command(self) -> bytes:
        """The line that prints it."""
        return b"cat " + bytes(self.path) + b"\n"


def write_text(path: Path, terminal_bytes: int) -> Text:
    """Write about `terminal_bytes` of mixed log, listing and build output, some of it coloured and not ASCII.

    The content depends on the size alone. Each block starts with its number, so that a block lost here and
    doubled there changes the digest.
    """
    block = _block(random.Random(68))
    digest = hashlib.sha256()
    total = 0
    with path.open("wb") as file:
        for number in itertools.count():
            left = terminal_bytes - total
            if left <= 0:
                break
            part = b"-- block %d --\n" % number + block
            part = part[: max(part.find(b"\n", left), 0) + 1] if left < len(part) else part
            shown = part.replace(b"\n", b"\r\n")
            file.write(part)
            digest.update(shown)
            total += len(shown)
    return Text(path=path, terminal_bytes=total, sha256=digest.hexdigest())


def _block(rng: random.Random) -> bytes:
    lines: list[str] = []
    size = 0
    while size < BLOCK_BYTES:
        line = rng.choices((_log, _listing, _build, _test), weights=(5, 2, 2, 2))[0](rng)
        lines.append(line)
        size += len(line)
    return "".join(lines).encode()


def _log(rng: random.Random) -> str:
    level = rng.choice(("\x1b[32mINFO\x1b[0m", "\x1b[32mINFO\x1b[0m", "\x1b[33mWARN\x1b[0m", "\x1b[31mERROR\x1b[0m"))
    day = f"2026-03-{rng.randrange(1, 29):02}"
    clock = f"{rng.randrange(24):02}:{rng.randrange(60):02}:{rng.random() * 60:06.3f}"
    item, took = rng.randrange(10**6), rng.random() * 90
    who = f"worker[{rng.randrange(4096)}]"
    return f"{day}T{clock}Z {level} {who} GET /api/v1/items/{item} 200 in {took:.2f} ms\n"


def _listing(rng: random.Random) -> str:
    name = rng.choice(("main", "README", "größe", "notes", "日本語", "module", "café"))
    size, day, minute = rng.randrange(10**7), rng.randrange(1, 29), rng.randrange(60)
    return f"-rw-r--r-- 1 user user {size:8} Mar {day:2} 12:{minute:02} {name}-{rng.randrange(999)}.txt\n"


def _build(rng: random.Random) -> str:
    unit = rng.randrange(900)
    return f"[{unit:3}/900] cc -O2 -g -Wall -Iinclude -c src/unit_{unit}.c -o build/unit_{unit}.o\n"


def _test(rng: random.Random) -> str:
    took = rng.randrange(1, 400)
    return f"  \x1b[32m✓\x1b[0m keeps rule {rng.randrange(10**4)} \x1b[90m({took} ms)\x1b[0m\n"
