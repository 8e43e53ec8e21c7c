"""A keyboard at work, for tests of what becomes of what is typed."""

from __future__ import annotations

from support.manual import ManualPty
from support.words import make_words
from terminal_service.counters import Counters
from terminal_service.inputs import Verdict
from terminal_service.journal import Journal
from terminal_service.keyboard import Keyboard


class Desk:
    """A keyboard, its program and what it said; `words` and `pty` may be what another process has left."""

    def __init__(self, words: memoryview | None = None, pty: ManualPty | None = None) -> None:
        self.words = make_words() if words is None else words
        self.pty = pty or ManualPty()
        self.acknowledged: list[tuple[str, int]] = []
        self.rooms = 0
        self.counters = Counters()
        self.keyboard = Keyboard(
            acknowledge=self._acknowledge, room=self._room, counters=self.counters, journal=Journal(self.words)
        )

    def _acknowledge(self, client: str, number: int) -> None:
        self.acknowledged.append((client, number))

    def _room(self) -> None:
        assert not self.keyboard.is_full
        self.rooms += 1

    def type(self, client: str, number: int, data: bytes) -> int:
        assert self.keyboard.ledger.offer(client, number) is Verdict.TAKE
        return self.keyboard.type(client, number, data)

    def die(self) -> Desk:
        """Kill this process; return the next one, before it has its program."""
        return Desk(self.words, self.pty)

    def read(self, room: int | None) -> None:
        """Let the program read so much."""
        self.pty.room = room
        self.keyboard.flush()
