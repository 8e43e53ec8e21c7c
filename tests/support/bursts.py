"""Programs that print something and end at once, and what must come of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

SIGNALS = ["TERM", "KILL", "HUP", "USR1", "ABRT", "INT", "QUIT"]
HOLDER = "(trap '' HUP; exec sleep 600) &"  # a background child that keeps the PTY open


@dataclass(frozen=True)
class Case:
    """A program for `sh -c`, with arguments, and what must come of it."""

    script: str
    output: bytes
    arguments: tuple[str, ...] = ()
    exit_code: int | None = None
    signal: str | None = None


def cases(dice: random.Random) -> Iterator[Case]:
    """Yield programs without end, all kinds in turn."""
    while True:
        code = dice.randrange(256)
        text = "".join(dice.choices("abcdefgh äöü€🦊\t", k=round(2 ** dice.uniform(0, 14))))
        lines = round(2 ** dice.uniform(0, 14))
        burst = "".join(f"{number}\r\n" for number in range(1, lines + 1)).encode()
        name = dice.choice(SIGNALS)
        yield Case('printf %s "$1"; exit $2', text.encode(), (text, str(code)), exit_code=code)
        yield Case("seq 1 $1; exit $2", burst, (str(lines), str(code)), exit_code=code)
        yield Case(f'{HOLDER} printf %s "$1"; exit $2', text.encode(), (text, str(code)), exit_code=code)
        yield Case('printf %s "$1"; kill -$2 $$', text.encode(), (text, name), signal=f"SIG{name}")
        yield Case("exit $1", b"", (str(code),), exit_code=code)
        yield Case("seq 1 $1 & wait; kill -$2 $$", burst, (str(lines), name), signal=f"SIG{name}")
        yield Case('printf "%s\\n" "$1" >/dev/tty; exit $2', text.encode() + b"\r\n", (text, str(code)), exit_code=code)
        yield Case(f"{HOLDER} seq 1 $1; kill -$2 $$", burst, (str(lines), name), signal=f"SIG{name}")
