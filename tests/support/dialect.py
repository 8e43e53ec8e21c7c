"""How the same things are said to different backends, for tests of what all of them promise."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from backends.base import Backend

POSIX = {
    "exits": "sh -c|exit {}",
    "echoes": "sh -c|stty raw -echo; echo ready; exec cat",
    "floods": "sh -c|head -c {} /dev/zero",
    "prints": 'sh -c|echo "${}"',
}
"""How it is said where there is a POSIX shell."""


class Dialect:
    """How it is said to one of them; `words` splits what is said."""

    def __init__(
        self, make: Callable[[Path], Backend], *, exits: str, echoes: str | None, floods: str, prints: str
    ) -> None:
        self.make = make
        self.exits = exits
        self.echoes = echoes
        self.floods = floods
        self.prints = prints


def words(text: str, *arguments: object) -> list[str]:
    """Split a dialect's command: blanks separate words up to a bar, what is behind it is one word."""
    first, _, last = text.partition("|")
    return [*first.format(*arguments).split(), *([last.replace("{}", str(*arguments))] if last else [])]
