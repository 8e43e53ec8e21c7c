"""The line with which `scripts.LAUNCH` says how a start went, ahead of everything the program prints."""

from __future__ import annotations

from dataclasses import dataclass

_MOST_BYTES = 16 * 1024


@dataclass(frozen=True)
class Preamble:
    """What was said."""

    letter: str
    text: str


class PreambleReader:
    """Finds the line; what is behind it belongs to the program."""

    def __init__(self, token: str) -> None:
        """Look for a line that begins with this token."""
        self._token = token.encode()
        self._seen = bytearray()

    @property
    def noise(self) -> str:
        """What came in place of the line."""
        return self._seen.decode("utf-8", "replace")

    def feed(self, data: bytes | memoryview) -> tuple[Preamble, bytes] | None:
        """Take what has arrived; return the line and what was behind it once it is there. Raises ValueError: noise."""
        self._seen += data
        line, end, rest = self._seen.partition(b"\n")
        if not end:
            if len(self._seen) > _MOST_BYTES:
                raise ValueError(self.noise)
            return None
        words = bytes(line).rstrip(b"\r").split(b" ", 2)
        if len(words) != 3 or words[0] != self._token:  # noqa: PLR2004 - token, letter, text
            raise ValueError(self.noise)
        return Preamble(words[1].decode(), words[2].decode("utf-8", "replace")), bytes(rest)
