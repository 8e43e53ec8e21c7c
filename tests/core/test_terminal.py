"""A terminal and its viewers: joining, leaving, coming back, sizes, presence, the end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from msgspec import UNSET

from backends.base import ExitStatus, Lost
from replay.memory import MemoryStore
from support.manual import Stage, of
from terminal_service import wire
from terminal_service.errors import InvalidRequest, LimitReached, SessionOver
from terminal_service.keyboard import HIGH_WATER_BYTES as FULL_KEYBOARD_BYTES
from terminal_service.modes import REST
from terminal_service.presence import PRESENCE_SECONDS
from terminal_service.sizes import Size, SizePolicy

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

KIB = 1024


# -- where a viewer begins


def attached(stage: Stage, **options: Any) -> wire.Attached:
    return stage.attach(pump=False, **options).last(wire.Attached)


def test_an_attach_is_answered_with_what_holds(stage: Stage) -> None:
    stage.print(b"x" * 100)
    viewer = stage.attach(client_id="c", role="viewer", mode="live", recover_from=40, window=5000)
    assert viewer.sent[0] == wire.Attached(
        session_id="s",
        terminal_id="main",
        client_id="c",
        role="viewer",
        mode="live",
        recover="exact",
        seq=40,
        head=100,
        first=0,
        epoch=stage.log.epoch,
        rows=24,
        cols=80,
        window=5000,
        heartbeat_interval=60.0,
        input_n=0,
    )
    assert viewer.output == b"x" * 60


def test_the_whole_is_given_from_zero(stage: Stage, rng: random.Random) -> None:
    stage.print(rng.randbytes(300_000))
    viewer = stage.attach(recover_from=0)
    assert viewer.output == stage.everything
    assert (viewer.last(wire.Attached).recover, viewer.last(wire.Attached).lost_bytes) == ("exact", UNSET)


def test_a_position_no_longer_kept_is_a_gap(make_stage: Callable[..., Stage]) -> None:
    stage = make_stage(retention_bytes=64 * KIB).start()
    stage.print(b"\x1b[?1049h" + b"x" * 200_000)
    reply = attached(stage, recover_from=1000)
    first = stage.log.first
    assert (reply.recover, reply.seq, reply.first, reply.lost_bytes) == ("gap", first, first, first - 1000)
    assert reply.preamble == REST + b"\x1b[?1049h", "it has seen part of the output, and is in whatever modes"
    assert (stage.counters.gaps["trimmed"], stage.counters.gap_bytes["trimmed"]) == (1, first - 1000)


def test_a_position_of_another_epoch_is_a_gap_whatever_it_is(stage: Stage) -> None:
    stage.print(b"x" * 100)
    for position in (0, 50, 10**9):
        reply = attached(stage, recover_from=position, epoch="f" * 16)
        assert (reply.recover, reply.seq) == ("gap", 0)
    assert attached(stage, recover_from=50, epoch=stage.log.epoch).recover == "exact"


def test_a_position_beyond_the_head_is_refused_and_changes_nothing(stage: Stage) -> None:
    stage.print(b"x" * 100)
    assert attached(stage, recover_from=100).seq == 100
    viewer = stage.attach(client_id="same")
    with pytest.raises(InvalidRequest) as refused:
        stage.attach(client_id="same", recover_from=101)
    assert refused.value.field == "recover_from"
    assert viewer.closed is None, "the connection that was there is not replaced by one that is refused"
    stage.print(b"y")
    assert viewer.output.endswith(b"y")


def test_without_a_position_the_tail_begins_at_a_line_behind_a_preamble(stage: Stage) -> None:
    stage.print(b"\x1b[?2004h\x1b]0;title\x07" + b"a line\n" * 1000)
    viewer = stage.attach(tail_bytes=100)
    reply = viewer.last(wire.Attached)
    assert (reply.recover, reply.lost_bytes) == ("tail", UNSET)
    assert reply.preamble == b"\x1b]2;title\x07\x1b[?2004h"
    assert viewer.output == b"a line\n" * 14
    assert attached(stage, tail_bytes=0).seq == stage.log.head
    whole = attached(stage, tail_bytes=10**9)
    assert (whole.seq, whole.preamble) == (0, UNSET)


def test_the_last_position_continues_where_the_client_was(stage: Stage) -> None:
    stage.print(b"x" * 100)
    assert attached(stage, client_id="c", recover_from="last_sequence").seq == 0, "a client unknown gets all"
    viewer = stage.attach(client_id="d", recover_from="last_sequence")
    stage.terminal.detach(of(viewer))
    stage.print(b"y" * 50)
    assert attached(stage, client_id="d", recover_from="last_sequence").seq == 100
    assert attached(stage, client_id="d", user="bob", recover_from="last_sequence").seq == 0, "of another user"
    assert stage.counters.reconnections == 1


def test_the_last_position_of_one_that_acknowledges_is_what_it_acknowledged(stage: Stage) -> None:
    viewer = stage.attach(client_id="c")
    stage.print(b"x" * 100)
    of(viewer).acknowledge(60)
    reply = attached(stage, client_id="c", recover_from="last_sequence")  # the old connection is still there
    assert (reply.seq, reply.recover) == (60, "exact")


def test_the_last_position_of_a_client_unknown_is_a_gap_where_output_is_gone(make_stage: Callable[..., Stage]) -> None:
    stage = make_stage(retention_bytes=64 * KIB).start()
    stage.print(b"x" * 100_000)
    reply = attached(stage, recover_from="last_sequence")
    assert (reply.recover, reply.lost_bytes, reply.seq) == ("gap", stage.log.first, stage.log.first)


def test_the_size_is_that_of_the_position(stage: Stage) -> None:
    stage.print(b"x" * 10)
    stage.terminal.resize(Size(50, 100))
    stage.print(b"x" * 10)
    for position, rows in ((0, 24), (9, 24), (10, 50), (20, 50)):
        assert attached(stage, recover_from=position, client_id=str(position)).rows == rows


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


# -- sizes


def test_reported_sizes_follow_the_policy_and_are_told(stage: Stage) -> None:
    ann, bob = stage.attach(client_id="a"), stage.attach(client_id="b")
    watcher = stage.attach(client_id="w", role="viewer")
    stage.terminal.report_size(of(ann), Size(40, 100))
    stage.terminal.report_size(of(bob), Size(50, 90))
    assert stage.terminal.size == Size(40, 90)
    assert stage.pty.sizes == [(40, 100), (40, 90)]
    assert watcher.last(wire.Resized) == wire.Resized(rows=40, cols=90, seq=0, client_id="b")
    stage.terminal.report_size(of(watcher), Size(5, 5))
    assert stage.terminal.size == Size(40, 90), "the size of one who only looks does not count"
    assert watcher.last(wire.Resized) == wire.Resized(rows=40, cols=90, seq=0, client_id="")
    stage.terminal.detach(of(ann))
    assert stage.terminal.size == Size(50, 90)
    stage.terminal.detach(of(bob))
    assert stage.terminal.size == Size(50, 90), "with nobody there it stays"
    assert stage.activity.count("resize") == 3


def test_a_policy_can_be_changed(stage: Stage) -> None:
    ann, bob = stage.attach(client_id="a"), stage.attach(client_id="b", is_owner=False)
    stage.terminal.report_size(of(ann), Size(40, 100))
    stage.terminal.report_size(of(bob), Size(50, 90))
    stage.terminal.set_policy(SizePolicy.OWNER)
    assert stage.terminal.size == Size(40, 100)
    stage.terminal.set_policy(SizePolicy.LATEST)
    assert stage.terminal.size == Size(50, 90)
    stage.terminal.set_policy(SizePolicy.FIXED)
    stage.terminal.report_size(of(ann), Size(10, 10))
    assert stage.terminal.size == Size(50, 90)
    stage.terminal.resize(Size(1, 1))
    assert stage.terminal.size == Size(1, 1)
    events = len(stage.pty.sizes)
    stage.terminal.resize(Size(1, 1))
    assert len(stage.pty.sizes) == events, "the same size again is no resize"


def test_a_log_that_was_there_before_keeps_its_last_size() -> None:
    log = MemoryStore().create("s/main", 64 * KIB)
    Stage(log).terminal.resize(Size(33, 44))
    again = Stage(log)
    assert again.terminal.size == Size(33, 44)
    assert again.attach().last(wire.Attached).rows == 33
    log.close()


# -- repainting


def test_a_full_screen_program_is_asked_to_repaint_for_who_joins_late(stage: Stage) -> None:
    stage.print(b"\x1b[?1049h" + b"x" * 100)
    stage.attach(client_id="a", recover_from=50)
    stage.time.advance(1)
    assert stage.pty.sizes == [], "one that misses nothing needs no repaint"
    viewer = stage.attach(client_id="b", tail_bytes=10)
    assert stage.pty.sizes == [(23, 80)]
    stage.time.advance(1)
    assert stage.pty.sizes == [(23, 80), (24, 80)]
    assert [message.rows for message in viewer.of(wire.Resized)] == [], "the terminal's size did not change"
    stage.print(b"\x1b[?1049l")
    stage.attach(client_id="c", tail_bytes=10)
    assert len(stage.pty.sizes) == 2, "at a prompt there is nothing to repaint"


def test_a_repaint_ends_with_the_size_that_holds_then(stage: Stage) -> None:
    stage.print(b"\x1b[?1049h")
    viewer = stage.attach()
    stage.terminal.report_size(of(viewer), Size(50, 50))
    stage.time.advance(1)
    assert stage.pty.sizes[-1] == (50, 50)


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
    with pytest.raises(SessionOver):
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


def test_modes_are_known_however_much_output_one_wakeup_brings(make_stage: Callable[..., Stage]) -> None:
    stage = make_stage(retention_bytes=256 * KIB).start()
    stage.print(b"\x1b[?1049h" + b"x" * 2_000_000)
    stage.terminal.data_received(b"\x1b[?25l" + b"y" * 2_000_000)
    assert attached(stage, recover_from=0).preamble == REST + b"\x1b[?1049h\x1b[?25l"
