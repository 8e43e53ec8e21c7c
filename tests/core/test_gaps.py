"""What a viewer is not sent, and how it is told: gaps, their size, and what they mean for its window."""

from __future__ import annotations

from typing import TYPE_CHECKING

from support.manual import CollectingOutlet, Stage, of
from terminal_service import wire
from terminal_service.attachment import CHUNK_BYTES, LIVE_LAG_BYTES, LIVE_TAIL_BYTES
from terminal_service.modes import REST
from terminal_service.sizes import Size

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

KIB = 1024


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


def test_output_that_may_be_missing_is_told_where_it_was(make_stage: Callable[..., Stage]) -> None:
    stage = make_stage().start()
    early = stage.attach()
    stage.print(b"before")
    stage.log.add_event("gap", {"reason": "torn", "bytes": None}, 1.0)
    stage.print(b"after")
    late = stage.attach(recover_from=0)
    resumed = stage.attach(recover_from=7)
    for viewer in (early, late):
        gap = viewer.last(wire.Gap)
        assert (gap.first, gap.last, gap.lost_bytes, gap.reason) == (6, 6, 0, "torn")
        sent = [message for message in viewer.sent if isinstance(message, wire.Output | wire.Gap)]
        assert sent[sent.index(gap) - 1] == viewer.of(wire.Output)[0]
        assert viewer.output == b"beforeafter"
    assert not resumed.of(wire.Gap)
    assert stage.counters.gaps["torn"] == 2


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
