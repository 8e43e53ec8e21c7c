"""What a container's main process has written: kept as its log, and passed on to who is attached."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

MOST_BYTES = 10 << 20  # as kubelet rotates by default


@dataclass
class Line:
    """A line or the part of one that is there yet, with when it began."""

    at: datetime
    data: bytes
    is_whole: bool


class ContainerLog:
    """The lines of one container; the oldest are dropped at ten megabytes."""

    def __init__(self) -> None:
        self._lines: deque[Line] = deque()
        self._dropped = 0
        self._bytes = 0
        self._partial: dict[int, bytes] = {}
        self._changed = asyncio.Event()
        self.is_closed = False
        self.listeners: set[Callable[[int, bytes], None]] = set()
        """Told of everything at once, with 1 for stdout or 2 for stderr."""

    def append(self, stream: int, data: bytes) -> None:
        for listener in [*self.listeners]:
            listener(stream, data)
        *whole, rest = (self._partial.pop(stream, b"") + data).split(b"\n")
        for line in whole:
            self._add(line + b"\n")
        if len(rest) > 1 << 14:  # the runtime splits lines there
            self._add(rest)
        elif rest:
            self._partial[stream] = rest
        self._wake()

    def _add(self, data: bytes) -> None:
        self._lines.append(Line(datetime.now(UTC), data, is_whole=True))
        self._bytes += len(data)
        while self._bytes > MOST_BYTES:
            self._bytes -= len(self._lines.popleft().data)
            self._dropped += 1

    def close(self) -> None:
        for rest in self._partial.values():
            self._add(rest)
        self._partial.clear()
        self.is_closed = True
        self._wake()

    async def until_closed(self) -> None:
        while not self.is_closed:
            await self._changed.wait()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def read(
        self, *, follow: bool, tail: int | None, since: datetime | None, timestamps: bool
    ) -> AsyncIterator[bytes]:
        """Yield the lines, then with `follow` those to come until the container ends."""
        position = self._dropped + max(0, len(self._lines) - tail) if tail is not None else 0
        while True:
            changed = self._changed
            position = max(position, self._dropped)
            while position < self._dropped + len(self._lines):
                line = self._lines[position - self._dropped]
                position += 1
                if since is None or line.at >= since:
                    yield line.at.strftime("%Y-%m-%dT%H:%M:%S.%fZ ").encode() * timestamps + line.data
                position = max(position, self._dropped)
            if not follow:
                for rest in self._partial.values():
                    yield rest
                return
            if self.is_closed:
                return
            await changed.wait()
