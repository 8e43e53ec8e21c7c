"""The contract of a log, over every store."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from replay.errors import BeyondHead, LogMissing, Trimmed
from replay.log import EVENTS_LIMIT, MINIMUM_RETENTION_BYTES, SLACK_BYTES
from replay.memory import MemoryStore

if TYPE_CHECKING:
    import random

    from replay.log import Log
    from replay.store import Store

RETENTION_BYTES = MINIMUM_RETENTION_BYTES
RING_BYTES = RETENTION_BYTES + SLACK_BYTES


def test_a_position_is_the_number_of_bytes_before_it(log: Log) -> None:
    log.append(b"hello ")
    log.append(memoryview(bytearray(b"world")))
    assert (log.first, log.head) == (0, 11)
    assert bytes(log.read(0, 100)) == b"hello world"
    assert bytes(log.read(6, 3)) == b"wor"
    assert bytes(log.read(11, 100)) == b""
    assert log.read_range(4, 8) == b"o wo"


def test_the_oldest_bytes_go_and_first_says_so(log: Log, rng: random.Random) -> None:
    data = rng.randbytes(5 * RING_BYTES + 12_345)
    log.append(data)
    assert (log.first, log.head) == (len(data) - RETENTION_BYTES, len(data))
    assert log.read_range(log.first, log.head) == data[-RETENTION_BYTES:]


def test_a_read_ends_at_the_edge_of_the_ring_and_goes_on_behind_it(log: Log, rng: random.Random) -> None:
    ring_bytes = log._size  # a log that is copied has a larger one
    data = rng.randbytes(ring_bytes + 1000)
    log.append(data)
    before_edge = log.read(ring_bytes - 10, 1000)
    assert before_edge == data[ring_bytes - 10 : ring_bytes]
    assert bytes(log.read(ring_bytes, 1000)) == data[ring_bytes:]
    assert log.read_range(ring_bytes - 10, ring_bytes + 10) == data[ring_bytes - 10 : ring_bytes + 10]


def test_what_is_trimmed_is_refused_with_what_is_left(log: Log) -> None:
    log.append(b"x" * (RETENTION_BYTES + 5))
    with pytest.raises(Trimmed) as refused:
        log.read(4, 1)
    assert (refused.value.position, refused.value.first) == (4, 5)
    with pytest.raises(Trimmed):
        log.read_range(4, 10)
    log.trim(100)
    log.trim(50)
    assert log.first == 100
    with pytest.raises(Trimmed):
        log.read(99, 1)
    log.trim(log.head + 1000)
    assert log.first == log.head
    assert bytes(log.read(log.head, 10)) == b""


def test_what_is_not_written_yet_is_refused_with_the_head(log: Log) -> None:
    log.append(b"abc")
    with pytest.raises(BeyondHead) as refused:
        log.read(4, 1)
    assert (refused.value.position, refused.value.head) == (4, 3)
    with pytest.raises(BeyondHead):
        log.read_range(0, 4)
    assert "4" in str(refused.value)
    assert "3" in str(refused.value)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.integers(0, SLACK_BYTES), min_size=1, max_size=12))
def test_filling_a_buffer_touches_no_retained_byte(steps: list[int]) -> None:
    log = MemoryStore().create("property/main", RETENTION_BYTES)
    try:
        expected = b""
        for number, step in enumerate(steps):
            kept_before = log.read_range(log.first, log.head)
            buffer = log.get_buffer()
            assert 1 <= len(buffer) <= SLACK_BYTES
            buffer[:] = bytes([number]) * len(buffer)  # even what is not committed
            assert log.read_range(log.first, log.head) == kept_before
            taken = min(step, len(buffer))
            log.commit(taken)
            expected = (expected + bytes([number]) * taken)[-RETENTION_BYTES:]
            assert log.read_range(log.first, log.head) == expected
    finally:
        log.close()


def test_readers_are_told_after_they_can_read(log: Log) -> None:
    seen: list[bytes] = []
    unsubscribe = log.subscribe(lambda: seen.append(log.read_range(0, log.head)))
    assert seen == []
    log.append(b"a")
    log.append(b"b")
    log.add_event("resize", {}, 0.0)
    assert seen == [b"a", b"ab", b"ab"]
    buffer = log.get_buffer()
    buffer[:1] = b"c"
    log.commit(1)
    assert len(seen) == 3, "a batch is told once, by notify"
    log.notify()
    assert seen[3:] == [b"abc"]
    unsubscribe()
    unsubscribe()
    log.append(b"d")
    assert len(seen) == 4


def test_a_reader_may_leave_while_readers_are_told(log: Log) -> None:
    told: list[str] = []
    leave = [lambda: None]

    def first() -> None:
        told.append("first")
        leave[0]()

    leave[0] = log.subscribe(first)
    log.subscribe(lambda: told.append("second"))
    log.append(b"x")
    log.append(b"y")
    assert told == ["first", "second", "second"]


def test_events_are_found_in_order_at_their_positions(log: Log) -> None:
    one = log.add_event("resize", {"rows": 1}, 10.0)
    log.append(b"abc")
    two = log.add_event("mark", {}, 11.0)
    three = log.add_event("resize", {"rows": 2}, 12.0)
    assert [event.position for event in (one, two, three)] == [0, 3, 3]
    assert [event.index for event in (one, two, three)] == [1, 2, 3]
    assert log.next_index == 4
    assert log.next_event(0, 0) == one
    assert log.next_event(2, 0) == two
    assert log.next_event(0, 1) == two
    assert log.next_event(3, 0) == three
    assert log.next_event(4, 0) is None
    assert log.next_event(0, 4) is None
    assert log.last_event("resize", 2) == one
    assert log.last_event("resize", 3) == three
    assert log.last_event("mark", 2) is None


def test_an_event_replaces_one_of_its_kind_at_its_position(log: Log) -> None:
    log.append(b"abc")
    log.add_event("resize", {"rows": 1}, 0.0)
    log.add_event("mark", {}, 0.0)
    newest = log.add_event("resize", {"rows": 2}, 0.0)
    assert log.last_event("resize", 3) == newest
    assert log.next_event(0, 0) is not None
    assert newest.index == 3, "a reader that was told the old one is told the new one"
    assert log.next_event(2 + 1, 3) == newest


def test_events_are_limited_and_the_oldest_go(log: Log) -> None:
    for _ in range(EVENTS_LIMIT + 10):
        log.append(b"x")
        log.add_event("resize", {"rows": 24, "cols": 80, "client_id": "c"}, 1.5)
    oldest = log.next_event(0, 0)
    assert oldest is not None
    assert oldest.index == 11
    assert log.last_event("resize", log.head) is not None


def test_a_log_can_be_opened_again(store: Store, rng: random.Random) -> None:
    log = store.create("session/again", RETENTION_BYTES)
    data = rng.randbytes(3 * RING_BYTES)
    log.append(data)
    event = log.add_event("resize", {"rows": 3, "cols": 4, "client_id": "ü"}, 7.25)
    first, head, epoch = log.first, log.head, log.epoch
    if not isinstance(store, MemoryStore):  # there it is the same object
        log.close()
    again = store.open("session/again")
    assert (again.first, again.head, again.epoch, again.retention_bytes) == (first, head, epoch, RETENTION_BYTES)
    assert again.read_range(first, head) == data[first:]
    assert again.last_event("resize", head) == event
    assert again.next_index == event.index + 1
    again.append(b"more")
    assert again.read_range(head - 4, head + 4) == data[-4:] + b"more"
    again.close()


def test_names_are_those_of_logs_created_and_not_deleted(store: Store) -> None:
    for name in ("one/main", "one/second", "two/main"):
        store.create(name, RETENTION_BYTES).close()
    assert sorted(store.names()) == ["one/main", "one/second", "two/main"]
    store.delete("one/main")
    store.delete("one/main")
    assert sorted(store.names()) == ["one/second", "two/main"]
    with pytest.raises(LogMissing) as missing:
        store.open("one/main")
    assert "one/main" in str(missing.value)


def test_each_log_is_a_history_of_its_own(store: Store) -> None:
    logs = [store.create(f"s/{number}", RETENTION_BYTES) for number in range(3)]
    assert len({log.epoch for log in logs}) == 3
    assert all(len(log.epoch) == 16 for log in logs)
    for log in logs:
        log.close()


def test_a_closed_log_is_not_read(log: Log) -> None:
    log.append(b"x" * 100)
    piece = log.read(0, 10)
    log.close()
    log.close()
    assert bytes(piece) == b"x" * 10, "the memory stays as long as a reader holds a piece"
    with pytest.raises(ValueError, match="released"):
        log.read(0, 10)
    with pytest.raises(ValueError, match="released"):
        log.read_range(0, 10)
    piece.release()
