"""A process may be killed at any line: the next one finds every byte that was read, or says what it lost."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replay.errors import LogDamaged, Trimmed
from replay.file import FileStore
from replay.log import FIRST_WINDOW_BYTES, SLACK_BYTES
from replay.ringfile import FIRST_STEP_BYTES, GUARD_BYTES, HEADER_BYTES
from support.size import size
from support.snapshots import Snapshots

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from replay.log import Event, Log

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


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[Writer]:
    made = Writer(tmp_path / "logs")
    yield made
    made.log.close()


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


@pytest.fixture
def heir(tmp_path: Path) -> Iterator[Heir]:
    made = Heir(tmp_path / "heir")
    yield made
    made.close()


def gap_at_head(log: Log) -> Event | None:
    event = log.last_event("gap", log.head)
    return event if event is not None and event.position == log.head else None


def retained(log: Log) -> bytes:
    return log.read_range(log.first, log.head)


def test_a_kill_at_any_line_loses_no_text(writer: Writer, heir: Heir, rng: random.Random) -> None:
    with writer.snapshots.at_every_line():
        for wanted in (0, 1, FIRST_WINDOW_BYTES, 10_000, RING_BYTES - 5, RING_BYTES + 9, 2 * RING_BYTES + 40_000):
            writer.read_to(wanted)
            writer.wake_up(1)
            writer.wake_up(rng.randrange(1, 3000), rng.randrange(1, 3000))
            writer.log.trim(rng.randrange(writer.log.first, writer.log.head))
            writer.log.add_event("resize", {"rows": 1}, 1.0)
        writer.log.close()
    assert len(writer.snapshots.taken) > 100
    for content, seen in writer.snapshots.taken:
        log = heir.inherit(content)
        assert log.head == seen.read
        assert retained(log) == TEXT[log.first : log.head]
        assert gap_at_head(log) is None
        heir.go_on(log)


def test_a_kill_at_any_line_reuses_no_position_while_there_is_no_room(writer: Writer, heir: Heir) -> None:
    writer.read_to(30_000)
    elsewhere = writer.path.parent.parent.with_name("elsewhere")

    def move(source: Path, target: Path) -> None:
        """Take the files away, or bring them back: without its directory a log finds no room."""
        source.rename(target)
        writer.snapshots.path = target / "session" / "main.ring"

    move(writer.path.parent.parent, elsewhere)
    with writer.snapshots.at_every_line():
        writer.read_to(FIRST_STEP_BYTES + 20_000)
        writer.wake_up(10, 20)
        assert writer.log.degraded is not None
        assert not writer.log.restore_storage()
        writer.log.add_event("resize", {"rows": 1}, 1.0)
    move(elsewhere, writer.path.parent.parent)
    with writer.snapshots.at_every_line():
        assert writer.log.restore_storage()
        writer.wake_up(100)
    writer.log.close()
    gaps = 0
    for content, seen in writer.snapshots.taken:
        for is_over in (True, False):
            log = heir.inherit(content, is_over=is_over)
            assert retained(log) == TEXT[log.first : log.head]
            gap = gap_at_head(log)
            assert gap is not None or log.head == seen.read
            assert log.first <= log.head
            gaps += gap is not None
            if is_over:
                assert gap is None or gap.fields["bytes"] in {0, seen.published - log.head}
            else:
                assert log.head >= seen.published
                heir.go_on(log)
    assert gaps > 20


def test_a_log_that_lost_its_memory_goes_on_behind_it_or_is_what_it_was(writer: Writer, heir: Heir) -> None:
    writer.read_to(30_000)
    elsewhere = writer.path.parent.rename(writer.path.parent.with_name("elsewhere"))
    writer.read_to(FIRST_STEP_BYTES + 200)
    assert writer.log.degraded is not None
    content = (elsewhere / "main.ring").read_bytes()
    writer.log.close()

    log = heir.inherit(content, is_over=True)
    stored, lost = log.head, writer.seen.published - log.head
    assert stored >= 30_000
    assert lost > 0
    assert retained(log) == TEXT[:stored]
    gap = gap_at_head(log)
    assert gap is not None
    assert gap.fields == {"reason": "memory", "bytes": lost}
    with pytest.raises(AssertionError, match="read only"):
        log.append(b"x")
    log = heir.open()
    assert log.first == log.head == writer.seen.published
    with pytest.raises(Trimmed) as trimmed:
        log.read(stored, 1)
    assert trimmed.value.first - stored == lost, "a viewer is told how much is lost"
    gap = gap_at_head(log)
    assert gap is not None
    assert gap.fields == {"reason": "memory", "bytes": lost}
    heir.go_on(log)


BINARY = {
    "FF in what was read": (b"", b"ab\xffcd", 0),
    "FF at the end of what was read": (b"", b"abcd\xff", 0),
    "nothing but FF": (b"", b"\xff" * 3000, 0),
    "FF in what was there": (b"a\xffb", b"text", 0),
    "FF long before": (b"\xff" + b"x" * 50_000, b"text", 0),
    "FF there, nothing read": (b"a\xffb", b"", 0),
    "a run of the guard's own": (b"", GUARD_BYTES[:1] * 3000, 1),
    "a run of the guard's other": (b"a", GUARD_BYTES[1:] * 3000, 1),
    "the guard's own in what was there": (GUARD_BYTES, GUARD_BYTES * 50, 100),
}


@pytest.mark.parametrize("kind", BINARY)
def test_binary_output_torn_by_a_kill_is_told(writer: Writer, heir: Heir, kind: str) -> None:
    there, read, may_be_short = BINARY[kind]
    writer.log.append(there)
    writer.log.get_buffer()[: len(read)] = read
    content = writer.path.read_bytes()
    writer.log.close()
    with Snapshots(heir.path, lambda: None).at_every_line():
        log = heir.inherit(content)
    assert len(there + read) - may_be_short <= log.head <= len(there + read)
    assert (there + read).startswith(retained(log))
    gap = gap_at_head(log)
    assert gap is not None
    assert gap.fields == {"reason": "torn", "bytes": None}
    heir.go_on(log)


@pytest.mark.parametrize("is_over", [False, True])
@pytest.mark.parametrize("read", [b"text", b"\xff binary"])
def test_a_kill_while_taking_over_changes_nothing(writer: Writer, heir: Heir, read: bytes, *, is_over: bool) -> None:
    writer.log.append(b"before\n")
    writer.log.get_buffer()[: len(read)] = read
    content = writer.path.read_bytes()
    writer.log.close()
    snapshots = Snapshots(heir.path, lambda: None)
    with snapshots.at_every_line():
        log = heir.inherit(content, is_over=is_over)
    expected = (retained(log), gap_at_head(log) is not None, log.next_index)
    assert expected == (b"before\n" + read, b"\xff" in read, 1 + (b"\xff" in read))
    log.close()
    assert len(snapshots.taken) >= 3
    for killed, _ in snapshots.taken:
        log = heir.inherit(killed)
        assert (retained(log), gap_at_head(log) is not None, log.next_index) == expected
        heir.go_on(log)


@pytest.mark.parametrize("data", [b"text", b"\xff binary"])
def test_a_log_that_was_closed_has_nothing_to_tell(writer: Writer, data: bytes) -> None:
    writer.log.append(data)
    for _ in range(2):
        writer.log.close()
        writer.log = writer.store.open(NAME)
        assert retained(writer.log) == data
        assert gap_at_head(writer.log) is None
    writer.log.close()


@settings(max_examples=size(60, 5000))
@given(lives=st.lists(st.tuples(st.integers(0, 90_000), st.integers(0, 70_000)), min_size=1, max_size=8))
def test_any_number_of_kills_at_any_place_lose_nothing(
    tmp_path_factory: pytest.TempPathFactory, lives: list[tuple[int, int]]
) -> None:
    directory = tmp_path_factory.mktemp("lives")
    writer, heir = Writer(directory / "logs"), Heir(directory / "heir")
    log, path = writer.log, writer.path
    for published, torn in lives:
        writer.log = log
        writer.read_to(writer.seen.read + published)
        buffer = log.get_buffer()
        read = writer.seen.read
        data = TEXT[read:][: min(torn, len(buffer))]
        buffer[: len(data)] = data
        writer.seen = Seen(read + len(data), read + len(data))
        killed, path = path.read_bytes(), heir.path
        log.close()
        log = heir.inherit(killed)
        assert log.head == writer.seen.read
        assert retained(log) == TEXT[log.first : log.head]
    assert log.last_event("gap", log.head) is None
    log.close()
    shutil.rmtree(directory)


def test_a_log_taken_over_is_written_on(writer: Writer) -> None:
    """Every life begins with whatever the system has allocated before, and ends at any place of the ring."""
    epoch, length = writer.log.epoch, len(TEXT)
    for number in range(1, 12):
        writer.read_to(length * number // 12)
        event = writer.log.add_event("resize", {"rows": number}, 1.0)
        assert (event.index, event.position) == (number, writer.seen.read)
        writer.log.close()
        writer.log = writer.store.open(NAME)
        assert (writer.log.epoch, writer.log.head) == (epoch, writer.seen.read)
        assert writer.log.last_event("resize", writer.log.head) == event
        assert retained(writer.log) == TEXT[writer.log.first : writer.seen.read]
    writer.log.close()


def test_a_quiet_log_touches_no_page_ahead_of_its_need(writer: Writer) -> None:
    for _ in range(FIRST_WINDOW_BYTES // 2 - 1):
        writer.log.append(b"x")
    assert not any(writer.path.read_bytes()[HEADER_BYTES + FIRST_WINDOW_BYTES :])
    writer.log.close()


def test_a_flood_gets_the_largest_window_soon(writer: Writer) -> None:
    for _ in range(5):
        handed_out = len(writer.log.get_buffer())
        writer.wake_up(*[4096] * 16)
    assert handed_out == SLACK_BYTES
    writer.log.close()


def fill_cells(log: Log) -> list[int]:
    values = [2**64 - 1 - 7 * number for number in range(496)]
    for number, value in enumerate(values):
        log.cells[number] = value
    return values


def test_cells_are_zero_and_kept_with_the_log(writer: Writer, heir: Heir) -> None:
    assert (writer.log.cells.format, writer.log.cells.itemsize) == ("Q", 8)
    assert writer.log.cells.tolist() == [0] * 496
    values = fill_cells(writer.log)
    writer.read_to(2 * RING_BYTES)
    log = heir.inherit(writer.path.read_bytes())
    assert log.cells.tolist() == values
    assert retained(log) == retained(writer.log), "cells and output do not touch each other"
    log.close()
    writer.log.close()


def test_cells_stay_in_the_file_while_output_is_in_memory(writer: Writer, heir: Heir) -> None:
    cells = writer.log.cells
    elsewhere = writer.path.parent.rename(writer.path.parent.with_name("elsewhere"))
    writer.read_to(RING_BYTES // 2 + 10)
    assert writer.log.degraded is not None
    assert writer.log.cells is cells
    values = fill_cells(writer.log)
    log = heir.inherit((elsewhere / "main.ring").read_bytes())
    assert log.cells.tolist() == values
    log.close()
    writer.log.close()


@pytest.fixture
def late(tmp_path: Path) -> tuple[Log, Path, Callable[[], object]]:
    """Begin a log without room; return it with the path of its file and what makes room."""
    directory = tmp_path / "logs"
    store = FileStore(directory)
    directory.rmdir()
    log = store.create(NAME, RETENTION_BYTES)
    assert log.degraded is not None
    return log, directory / "session" / "main.ring", directory.mkdir


def test_a_log_begun_in_memory_takes_its_cells_into_its_file(
    late: tuple[Log, Path, Callable[[], object]], heir: Heir
) -> None:
    log, path, make_room = late
    assert log.cells.tolist() == [0] * 496
    values = fill_cells(log)
    log.append(b"early\n")
    make_room()
    snapshots = Snapshots(path, lambda: None)
    with snapshots.at_every_line():
        assert log.reserve_storage()
        log.append(b"and more\n")
        assert log.cells.tolist() == values
        assert log.restore_storage()
    log.cells[0] = 4711
    assert path.read_bytes() != snapshots.taken[-1][0], "from now on they are those of the file"
    log.close()
    whole = 0
    for content, _ in snapshots.taken:
        try:
            taken_over = heir.inherit(content)
        except LogDamaged:
            assert not whole, "what is valid stays valid"
        else:
            whole += 1
            assert retained(taken_over) == b"early\nand more\n"
            assert taken_over.cells.tolist() == values
            taken_over.close()
    assert whole
