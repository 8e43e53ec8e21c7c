"""Where a viewer begins: what it is told, and that it misses nothing in silence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from msgspec import UNSET

from support.manual import Stage, of
from terminal_service import wire
from terminal_service.entry import line_start
from terminal_service.errors import InvalidRequest
from terminal_service.modes import REST
from terminal_service.sizes import Size

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

KIB = 1024


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


@pytest.mark.parametrize(
    ("text", "start", "expected"),
    [
        (b"one\ntwo\n", 1, 4),
        (b"no newline", 3, 3),
        ("ü☃😀".encode(), 0, 0),
        ("ü☃😀".encode(), 1, 2),
        ("ü☃😀".encode(), 3, 5),
        ("ü☃😀".encode(), 6, 9),
        (b"\x80" * 10, 0, 3),
        (b"", 0, 0),
    ],
)
def test_a_tail_begins_where_decoding_can(stage: Stage, text: bytes, start: int, expected: int) -> None:
    stage.print(text)
    assert line_start(stage.log, start) == expected


def test_modes_are_known_however_much_output_one_wakeup_brings(make_stage: Callable[..., Stage]) -> None:
    stage = make_stage(retention_bytes=256 * KIB).start()
    stage.print(b"\x1b[?1049h" + b"x" * 2_000_000)
    stage.terminal.data_received(b"\x1b[?25l" + b"y" * 2_000_000)
    assert attached(stage, recover_from=0).preamble == REST + b"\x1b[?1049h\x1b[?25l"
