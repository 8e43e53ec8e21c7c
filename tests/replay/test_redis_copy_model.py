"""Redis has what the log has, whatever becomes of each call: done, done unheard, never done, done late, forgotten."""

from __future__ import annotations

import shutil
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from replay.event import Event
from replay.file import FileStore
from replay.log import MINIMUM_RETENTION_BYTES
from replay.redis_copy import Copy, State
from replay.redis_reader import Chunk, Hole, parse_entry, parse_facts
from replay.redis_scripts import Answer
from support.redis_server import RedisServer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from replay.redis_copy import Batch
    from replay.redis_scripts import Call

NAME = "model/main"
CAPACITY = 512 * 1024
CALLS_LIMIT = 40
"""So many answers are enough for anything these machines leave behind."""


class CopyMachine(RuleBasedStateMachine):
    """One log on its way to a real Redis, over a network that does anything but change bytes."""

    server: ClassVar[RedisServer]

    @initialize()
    def begin(self) -> None:
        self.server.call("FLUSHALL")
        self.directory = Path(tempfile.mkdtemp())
        self.store = FileStore(self.directory, capacity=lambda _: CAPACITY)
        self.log = self.store.create(NAME, MINIMUM_RETENTION_BYTES)
        self.late: list[Call] = []
        self.copy = self.make_copy()

    def make_copy(self) -> Copy:
        number = self.log.begin_copying(margin_bytes=64 * 1024)
        return Copy(NAME, self.log, number=number, ttl_seconds=60, wake=lambda _: None)

    def send(self, call: Call) -> Answer:
        return Answer.parse(self.server.call(*call.words(whole=True)))

    def take(self, limit: int = 100_000) -> Batch:
        return self.copy.take(limit, now=time.time())

    @rule(seed=st.integers(0, 255), size=st.one_of(st.integers(1, 300), st.integers(1, 90_000)))
    def append(self, seed: int, size: int) -> None:
        if not self.log.is_full:
            block = bytes((seed + position * 7) % 251 for position in range(251)) * (size // 251 + 1)
            self.log.append(block[:size])

    @rule(number=st.integers(0, 99))
    def mark(self, number: int) -> None:
        self.log.add_event("resize", {"number": number}, float(number))

    @rule(limit=st.integers(1, 200_000))
    def done(self, limit: int) -> None:
        batch = self.take(limit)
        self.copy.settle(batch, self.send(batch.call))

    @rule()
    def done_unheard(self) -> None:
        self.send(self.take().call)

    @rule()
    def held_up(self) -> None:
        """Not done now, and nobody knows; it may still be."""
        self.late.append(self.take().call)

    @rule()
    @precondition(lambda self: self.late)
    def done_late(self) -> None:
        self.send(self.late.pop(0))

    @rule()
    def forgotten(self) -> None:
        """Redis loses everything: a restart without its file."""
        self.server.call("FLUSHALL")

    @rule()
    def killed(self) -> None:
        self.log.close()
        self.log = self.store.open(NAME)
        self.copy = self.make_copy()

    def teardown(self) -> None:
        if not hasattr(self, "log"):
            return
        for _ in range(CALLS_LIMIT):
            batch = self.take(CAPACITY)
            self.copy.settle(batch, self.send(batch.call))
            if not self.copy.is_behind and self.send(self.take().call).head == self.log.head:
                break
        for call in self.late:  # whatever is still under way changes nothing any more
            self.send(call)
        assert self.copy.state is State.OPEN
        self.judge()
        self.log.close()
        shutil.rmtree(self.directory)

    def judge(self) -> None:
        found = self.server.call("XRANGE", f"ts:{{{NAME.replace('/', '}:')}:out", "-", "+")
        items = [parse_entry(entry_id, fields) for entry_id, fields in found]
        assert not any(isinstance(item, Hole) for item in items)
        chunks = [item for item in items if isinstance(item, Chunk)]
        for one, other in pairwise(chunks):
            assert one.end == other.start
        data, log = b"".join(chunk.data for chunk in chunks), self.log
        if log.head:
            assert chunks[0].start <= log.first
            assert chunks[-1].end == log.head
        assert data[len(data) - (log.head - log.first) :] == log.read_range(log.first, log.head)
        indices = [item.index for item in items if isinstance(item, Event)]
        assert indices == sorted(set(indices))
        facts = parse_facts(NAME, self.server.call("HGETALL", f"ts:{{{NAME.replace('/', '}:')}:log"))
        assert facts.index == log.next_index - 1
        known = [event.index for event in facts.events]  # though it may have left the stream
        assert not log.next_index > 1 or known[-1] == log.next_index - 1


@pytest.fixture(scope="module", autouse=True)
def _server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as CopyMachine.server:
        yield


TestCopy = CopyMachine.TestCase
TestCopy.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
