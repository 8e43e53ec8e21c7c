"""A terminal and its viewers: joining, leaving, input, the end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from msgspec import UNSET

from backends.base import ExitStatus, Lost
from support.manual import Stage, of
from terminal_service import wire
from terminal_service.errors import LimitReached, Preparing, Restarting, SessionOver
from terminal_service.keyboard import HIGH_WATER_BYTES as FULL_KEYBOARD_BYTES
from terminal_service.presence import PRESENCE_SECONDS
from terminal_service.sizes import Size

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

KIB = 1024


# -- who is there


def test_a_newer_connection_of_a_client_replaces_the_older(stage: Stage) -> None:
    older = stage.attach(client_id="c")
    newer = stage.attach(client_id="c")
    assert older.closed is not None
    assert older.closed[0] == 4409
    assert [a.outlet for a in stage.terminal.attachments] == [newer]
    other = stage.attach(client_id="c", user="bob")
    assert newer.closed is None, "another user's client of the same name is another client"
    stage.terminal.detach(of(older))
    assert len(stage.terminal.attachments) == 2
    assert other.closed is None


def test_viewers_are_limited_and_a_returning_one_has_its_place(make_stage: Callable[..., Stage]) -> None:
    stage = make_stage(viewers_limit=2).start()
    stage.attach(client_id="a")
    stage.attach(client_id="b")
    with pytest.raises(LimitReached):
        stage.attach(client_id="c")
    stage.attach(client_id="a")
    assert len(stage.terminal.attachments) == 2


def test_everybody_is_told_who_is_there_on_every_change(stage: Stage) -> None:
    ann = stage.attach(client_id="a", role="owner")
    bob = stage.attach(client_id="b", user="bob", role="viewer")
    stage.terminal.report_size(of(ann), Size(30, 90))
    expected = wire.Viewers(
        viewers=[
            {"client_id": "a", "user": "ann", "role": "owner", "rows": 30, "cols": 90, "position": 0},
            {"client_id": "b", "user": "bob", "role": "viewer", "rows": None, "cols": None, "position": 0},
        ],
        responder="a",
    )
    assert len(bob.last(wire.Viewers).viewers) == 2, "who comes is told at once"
    stage.time.advance(PRESENCE_SECONDS)
    assert ann.last(wire.Viewers) == bob.last(wire.Viewers) == expected
    stage.terminal.detach(of(ann))
    stage.time.advance(PRESENCE_SECONDS)
    assert bob.last(wire.Viewers).responder is None, "who only looks answers no queries"
    assert [viewer["client_id"] for viewer in bob.last(wire.Viewers).viewers] == ["b"]


def test_a_flood_of_changes_is_told_as_one_and_to_who_does_not_read_when_it_does(stage: Stage) -> None:
    ann = stage.attach(client_id="a")
    bob = stage.attach(client_id="b")
    stage.time.advance(PRESENCE_SECONDS)
    before = len(ann.of(wire.Viewers)), len(bob.of(wire.Viewers))
    bob.room = 0
    for rows in range(1, 1000):
        stage.terminal.report_size(of(ann), Size(rows, 80))
    stage.time.advance(PRESENCE_SECONDS)
    for rows in range(1, 1000):
        stage.terminal.report_size(of(ann), Size(rows, 81))
    stage.time.advance(PRESENCE_SECONDS)
    assert len(ann.of(wire.Viewers)) <= before[0] + 3
    assert len(bob.of(wire.Viewers)) == before[1]
    bob.room = None
    of(bob).pump()
    assert len(bob.of(wire.Viewers)) == before[1] + 1
    assert bob.last(wire.Viewers).viewers[0]["cols"] == 81


def test_only_who_may_type_keeps_a_session_alive_by_being_there(stage: Stage) -> None:
    stage.attach(role="viewer", client_id="a")
    assert stage.activity == []
    stage.attach(role="writer", client_id="b")
    assert stage.activity == ["viewer"]


# -- input


def test_numbered_input_is_written_once_and_acknowledged(stage: Stage) -> None:
    viewer = stage.attach(client_id="c")
    stage.terminal.type(of(viewer), 1, b"a")
    stage.terminal.type(of(viewer), 1, b"a")
    stage.terminal.type(of(viewer), 3, b"c")
    stage.terminal.type(of(viewer), 2, b"b")
    assert stage.pty.typed == b"ab"
    assert [ack.n for ack in viewer.of(wire.InputAck)] == [1, 1, 2]
    refused = viewer.last(wire.Error)
    assert (refused.code, refused.expected) == ("input_out_of_order", 2)
    assert stage.activity.count("input") == 2, "what is refused or repeated is no activity"
    again = stage.attach(client_id="c")
    assert again.last(wire.Attached).input_n == 2
    stage.terminal.type(of(again), 2, b"b")
    assert again.of(wire.InputAck) == [wire.InputAck(n=2)]
    assert stage.pty.typed == b"ab"


def test_input_taken_from_an_older_connection_is_acknowledged_to_the_newer(stage: Stage) -> None:
    viewer = stage.attach(client_id="c")
    stage.pty.room = 0
    stage.terminal.type(of(viewer), 1, b"abc")
    again = stage.attach(client_id="c")
    assert again.last(wire.Attached).input_n == 1
    stage.pty.room = None
    stage.terminal.resume_writing()
    assert again.of(wire.InputAck) == [wire.InputAck(n=1)]


def test_who_types_into_a_program_that_does_not_read_is_read_no_further(stage: Stage) -> None:
    viewer, other = stage.attach(client_id="a"), stage.attach(client_id="b")
    stage.pty.room = 0
    stage.terminal.type(of(viewer), None, b"x" * (FULL_KEYBOARD_BYTES + 1))
    assert (viewer.input_paused, other.input_paused) == (True, False)
    with pytest.raises(LimitReached):
        stage.terminal.write(b"y")
    stage.pty.room = None
    stage.terminal.resume_writing()
    assert not viewer.input_paused
    stage.terminal.write(b"y")
    assert stage.pty.typed.endswith(b"xy")


def test_a_discarding_interrupt_is_told(stage: Stage) -> None:
    viewer = stage.attach()
    stage.pty.room, stage.pty.interrupts = 0, 0
    stage.terminal.type(of(viewer), None, b"x" * 1000)
    stage.terminal.type(of(viewer), None, b"\x03")
    assert viewer.last(wire.Error).code == "input_discarded"
    assert "1000" in viewer.last(wire.Error).error


def test_signals_reach_a_living_program_only(make_stage: Callable[..., Stage]) -> None:
    stage = make_stage()
    with pytest.raises(Preparing):
        stage.terminal.signal("INT")
    stage.start()
    stage.terminal.signal("INT")
    assert stage.pty.signals == [2]
    stage.end()
    with pytest.raises(SessionOver):
        stage.terminal.signal("INT")


# -- the end


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (ExitStatus(code=0), (0, None)),
        (ExitStatus(code=127, message="no such file"), (127, None)),
        (ExitStatus(signal=9), (None, "SIGKILL")),
        (ExitStatus(signal=40), (None, "SIG40")),
        (ExitStatus(lost=Lost.NODE), (None, None)),
    ],
)
def test_how_it_ended_is_told(stage: Stage, status: ExitStatus, expected: tuple[int | None, str | None]) -> None:
    viewer = stage.attach()
    stage.end(status, "because")
    ended = viewer.last(wire.SessionEnded)
    assert (ended.exit_code, ended.signal) == expected
    assert (ended.reason, ended.pid, ended.message) == ("because", 4711, status.message or UNSET)
    stage.end(ExitStatus(code=5), "again")
    assert stage.terminal.end_message() == ended, "there is one end"


def test_who_comes_after_the_end_reads_it_all(stage: Stage) -> None:
    stage.print(b"output")
    stage.end()
    viewer = stage.attach(recover_from=0)
    assert viewer.last(wire.Attached).ended is True
    assert viewer.output == b"output"
    assert viewer.closed == (4410, "session ended")


def test_after_the_end_nothing_is_written_and_nothing_changes(stage: Stage) -> None:
    viewer = stage.attach(mode="frozen")
    stage.end()
    activity = list(stage.activity)
    stage.terminal.type(of(viewer), 1, b"x")
    assert viewer.last(wire.Error).code == "session_over"
    with pytest.raises(SessionOver):
        stage.terminal.write(b"x")
    stage.terminal.report_size(of(viewer), Size(5, 5))
    stage.terminal.resize(Size(6, 6))
    assert stage.terminal.size == Size(24, 80)
    assert (bytes(stage.pty.typed), stage.pty.sizes, stage.activity) == (b"", [], activity)
    stage.time.advance(100)


def test_once_another_process_goes_on_nothing_is_taken_and_nothing_acknowledged(stage: Stage) -> None:
    viewer = stage.attach(client_id="c")
    stage.pty.room = 2
    for number, data in enumerate((b"a", b"b", b"waits"), 1):
        stage.terminal.type(of(viewer), number, data)
    known = bytes(stage.terminal.log.cells)
    stage.terminal.leave()
    stage.pty.room = None
    stage.terminal.type(of(viewer), 4, b"late")
    stage.terminal.report_size(of(viewer), Size(5, 5))
    stage.terminal.resume_writing()
    with pytest.raises(Restarting, match="retry_after_ms="):
        stage.terminal.write(b"x")
    with pytest.raises(Restarting):
        stage.terminal.signal("INT")
    assert (bytes(stage.pty.typed), stage.pty.sizes, stage.pty.signals) == (b"ab", [], [])
    assert [ack.n for ack in viewer.of(wire.InputAck)] == [1, 2]
    assert not viewer.of(wire.Error), "it comes again, to the next process"
    assert bytes(stage.terminal.log.cells) == known, "the journal belongs to the next process"


def test_the_end_of_a_program_that_did_not_read_lets_its_viewers_go_on(stage: Stage) -> None:
    viewer = stage.attach(window=4096)
    of(viewer).acknowledge(0)
    stage.pty.room = 0
    stage.terminal.type(of(viewer), 1, b"x" * (FULL_KEYBOARD_BYTES + 1))
    assert viewer.input_paused
    stage.print(b"y" * 10_000)
    stage.end()
    assert not viewer.input_paused, "its acknowledgements are behind its input"
    assert not viewer.of(wire.InputAck)
    of(viewer).acknowledge(4096)
    of(viewer).acknowledge(8192)
    assert viewer.output == stage.everything
    assert viewer.closed is not None


def test_pushed_output_is_delivered_like_any_other(stage: Stage, rng: random.Random) -> None:
    viewer = stage.attach()
    data = rng.randbytes(500_000)
    stage.terminal.data_received(bytearray(data))
    stage.time.run()
    assert viewer.output == data
    assert stage.counters.appended_bytes == len(data)
