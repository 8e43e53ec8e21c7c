"""A process may be killed at any line: the next one finds every byte that was read, or says what it lost."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replay.errors import Trimmed
from replay.log import FIRST_WINDOW_BYTES, SLACK_BYTES
from replay.ringfile import FIRST_STEP_BYTES, GUARD_BYTES, HEADER_BYTES
from support.heirs import NAME, RING_BYTES, TEXT, Heir, Seen, Writer, gap_at_head, retained
from support.size import size
from support.snapshots import Snapshots

if TYPE_CHECKING:
    import random
    from pathlib import Path


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
