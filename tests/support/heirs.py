"""A process that reads text into a ring file, and the next one, which goes on with what the first left."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from replay.file import FileStore
from replay.log import SLACK_BYTES
from support.snapshots import Snapshots

if TYPE_CHECKING:
    from pathlib import Path

    from replay.event import Event
    from replay.log import Log

RETENTION_BYTES = 64 * 1024
RING_BYTES = RETENTION_BYTES + SLACK_BYTES
NAME = "session/main"
TEXT = "".join(f"{number:05d} ☃ naïve\n" for number in range(30_000)).encode()


@dataclass(frozen=True)
class Seen:
    """How much of the text was read from the terminal, and how much of that a viewer may have seen."""

    read: int = 0
    published: int = 0


class Writer:
    """A process that reads text into a log, as a backend does, and knows how far it has come."""

    def __init__(self, directory: Path) -> None:
        self.store = FileStore(directory)
        self.log = self.store.create(NAME, RETENTION_BYTES)
        self.path = directory / "session" / "main.ring"
        self.seen = Seen()
        self.snapshots = Snapshots(self.path, lambda: self.seen)

    def wake_up(self, *sizes: int) -> None:
        """Read pieces of these sizes, in one wake-up."""
        buffer = self.log.get_buffer()
        for wanted in sizes:
            count = min(wanted, len(buffer))
            if not count:
                return
            read = self.seen.read
            buffer[:count] = TEXT[read : read + count]
            self.seen = Seen(read + count, read)
            self.snapshots.take()
            self.log.commit(count)
            self.seen = Seen(read + count, read + count)
            self.snapshots.take()
            buffer = buffer[count:]

    def read_to(self, position: int) -> None:
        while self.seen.read < position:
            self.wake_up(4095, position - self.seen.read)


class Heir:
    """Opens what a killed process left."""

    def __init__(self, directory: Path) -> None:
        self.store = FileStore(directory)
        self.path = directory / "session" / "main.ring"
        self.path.parent.mkdir()
        self._log: Log | None = None

    def inherit(self, content: bytes, *, is_over: bool = False) -> Log:
        self.close()
        self.path.write_bytes(content)
        return self.open(is_over=is_over)

    def open(self, *, is_over: bool = False) -> Log:
        self.close()
        self._log = self.store.open(NAME, is_over=is_over)
        return self._log

    def close(self) -> None:
        if self._log is not None:
            self._log.close()

    def go_on(self, log: Log, data: bytes = b"and on\n") -> None:
        """Append, be killed, and find that there is all of it."""
        first, head, epoch, index = log.first, log.head, log.epoch, log.next_index
        kept = log.read_range(first, head)
        buffer = log.get_buffer()
        data = data[: len(buffer)]
        buffer[: len(data)] = data
        again = self.inherit(self.path.read_bytes())
        assert (again.head, again.epoch) == (head + len(data), epoch)
        assert again.read_range(again.first, again.head) == (kept + data)[-RETENTION_BYTES:]
        told_again = gap_at_head(again) is not None  # output that is not text is doubtful at every kill
        assert again.add_event("resize", {}, 1.0).index == index + told_again


def gap_at_head(log: Log) -> Event | None:
    event = log.last_event("gap", log.head)
    return event if event is not None and event.position == log.head else None


def retained(log: Log) -> bytes:
    return log.read_range(log.first, log.head)
