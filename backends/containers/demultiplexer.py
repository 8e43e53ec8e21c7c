"""Standard output and standard error of an exec without a terminal, parted again.

Each piece has a head of eight bytes: 1 or 2, three zeros, the length in network order (Docker's API, "attach").
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from backends.abilities import Channel

if TYPE_CHECKING:
    from collections.abc import Iterator

_HEAD = 8


class Demultiplexer:
    """Takes bytes as they arrive; keeps nothing but the beginning of a head."""

    def __init__(self) -> None:
        """Begin at a head."""
        self._head = bytearray()
        self._left = 0
        self._channel = Channel.STDOUT

    def feed(self, data: memoryview) -> Iterator[tuple[Channel, bytes]]:
        """Yield what was printed where; a piece may come in several parts."""
        while data:
            if self._left:
                part = bytes(data[: self._left])
                data = data[len(part) :]
                self._left -= len(part)
                yield self._channel, part
                continue
            missing = _HEAD - len(self._head)
            self._head += data[:missing]
            data = data[missing:]
            if len(self._head) == _HEAD:
                self._channel = Channel.STDERR if self._head[0] == Channel.STDERR else Channel.STDOUT
                self._left = int.from_bytes(self._head[4:], "big")
                self._head.clear()
