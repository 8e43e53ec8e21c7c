"""The last bytes of a stream, in memory of a fixed size."""

from __future__ import annotations

import contextlib
import mmap

_KEPT_BYTES = 256 * 1024
"""An empty ring that has used more memory than this gives it back."""


class Ring:
    """Holds the bytes from `first` up to `head` (positions of the stream), never more than `size`.

    Memory is used as it is first written to: an interactive program's ring is a page or two, because an empty ring
    begins again at its start.
    """

    def __init__(self, size: int) -> None:
        """Begin empty at position 0. Raises OSError: no memory."""
        self.size = size
        self.first = 0
        self.head = 0
        self._base = 0
        """The position that is kept at the memory's start; any, while the ring is empty."""
        self._memory = _allocate(size)

    @property
    def free(self) -> int:
        """How many bytes it can take."""
        return self.size - (self.head - self.first)

    def space(self) -> memoryview:
        """Return free memory behind the head, in one piece and so perhaps not all there is; empty if full."""
        start = (self.head - self._base) % self.size
        return self._memory[start : min(self.size, start + self.free)]

    def add(self, count: int) -> None:
        """Take the first `count` bytes of what `space` returned."""
        self.head += count

    def read(self, position: int, limit: int) -> bytes:
        """Return up to `limit` bytes from `position` on, perhaps fewer than there are; b"" at the head."""
        if not self.first <= position <= self.head:
            raise ValueError(f"position {position} is not in {self.first}..{self.head}")
        start = (position - self._base) % self.size
        return bytes(self._memory[start : min(self.size, start + limit, start + self.head - position)])

    def forget(self, position: int) -> None:
        """Make room: nobody needs what is before `position`, which is at most the head."""
        if position > self.head:
            raise ValueError(f"position {position} is behind the head {self.head}")
        self.first = max(self.first, position)
        if self.first < self.head:
            return
        if self.head - self._base > _KEPT_BYTES:
            with contextlib.suppress(OSError):  # then it keeps what it has
                self._memory = _allocate(self.size)
        self._base = self.head


def _allocate(size: int) -> memoryview:
    return memoryview(mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE))
