"""Letters that are too large for one message, cut into parts and put together again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nodes.letter import Letter, What

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

PART_BYTES = 128 * 1024


def split(letter: Letter) -> Sequence[Letter]:
    """Return what is sent for a letter: parts, and the letter itself with the end of its body."""
    body = letter.body
    if len(body) <= PART_BYTES:
        return (letter,)
    last = (len(body) - 1) // PART_BYTES * PART_BYTES
    parts = [Letter(What.PART, "", 0, body[at : at + PART_BYTES]) for at in range(0, last, PART_BYTES)]
    return (*parts, Letter(letter.what, letter.kind, letter.call, body[last:]))


class Joiner:
    """Puts the letters of one sender together again; holds at most one body, which its sender has bounded."""

    def __init__(self) -> None:
        """Begin between two letters."""
        self._parts: list[bytes] = []

    def join(self, letters: Iterable[Letter]) -> Sequence[Letter]:
        """Return the letters that are whole now."""
        whole = []
        for letter in letters:
            if letter.what is What.PART:
                self._parts.append(letter.body)
            elif self._parts:
                body = b"".join((*self._parts, letter.body))
                self._parts.clear()
                whole.append(Letter(letter.what, letter.kind, letter.call, body))
            else:
                whole.append(letter)
        return whole
