"""A log does what a plain bytes object would, whatever is done to it in whatever order."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from replay.errors import BeyondHead, Trimmed
from replay.file import FileStore
from replay.log import MINIMUM_RETENTION_BYTES, Log
from replay.memory import MemoryStore

if TYPE_CHECKING:
    from replay.event import Event

RETENTION_BYTES = MINIMUM_RETENTION_BYTES
EXAMPLES = settings(max_examples=100, stateful_step_count=40)


class LogMachine(RuleBasedStateMachine):
    """Append, read, trim and mark; the model is everything that was ever appended."""

    def __init__(self) -> None:
        super().__init__()
        self.everything = b""
        self.trimmed = 0
        self.events: dict[tuple[int, str], Event] = {}
        self.log = self.make_log()

    def make_log(self) -> Log:
        return MemoryStore().create("model/main", RETENTION_BYTES)

    @property
    def first(self) -> int:
        return max(self.trimmed, len(self.everything) - RETENTION_BYTES)

    @rule(seed=st.integers(0, 255), size=st.one_of(st.integers(0, 300), st.integers(0, 200_000)))
    def append(self, seed: int, size: int) -> None:
        data = bytes((seed + position * 7) % 251 for position in range(min(size, 251))) * (size // 251 + 1)
        self.log.append(data[:size])
        self.everything += data[:size]

    @rule(seed=st.integers(0, 255), size=st.integers(0, 65_536))
    def fill_buffer(self, seed: int, size: int) -> None:
        buffer = self.log.get_buffer()
        size = min(size, len(buffer))
        buffer[:size] = bytes([seed]) * size
        self.log.commit(size)
        self.everything += bytes([seed]) * size

    @rule(back=st.integers(-10, 2 * RETENTION_BYTES), limit=st.integers(1, 100_000))
    def read(self, back: int, limit: int) -> None:
        position = len(self.everything) - back
        if position > len(self.everything):
            with pytest.raises(BeyondHead):
                self.log.read(position, limit)
        elif position < self.first:
            with pytest.raises(Trimmed):
                self.log.read(position, limit)
        else:
            piece = bytes(self.log.read(position, limit))
            assert self.everything[position : position + limit].startswith(piece)
            assert piece or position == len(self.everything)
            end = min(position + limit, len(self.everything))
            assert self.log.read_range(position, end) == self.everything[position:end]

    @rule(back=st.integers(-10, 2 * RETENTION_BYTES))
    def trim(self, back: int) -> None:
        before = len(self.everything) - back
        self.log.trim(before)
        self.trimmed = max(self.trimmed, min(before, len(self.everything)))

    @rule(kind=st.sampled_from(["resize", "mark"]), number=st.integers(0, 1000))
    def mark(self, kind: str, number: int) -> None:
        event = self.log.add_event(kind, {"number": number}, float(number))
        self.events.pop((event.position, kind), None)
        self.events[event.position, kind] = event

    @rule(index=st.integers(0, 40), back=st.integers(0, 100_000))
    def find_event(self, index: int, back: int) -> None:
        position = len(self.everything) - back
        expected = [e for e in self.events.values() if e.index >= index and e.position >= position]
        assert self.log.next_event(index, position) == (expected[0] if expected else None)

    @invariant()
    def bounds_are_true(self) -> None:
        assert self.log.head == len(self.everything)
        assert self.log.first == self.first
        for kind in ("resize", "mark"):
            events = [event for event in self.events.values() if event.kind == kind]
            assert self.log.last_event(kind, self.log.head) == (events[-1] if events else None)

    def teardown(self) -> None:
        assert self.log.read_range(self.first, self.log.head) == self.everything[self.first :]
        self.log.close()


class FileLogMachine(LogMachine):
    """The same, and the log may be closed and opened at any time."""

    def make_log(self) -> Log:
        self.directory = Path(tempfile.mkdtemp())
        self.store = FileStore(self.directory)
        return self.store.create("model/main", RETENTION_BYTES)

    @rule()
    @precondition(lambda self: self.everything)
    def open_again(self) -> None:
        self.log.close()
        self.log = self.store.open("model/main")

    def teardown(self) -> None:
        super().teardown()
        self.store.close()
        shutil.rmtree(self.directory)


TestMemoryLog = LogMachine.TestCase
TestMemoryLog.settings = EXAMPLES
TestFileLog = FileLogMachine.TestCase
TestFileLog.settings = EXAMPLES
