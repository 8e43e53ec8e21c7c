"""Delivery to one viewer: every byte once and in order, within its window, gaps and sizes told."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.manual import CollectingOutlet, Stage, of
from terminal_service import wire
from terminal_service.attachment import CHUNK_BYTES, LIVE_LAG_BYTES, LIVE_TAIL_BYTES, TURN_BYTES
from terminal_service.entry import line_start
from terminal_service.modes import REST
from terminal_service.sizes import Size

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

KIB = 1024


def kinds(messages: list[wire.ServerMessage]) -> list[str]:
    return [str(message.__struct_config__.tag) for message in messages]


def test_output_is_delivered_as_it_comes(stage: Stage) -> None:
    viewer = stage.attach()
    assert kinds(viewer.take()) == ["attached", "viewers", "replay_end", "resize"]
    stage.print(b"hello")
    stage.print(b" world")
    assert viewer.sent == [wire.Output(b"hello", 5, 0.0, replay=False), wire.Output(b" world", 11, 0.0, replay=False)]


def test_what_was_there_is_replayed_marked_and_summed_up(stage: Stage, rng: random.Random) -> None:
    there = rng.randbytes(200_000)
    stage.print(there)
    viewer = stage.attach(recover_from=1000, pump=False)
    stage.print(b"later")
    outputs = viewer.of(wire.Output)
    assert viewer.output == there[1000:] + b"later"
    assert all(len(output.data) <= CHUNK_BYTES for output in outputs)
    assert [output.replay for output in outputs] == [True] * (len(outputs) - 1) + [False]
    assert outputs[-2].seq == len(there), "no chunk is half replayed"
    end = viewer.last(wire.ReplayEnd)
    assert (end.seq, end.sha256) == (len(there), hashlib.sha256(there[1000:]).hexdigest())
    assert viewer.sent.index(end) == viewer.sent.index(outputs[-1]) - 1
    assert len(viewer.of(wire.ReplayEnd)) == 1


def test_nothing_there_is_summed_up_too(stage: Stage) -> None:
    assert stage.attach().last(wire.ReplayEnd) == wire.ReplayEnd(seq=0, sha256=hashlib.sha256().hexdigest())


def test_a_long_backlog_is_sent_in_turns(stage: Stage) -> None:
    stage.print(b"x" * (3 * TURN_BYTES))
    viewer = stage.attach(pump=False)
    of(viewer).pump()
    assert len(viewer.output) == TURN_BYTES
    of(viewer).pump()  # whoever calls: the turn that was asked for stays one
    assert len(viewer.output) == 2 * TURN_BYTES
    assert stage.time.run() == 1
    assert len(viewer.output) == 3 * TURN_BYTES


def test_nothing_is_sent_to_a_connection_that_is_full(stage: Stage) -> None:
    viewer = CollectingOutlet()
    viewer.room = 0
    stage.attach(viewer)
    stage.print(b"x" * 300_000)
    stage.terminal.resize(Size(10, 10))
    assert viewer.output == b""
    assert not viewer.of(wire.Resized)
    viewer.room = 1
    of(viewer).pump()
    assert len(viewer.output) == CHUNK_BYTES, "one chunk over the mark at most"
    viewer.room = None
    of(viewer).pump()
    stage.time.run()
    assert viewer.output == stage.everything


def test_sizes_come_in_order_at_their_positions(stage: Stage) -> None:
    viewer = CollectingOutlet()
    viewer.room = 0
    stage.attach(viewer)
    stage.print(b"abc")
    stage.terminal.resize(Size(30, 100), "c")
    stage.print(b"defg")
    stage.terminal.resize(Size(31, 100), "c")
    stage.terminal.resize(Size(32, 100), "d")
    viewer.room = None
    of(viewer).pump()
    told = [message for message in viewer.sent if isinstance(message, wire.Output | wire.Resized)]
    assert told == [
        wire.Resized(rows=24, cols=80, seq=0, client_id=""),
        wire.Output(b"abc", 3, 0.0, replay=False),
        wire.Resized(rows=30, cols=100, seq=3, client_id="c"),
        wire.Output(b"defg", 7, 0.0, replay=False),
        wire.Resized(rows=32, cols=100, seq=7, client_id="d"),
    ]
    stage.terminal.resize(Size(33, 100), "d")
    assert viewer.last(wire.Resized).rows == 33, "one at the same position that was told before"


def test_a_viewer_that_does_not_acknowledge_has_no_window(stage: Stage) -> None:
    viewer = stage.attach(window=4096)
    stage.print(b"x" * 100_000)
    assert len(viewer.output) == 100_000
    assert not viewer.of(wire.FlowPause)


@pytest.mark.parametrize("by", ["seq", "bytes"])
def test_a_viewer_that_acknowledges_has_at_most_its_window_outstanding(stage: Stage, by: str) -> None:
    stage.print(b"y" * 50_000)
    viewer = stage.attach(recover_from=50_000, window=10_000)
    attachment = of(viewer)
    attachment.acknowledge(0)  # says nothing about what it was never sent
    stage.print(b"x" * 35_000)
    assert len(viewer.output) == 10_000
    assert viewer.of(wire.FlowPause) == [wire.FlowPause(bytes=10_000)]
    assert stage.counters.flow_pauses == 1
    if by == "seq":
        attachment.acknowledge(54_000)
    else:
        attachment.acknowledge_bytes(4_000, 50_000)
    assert len(viewer.output) == 14_000
    assert viewer.of(wire.FlowResume) == [wire.FlowResume(bytes=4_000)]
    assert len(viewer.of(wire.FlowPause)) == 2
    for position in range(54_000, 85_000, 3_000):
        if by == "seq":
            attachment.acknowledge(position)
        else:
            attachment.acknowledge_bytes(3_000, 50_000)
        assert attachment.position - attachment.delivered <= 10_000
    assert viewer.output == b"x" * 35_000


def test_acknowledgements_beyond_what_was_sent_or_backwards_count_as_what_was_sent(stage: Stage) -> None:
    viewer = stage.attach(window=5_000)
    stage.print(b"x" * 4_000)
    of(viewer).acknowledge(2**62)
    assert of(viewer).delivered == 4_000
    of(viewer).acknowledge(100)
    assert of(viewer).delivered == 4_000
    of(viewer).acknowledge_bytes(2**62, 0)
    stage.print(b"x" * 8_000)
    assert len(viewer.output) == 9_000


def test_a_larger_window_lets_delivery_go_on_and_says_so(stage: Stage) -> None:
    viewer = stage.attach(window=4_096)
    of(viewer).acknowledge(0)
    stage.print(b"x" * 10_000)
    assert len(viewer.output) == 4_096
    of(viewer).set_window(8_000)
    assert len(viewer.output) == 8_000
    assert viewer.of(wire.FlowResume) == [wire.FlowResume(bytes=3_904)]
    assert [pause.bytes for pause in viewer.of(wire.FlowPause)] == [4_096, 8_000]


def test_a_frozen_viewer_gets_nothing_until_it_thaws(stage: Stage) -> None:
    viewer = stage.attach()
    of(viewer).set_mode("frozen")
    viewer.take()
    stage.print(b"x" * 100)
    stage.terminal.resize(Size(5, 5))
    assert viewer.sent == []
    of(viewer).set_mode("exact")
    assert viewer.output == b"x" * 100
    assert viewer.last(wire.Resized).rows == 5


def test_what_was_trimmed_is_told_with_its_size_and_modes(make_stage: Callable[..., Stage]) -> None:
    stage = make_stage(retention_bytes=64 * KIB).start()
    viewer = stage.attach(mode="frozen")
    stage.print(b"\x1b[?1049h\x1b[?25l")
    stage.terminal.resize(Size(10, 20), "c")
    for _ in range(5):
        stage.print(b"x" * 50_000)
    first = stage.log.first
    of(viewer).set_mode("exact")
    stage.time.run()
    gap = viewer.last(wire.Gap)
    assert (gap.first, gap.last, gap.lost_bytes, gap.reason) == (0, first, first, "trimmed")
    assert gap.preamble == REST + b"\x1b[?1049h\x1b[?25l"
    assert viewer.output == stage.everything[first:]
    assert (stage.counters.gaps["trimmed"], stage.counters.gap_bytes["trimmed"]) == (1, first)
    size = viewer.last(wire.Resized)
    assert (size.rows, size.cols) == (10, 20), "the size that holds behind the gap"
    assert viewer.sent.index(size) < viewer.sent.index(gap)


def test_a_live_viewer_skips_ahead_and_is_told(make_stage: Callable[..., Stage]) -> None:
    stage = make_stage(retention_bytes=8 << 20).start()
    viewer = CollectingOutlet()
    viewer.room = 0
    stage.attach(viewer, mode="live")
    line = b"0123456789\n"
    stage.print(line * (LIVE_LAG_BYTES // len(line) + CHUNK_BYTES))
    stage.terminal.resize(Size(7, 7), "c")
    stage.print(line * 10)
    viewer.room = None
    of(viewer).pump()
    stage.time.run()
    gap = viewer.last(wire.Gap)
    assert gap.reason == "skipped"
    assert gap.lost_bytes == gap.last - gap.first
    assert stage.everything[gap.last - 1 : gap.last] == b"\n", "at the beginning of a line"
    assert LIVE_TAIL_BYTES - len(line) <= stage.log.head - gap.last <= LIVE_TAIL_BYTES
    assert viewer.output == stage.everything[: gap.first] + stage.everything[gap.last :]
    assert viewer.last(wire.Resized).rows == 7
    assert stage.counters.gap_bytes["skipped"] == gap.lost_bytes


def test_a_live_viewer_within_its_lag_gets_every_byte(make_stage: Callable[..., Stage]) -> None:
    stage = make_stage(retention_bytes=8 << 20).start()
    viewer = CollectingOutlet()
    viewer.room = 0
    stage.attach(viewer, mode="live")
    stage.print(b"x" * LIVE_LAG_BYTES)
    viewer.room = None
    of(viewer).pump()
    stage.time.run()
    assert not viewer.of(wire.Gap)
    assert viewer.output == stage.everything


def test_a_live_viewer_is_not_flooded_beyond_its_window(make_stage: Callable[..., Stage]) -> None:
    stage = make_stage(retention_bytes=8 << 20).start()
    viewer = stage.attach(mode="live", window=10_000)
    of(viewer).acknowledge(0)
    for _ in range(20):
        stage.print(b"x" * (LIVE_LAG_BYTES // 2))
    assert len(viewer.output) == 10_000, "skipping is no acknowledgement"
    assert not viewer.of(wire.Gap)
    of(viewer).acknowledge(6_000)
    stage.time.run()
    assert len(viewer.of(wire.Gap)) == 1
    assert len(viewer.output) == 16_000


def test_what_was_skipped_is_neither_outstanding_nor_delivered(make_stage: Callable[..., Stage]) -> None:
    stage = make_stage(retention_bytes=8 << 20).start()
    viewer = stage.attach(mode="live", window=100_000, client_id="c")
    attachment = of(viewer)
    attachment.acknowledge(0)
    stage.print(b"x" * 60_000)
    viewer.room = 0
    stage.print(b"x" * 2 * LIVE_LAG_BYTES)
    viewer.room = None
    attachment.pump()
    stage.time.run()
    gap = viewer.last(wire.Gap)
    assert gap.first == 60_000
    assert len(viewer.output) == 100_000, "a window, the bytes before the gap counted, those in it not"
    assert attachment.delivered == 0
    attachment.acknowledge_bytes(30_000, 0)
    assert attachment.delivered == 30_000
    attachment.acknowledge_bytes(40_000, 0)
    assert attachment.delivered == gap.last + 10_000
    stage.terminal.detach(attachment)
    again = stage.attach(client_id="c", recover_from="last_sequence")
    assert again.last(wire.Attached).seq == gap.last + 10_000


def test_a_viewer_that_left_before_a_gap_reached_it_gets_what_was_skipped(make_stage: Callable[..., Stage]) -> None:
    stage = make_stage(retention_bytes=8 << 20).start()
    viewer = CollectingOutlet()
    stage.attach(viewer, mode="live", client_id="c")
    of(viewer).acknowledge(0)
    stage.print(b"x" * 1000)
    viewer.room = 0
    stage.print(b"x" * 2 * LIVE_LAG_BYTES)
    viewer.room = None
    of(viewer).pump()
    assert viewer.of(wire.Gap)
    stage.terminal.detach(of(viewer))
    again = stage.attach(client_id="c", recover_from="last_sequence")
    assert again.last(wire.Attached).seq == 0
    assert again.output == stage.everything


def test_gaps_that_nobody_acknowledges_cost_little(
    make_stage: Callable[..., Stage], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("terminal_service.attachment.GAPS_LIMIT", 10)
    stage = make_stage(retention_bytes=64 * KIB).start()
    viewer = CollectingOutlet()
    viewer.room = 0
    stage.attach(viewer, window=64 << 20)
    for _ in range(20):
        viewer.room = 0
        stage.print(b"x" * 100 * KIB)
        viewer.room = 1
        of(viewer).pump()
    assert len(viewer.of(wire.Gap)) > 10
    assert len(of(viewer)._gaps) <= 10
    of(viewer).acknowledge_bytes(len(viewer.output), 0)
    assert of(viewer).delivered == of(viewer).position
    assert of(viewer)._outstanding == 0


def test_the_end_is_told_after_the_last_byte(stage: Stage) -> None:
    viewer = CollectingOutlet()
    viewer.room = 0
    stage.attach(viewer)
    stage.print(b"x" * 100_000)
    stage.end(reason="ttl")
    assert not viewer.of(wire.SessionEnded)
    assert viewer.closed is None
    viewer.room = None
    of(viewer).pump()
    assert viewer.output == stage.everything
    assert viewer.sent[-1] == viewer.last(wire.SessionEnded)
    assert viewer.last(wire.SessionEnded).reason == "ttl"
    assert viewer.closed == (4410, "session ended")
    of(viewer).pump()
    of(viewer).acknowledge(1)
    of(viewer).set_mode("live")


def test_a_closed_viewer_is_sent_nothing_more(stage: Stage) -> None:
    viewer = stage.attach()
    viewer.take()
    stage.terminal.detach(of(viewer))
    stage.terminal.detach(of(viewer))
    stage.print(b"x" * 100)
    of(viewer).pump()
    assert viewer.sent == []


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


STEPS = st.one_of(
    st.tuples(st.just("print"), st.integers(1, 90_000)),
    st.tuples(st.just("room"), st.one_of(st.none(), st.integers(0, 60_000))),
    st.tuples(st.just("ack"), st.integers(0, 100)),
    st.tuples(st.just("ack_bytes"), st.integers(0, 20_000)),
    st.tuples(st.just("mode"), st.sampled_from(["exact", "live", "frozen"])),
    st.tuples(st.just("window"), st.integers(4_096, 200_000)),
    st.tuples(st.just("resize"), st.integers(1, 100)),
    st.tuples(st.just("again"), st.none()),
)


class Follower:
    """What a viewer may conclude from all that it was sent."""

    def __init__(self, stage: Stage, outlet: CollectingOutlet) -> None:
        attached = outlet.last(wire.Attached)
        self.stage = stage
        self.position = attached.seq
        self.rows = attached.rows

    def follow(self, messages: list[wire.ServerMessage]) -> None:
        for message in messages:
            match message:
                case wire.Output(data=data, seq=seq):
                    assert bytes(data) == self.stage.everything[self.position : seq]
                    assert seq == self.position + len(data)
                    self.position = seq
                case wire.Gap(first=first, last=last, lost_bytes=lost):
                    assert (first, last - first) == (self.position, lost)
                    assert lost > 0
                    self.position = last
                case wire.Resized(rows=rows):
                    self.rows = rows


@settings(max_examples=60)
@given(steps=st.lists(STEPS, max_size=40))
def test_whatever_happens_no_byte_is_lost_doubled_or_stuck(
    steps: list[tuple[str, object]],
) -> None:
    stage = Stage(retention_bytes=256 * KIB).start()
    try:
        viewer = stage.attach(client_id="c", window=20_000, recover_from=0)
        follower = Follower(stage, viewer)
        for kind, value in steps:
            if kind == "again":
                viewer = stage.attach(client_id="c", recover_from="last_sequence", mode=of(viewer).mode)
                follower = Follower(stage, viewer)
            play(stage, viewer, kind, value)
            follower.follow(viewer.take())
            assert follower.position == of(viewer).position
        viewer.room = None
        of(viewer).set_mode("exact")
        while follower.position < stage.log.head:
            before = follower.position
            of(viewer).acknowledge(follower.position)
            stage.time.run()
            follower.follow(viewer.take())
            assert follower.position > before, "delivery is stuck"
        of(viewer).acknowledge(follower.position)
        follower.follow(viewer.take())
        assert follower.rows == stage.terminal.size.rows
    finally:
        stage.close()


def play(stage: Stage, viewer: CollectingOutlet, kind: str, value: object) -> None:
    attachment = of(viewer)
    number = value if isinstance(value, int) else 0
    match kind:
        case "print":
            stage.print(bytes(number % 251 for _ in range(1)) * number)
        case "room":
            viewer.room = None if value is None else number
            attachment.pump()
        case "ack":
            attachment.acknowledge(attachment.position * number // 100)
        case "ack_bytes":
            attachment.acknowledge_bytes(number, attachment._start)
        case "mode":
            attachment.set_mode(str(value))
        case "window":
            attachment.set_window(number)
        case "resize":
            stage.terminal.resize(Size(number, 80))
    stage.time.run()
