"""Keystrokes on their way to a terminal far away: acknowledged when they are there, and known if they are not."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.desk import Desk


@pytest.fixture
def far() -> Desk:
    desk = Desk()
    desk.pty.is_far = True
    desk.keyboard.connect(desk.pty)
    return desk


def confirm(desk: Desk, size: int) -> None:
    desk.pty.confirm(size)
    desk.keyboard.flush()


def test_what_is_on_its_way_is_acknowledged_once_it_is_there(far: Desk) -> None:
    far.type("a", 1, b"abc")
    far.type("b", 1, b"de")
    far.keyboard.type("", None, b"-")
    far.type("a", 2, b"f")
    assert (bytes(far.pty.typed), far.acknowledged) == (b"abcde-f", [])
    confirm(far, 4)
    assert far.acknowledged == [("a", 1)]
    assert far.keyboard.repeats("a", 2)
    assert far.acknowledged == [("a", 1), ("a", 1)]
    confirm(far, 2)
    assert far.acknowledged[2:] == [("b", 1)]
    confirm(far, 1)
    assert far.acknowledged[3:] == [("a", 2)]


def test_many_keys_on_their_way_wait_for_those_before_them(far: Desk) -> None:
    for number in range(1, 41):
        far.type("a", number, b"k")
    sent = len(far.pty.typed)
    assert 8 <= sent < 40
    confirm(far, 3)
    assert (len(far.pty.typed), far.acknowledged) == (sent + 3, [("a", 1), ("a", 2), ("a", 3)])
    while far.pty.unconfirmed:
        confirm(far, 7)
    assert far.pty.typed == b"k" * 40
    assert far.acknowledged[-1] == ("a", 40)
    assert far.keyboard.pending_bytes == 0


def test_an_interrupt_counts_what_is_on_its_way_as_written(far: Desk) -> None:
    far.pty.interrupts = 0
    far.type("a", 1, b"line")
    far.type("b", 1, b"\x03")
    assert far.acknowledged == [("a", 1), ("b", 1)]
    assert far.die().keyboard.repeats("a", 1), "it is not sent after the interrupt"


def test_what_is_on_its_way_at_the_end_is_not_acknowledged(far: Desk) -> None:
    far.type("a", 1, b"line")
    far.keyboard.close()
    far.pty.confirm(4)
    far.keyboard.flush()
    assert far.acknowledged == []


@settings(max_examples=200)
@given(
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("type"), st.binary(max_size=9)),
            st.tuples(st.just("read"), st.one_of(st.none(), st.integers(0, 40))),
            st.tuples(st.just("confirm"), st.integers(0, 20)),
            st.tuples(st.just("die"), st.none()),
        ),
        max_size=80,
    )
)
def test_every_byte_arrives_once_though_processes_die_with_some_on_its_way(
    steps: list[tuple[str, bytes | int | None]],
) -> None:
    desk = Desk()
    desk.pty.is_far = True
    desk.keyboard.connect(desk.pty)
    sent: list[bytes] = []
    acknowledged = 0
    for kind, value in [*steps, ("die", None), ("read", None)]:
        if isinstance(value, bytes):
            sent.append(value)
            desk.type("a", len(sent), value)
        elif kind == "read":
            desk.read(value)
        elif kind == "confirm":
            confirm(desk, value or 0)
        else:
            desk.pty.forget()
            desk = desk.die()
            desk.keyboard.connect(desk.pty)
            for number, data in enumerate(sent[acknowledged:], acknowledged + 1):
                if not desk.keyboard.repeats("a", number):
                    desk.type("a", number, data)
        acknowledged = max([acknowledged, *(number for _, number in desk.acknowledged)])
        arrived = len(desk.pty.typed) - desk.pty.unconfirmed
        assert len(b"".join(sent[:acknowledged])) <= arrived
        assert b"".join(sent).startswith(desk.pty.typed)
    while desk.pty.unconfirmed:
        confirm(desk, 5)
    assert bytes(desk.pty.typed) == b"".join(sent)
    assert desk.keyboard.ledger.count("a").written == len(sent)
