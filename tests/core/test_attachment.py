"""Delivery to one viewer: every byte once and in order, within its window, gaps and sizes told."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from support.manual import CollectingOutlet, Stage, of
from terminal_service import wire
from terminal_service.attachment import CHUNK_BYTES, TURN_BYTES
from terminal_service.sizes import Size

if TYPE_CHECKING:
    import random

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
