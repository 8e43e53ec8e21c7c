"""The way of keystrokes to the program: in order, whole, bounded, acknowledged when written."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.desk import Desk
from terminal_service.inputs import Verdict
from terminal_service.keyboard import HIGH_WATER_BYTES, LOW_WATER_BYTES, MESSAGE_COST_BYTES


@pytest.fixture
def desk() -> Desk:
    desk = Desk()
    desk.keyboard.connect(desk.pty)
    return desk


def test_input_is_written_and_acknowledged_at_once(desk: Desk) -> None:
    assert desk.type("a", 1, b"ls\r") == 0
    assert desk.pty.typed == b"ls\r"
    assert desk.acknowledged == [("a", 1)]
    assert desk.keyboard.type("a", None, b"x") == 0
    assert desk.acknowledged == [("a", 1)]
    assert desk.counters.input_bytes == 4


def test_input_before_the_program_waits_for_it_within_the_bound() -> None:
    desk = Desk()
    desk.type("a", 1, b"early")
    assert desk.acknowledged == []
    desk.type("a", 2, b"x" * (HIGH_WATER_BYTES + 1))
    assert desk.keyboard.is_full
    desk.keyboard.connect(desk.pty)
    assert desk.pty.typed == b"early" + b"x" * (HIGH_WATER_BYTES + 1)
    assert desk.acknowledged == [("a", 1), ("a", 2)]
    assert (desk.keyboard.is_full, desk.rooms) == (False, 1)


def test_what_a_full_program_does_not_take_is_written_later_in_order(desk: Desk) -> None:
    desk.pty.room = 4
    desk.type("a", 1, b"abc")
    desk.type("b", 1, b"defg")
    desk.type("a", 2, b"")
    assert desk.pty.typed == b"abcd"
    assert desk.acknowledged == [("a", 1)]
    assert desk.keyboard.pending_bytes == 3
    desk.read(2)
    assert desk.acknowledged == [("a", 1)], "half an input is none"
    desk.read(10)
    assert desk.pty.typed == b"abcdefg"
    assert desk.acknowledged == [("a", 1), ("b", 1), ("a", 2)]
    assert desk.keyboard.pending_bytes == 0


def test_a_paste_larger_than_the_queue_arrives_whole(desk: Desk) -> None:
    paste = bytes(range(256)) * 16384
    desk.pty.room = 0
    for number, start in enumerate(range(0, len(paste), 65_536), 1):
        desk.type("a", number, paste[start : start + 65_536])
    assert desk.keyboard.is_full
    while desk.keyboard.pending_bytes:
        desk.read(40_950)
    assert bytes(desk.pty.typed) == paste
    assert desk.acknowledged[-1] == ("a", 64)
    assert desk.rooms == 1


def test_viewers_are_read_again_below_the_low_mark_only(desk: Desk) -> None:
    desk.pty.room = 0
    desk.keyboard.type("a", None, b"x" * HIGH_WATER_BYTES)
    assert not desk.keyboard.is_full
    desk.keyboard.type("a", None, b"x")
    assert desk.keyboard.is_full
    desk.read(HIGH_WATER_BYTES - LOW_WATER_BYTES)
    assert (desk.keyboard.is_full, desk.rooms) == (True, 0)
    desk.read(1)
    assert (desk.keyboard.is_full, desk.rooms) == (False, 1)


@pytest.mark.parametrize("data", [b"", b"x"])
def test_tiny_and_empty_inputs_fill_the_queue_too(desk: Desk, data: bytes) -> None:
    desk.pty.room = 0
    desk.keyboard.type("a", None, b"first")
    taken = 0
    while not desk.keyboard.is_full:
        desk.keyboard.type("a", None, data)
        taken += 1
        assert taken <= HIGH_WATER_BYTES // MESSAGE_COST_BYTES
    desk.read(5)
    desk.read(len(data) * taken)
    assert (desk.keyboard.is_full, desk.rooms) == (False, 1)


def test_an_interrupt_does_not_wait_behind_a_paste(desk: Desk) -> None:
    desk.pty.interrupts, desk.pty.room = 0, 10
    desk.type("a", 1, b"x" * 1000)
    desk.type("b", 1, b"y" * 500)
    assert desk.type("b", 2, b"\x03") == 990 + 500
    assert desk.pty.interrupts == 1
    assert desk.pty.typed == b"x" * 10, "the key acted, it is not written too"
    assert desk.acknowledged == [("a", 1), ("b", 1), ("b", 2)], "nothing of it is to be sent again"
    assert desk.keyboard.pending_bytes == 0
    assert desk.counters.input_discarded_bytes == 1490
    desk.pty.room = None
    desk.type("a", 2, b"next")
    assert desk.pty.typed == b"x" * 10 + b"next"


@pytest.mark.parametrize(("interrupts", "data"), [(None, b"\x03"), (0, b"a\x03"), (0, b"\x03\x03"), (0, b"\x04")])
def test_what_is_no_interrupt_key_waits_its_turn(desk: Desk, interrupts: int | None, data: bytes) -> None:
    desk.pty.interrupts, desk.pty.room = interrupts, 1
    desk.keyboard.type("a", None, b"xy")
    assert desk.keyboard.type("a", None, data) == 0
    desk.read(None)
    assert desk.pty.typed == b"xy" + data


def test_an_interrupt_does_not_wait_behind_what_only_the_system_holds(desk: Desk) -> None:
    desk.pty.interrupts = 0
    desk.type("a", 1, b"lines the program does not read")
    assert desk.keyboard.pending_bytes == 0
    assert desk.keyboard.type("a", 2, b"\x03") == 0
    assert (bytes(desk.pty.typed), desk.pty.interrupts) == (b"lines the program does not read", 1)
    assert desk.acknowledged[-1] == ("a", 2)


def test_a_repeated_input_is_acknowledged_again_as_far_as_it_was_written(desk: Desk) -> None:
    desk.pty.room = 3
    desk.type("a", 1, b"abc")
    desk.type("a", 2, b"def")
    assert desk.keyboard.repeats("a", 2)
    assert desk.acknowledged == [("a", 1), ("a", 1)]
    assert not desk.keyboard.repeats("a", 3)
    assert not desk.keyboard.repeats("b", 1)
    assert desk.counters.inputs_repeated == 1
    desk.type("b", 1, b"x")
    assert desk.keyboard.repeats("b", 1)
    assert desk.acknowledged == [("a", 1), ("a", 1)], "nothing of b was written: nothing to acknowledge"


def test_what_waits_at_the_end_is_dropped_and_not_acknowledged(desk: Desk) -> None:
    desk.pty.room = 0
    desk.type("a", 1, b"x" * (HIGH_WATER_BYTES + 1))
    desk.keyboard.close()
    assert desk.acknowledged == []
    assert (desk.keyboard.pending_bytes, desk.keyboard.is_full, desk.rooms) == (0, False, 1)
    assert desk.counters.input_discarded_bytes == HIGH_WATER_BYTES + 1
    desk.read(None)
    assert desk.pty.typed == b""


@settings(max_examples=100)
@given(
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("type"), st.binary(max_size=50)),
            st.tuples(st.just("read"), st.one_of(st.none(), st.integers(0, 40))),
        ),
        max_size=60,
    )
)
def test_every_byte_is_written_once_in_order(steps: list[tuple[str, bytes | int | None]]) -> None:
    desk = Desk()
    desk.keyboard.connect(desk.pty)
    desk.pty.room = 0
    expected, ends = b"", []
    for kind, value in steps:
        if kind == "type":
            data = value if isinstance(value, bytes) else b""
            expected += data
            ends.append(len(expected))
            desk.type("a", len(ends), data)
        else:
            desk.read(value if isinstance(value, int) else None)
        assert expected.startswith(desk.pty.typed)
        assert desk.keyboard.pending_bytes == len(expected) - len(desk.pty.typed)
        written = len(desk.acknowledged)
        assert all(end <= len(desk.pty.typed) for end in ends[:written])
    desk.read(None)
    assert bytes(desk.pty.typed) == expected
    assert desk.acknowledged == [("a", number) for number in range(1, len(ends) + 1)]


# -- the next process


@pytest.mark.parametrize("taken", [0, 1, 4, 5])
def test_the_next_process_writes_the_rest_of_what_is_sent_again(desk: Desk, taken: int) -> None:
    desk.type("a", 1, b"1")
    desk.pty.room = taken
    desk.type("a", 2, b"hello")
    desk.type("a", 3, b"!" if taken < 5 else b"")
    after = desk.die()
    after.pty.room = None
    after.keyboard.connect(after.pty)
    written = after.keyboard.ledger.count("a").written
    assert (written, after.keyboard.ledger.count("a").taken) == (1 if taken < 5 else 3,) * 2
    assert desk.pty.typed == b"1" + b"hello"[:taken], "nothing before it is sent again"
    for number, data in [(2, b"hello"), (3, b"!" if taken < 5 else b"")]:
        if not after.keyboard.repeats("a", number):
            after.type("a", number, data)
    assert desk.pty.typed == b"1hello" + (b"!" if taken < 5 else b"")
    assert after.acknowledged[-1] == ("a", 3)
    assert after.keyboard.ledger.count("a").written == 3


def test_what_was_written_is_acknowledged_again_and_what_is_out_of_order_is_not_taken(desk: Desk) -> None:
    for number in (1, 2, 3):
        desk.type("a", number, b"x")
    after = desk.die()
    after.keyboard.connect(after.pty)
    assert after.keyboard.repeats("a", 2)
    assert after.acknowledged == [("a", 3)]
    assert after.keyboard.ledger.offer("a", 5) is Verdict.OUT_OF_ORDER
    assert after.keyboard.ledger.offer("a", 4) is Verdict.TAKE
    assert after.keyboard.ledger.count("stranger").taken == 0


def test_others_may_type_before_the_rest_comes(desk: Desk) -> None:
    desk.pty.room = 2
    desk.type("a", 1, b"abcd")
    after = desk.die()
    after.pty.room = 1
    after.keyboard.connect(after.pty)
    after.type("b", 1, b"BB")
    again = after.die()
    again.pty.room = None
    again.keyboard.connect(again.pty)
    again.type("a", 1, b"abcd")
    again.keyboard.type("", None, b"-")
    again.type("b", 1, b"BB")
    assert desk.pty.typed == b"abBcd-B"
    assert again.acknowledged == [("a", 1), ("b", 1)]


def test_what_is_sent_again_before_the_program_is_there_is_not_doubled(desk: Desk) -> None:
    desk.pty.room = 3
    desk.type("a", 1, b"abcdef")
    after = desk.die()
    after.type("a", 1, b"abcdef")
    after.type("a", 2, b"g")
    after.pty.room = None
    after.keyboard.connect(after.pty)
    assert desk.pty.typed == b"abcdefg"
    assert after.acknowledged == [("a", 1), ("a", 2)]
    assert after.keyboard.pending_bytes == 0


def test_an_interrupt_is_not_made_twice(desk: Desk) -> None:
    desk.pty.room, desk.pty.interrupts = 2, 0
    desk.type("a", 1, b"paste")
    desk.type("b", 1, b"other")
    assert desk.type("a", 2, b"\x03") == 8
    after = desk.die()
    after.keyboard.connect(after.pty)
    after.pty.room = None
    assert after.keyboard.repeats("a", 2)
    assert after.keyboard.repeats("b", 1), "what it discarded is not written later"
    assert desk.pty.interrupts == 1
    assert desk.pty.typed == b"pa"


def test_an_interrupt_key_that_is_an_ordinary_byte_is_written_once(desk: Desk) -> None:
    desk.type("a", 1, b"\x03")
    desk.pty.room = 0
    desk.type("a", 2, b"\x03")
    after = desk.die()
    after.pty.room = None
    after.keyboard.connect(after.pty)
    assert after.keyboard.repeats("a", 1)
    assert not after.keyboard.repeats("a", 2)
    after.type("a", 2, b"\x03")
    assert desk.pty.typed == b"\x03\x03"
