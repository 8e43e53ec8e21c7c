"""Logs in this process's memory: gone with it."""

from __future__ import annotations

import contextlib
import mmap
import secrets
from typing import TYPE_CHECKING

from replay.errors import LogMissing
from replay.log import MINIMUM_RETENTION_BYTES, SLACK_BYTES, Log

if TYPE_CHECKING:
    from collections.abc import Iterable

    from replay.event import Event


CELLS_BYTES = 496 * 8


def make_epoch() -> str:
    """Return a new name for one history of bytes: 16 hexadecimal digits."""
    return secrets.token_hex(8)


class MemoryRegion:
    """Anonymous memory; pages that were never written cost nothing."""

    def __init__(self, size: int) -> None:
        """Reserve `size` bytes of address space."""
        self._map = mmap.mmap(-1, CELLS_BYTES + size)
        whole = memoryview(self._map)
        self.cells = whole[:CELLS_BYTES].cast("Q")
        self.view = whole[CELLS_BYTES:]
        self._closed = False

    def ensure(self, end: int) -> None:
        """Nothing to do: the system backs a page when it is first written."""

    def guard(self, begin: int, end: int) -> None:
        """Nothing to do: a killed process takes this memory with it."""

    def publish(self, start: int, head: int) -> None:
        """Nothing to do: there is no later reader."""

    def note_memory_head(self, head: int | None) -> None:
        """Nothing to do: this is where the log is."""

    stored = 0
    writer = 0

    def note_writer(self, number: int) -> None:
        """Keep it as long as the memory lasts."""
        self.writer = number

    def note_stored(self, position: int) -> None:
        """Nothing to do: there is no later keeper."""

    def record(self, event: Event) -> None:
        """Nothing to do: the log itself holds its events."""

    def close(self) -> None:
        """Give the memory back, as soon as no reader holds a piece of it; closing twice is harmless."""
        if self._closed:
            return
        self._closed = True
        self.cells.release()
        self.view.release()
        with contextlib.suppress(BufferError):  # a reader still holds a slice: the memory goes with it
            self._map.close()
        del self._map


class MemoryStore:
    """Keeps logs as long as the process lives."""

    def __init__(self) -> None:
        """Begin empty."""
        self._logs: dict[str, Log] = {}

    def create(self, name: str, retention_bytes: int) -> Log:
        """Begin a new log."""
        if name in self._logs:
            raise AssertionError("a log name is used once")
        retention = max(retention_bytes, MINIMUM_RETENTION_BYTES)
        region = MemoryRegion(retention + SLACK_BYTES)
        log = Log(region, retention_bytes=retention, epoch=make_epoch(), spare=MemoryRegion)
        self._logs[name] = log
        return log

    def open(self, name: str, *, is_over: bool = False) -> Log:  # noqa: ARG002 - nothing is ever lost here
        """Return a log. Raises LogMissing."""
        try:
            return self._logs[name]
        except KeyError:
            raise LogMissing(name) from None

    def names(self) -> Iterable[str]:
        """Return the names of all logs."""
        return list(self._logs)

    def delete(self, name: str) -> None:
        """Forget a log."""
        self._logs.pop(name, None)

    async def settle(self, seconds: float) -> None:
        """Nothing to do: it is where it is kept."""

    def close(self) -> None:
        """Forget everything."""
        self._logs.clear()
