"""When a program has to wait for its viewers, and when it has not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from support.manual import CollectingOutlet, Stage, of
from terminal_service.backpressure import HIGH_WATER_BYTES, LOW_WATER_BYTES, STALL_SECONDS
from terminal_service.keyboard import HIGH_WATER_BYTES as FULL_KEYBOARD_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable

BEHIND = b"x" * (HIGH_WATER_BYTES + 1)


def full(stage: Stage, **options: Any) -> CollectingOutlet:
    """Attach a viewer whose connection takes nothing."""
    outlet = CollectingOutlet()
    outlet.room = 0
    return stage.attach(outlet, client_id=f"full {len(stage.terminal.attachments)}", **options)


def take(outlet: CollectingOutlet, nbytes: int | None) -> None:
    outlet.room = nbytes
    of(outlet).pump()


def test_a_program_waits_while_every_exact_writer_is_behind(stage: Stage) -> None:
    viewer = full(stage)
    stage.print(BEHIND[1:])
    assert not stage.pty.is_paused
    stage.print(b"x")
    assert stage.pty.is_paused
    assert stage.counters.pty_pauses == 1
    take(viewer, None)
    stage.time.run()
    assert not stage.pty.is_paused


def test_it_goes_on_below_the_low_mark_only(stage: Stage) -> None:
    viewer = full(stage)
    stage.print(BEHIND)
    viewer.room = 1
    while of(viewer).lag > LOW_WATER_BYTES:
        assert stage.pty.is_paused
        take(viewer, 1)
    assert not stage.pty.is_paused


def test_one_viewer_that_keeps_up_is_enough(stage: Stage) -> None:
    slow = full(stage)
    quick = stage.attach(client_id="quick")
    stage.print(BEHIND * 3)
    assert not stage.pty.is_paused
    stage.terminal.detach(of(quick))
    assert stage.pty.is_paused, "now everybody who is there is behind"
    stage.terminal.detach(of(slow))
    assert not stage.pty.is_paused, "with nobody there it runs on"
    stage.print(BEHIND * 3)
    assert not stage.pty.is_paused


def test_only_exact_writers_are_waited_for(stage: Stage) -> None:
    full(stage, role="viewer")
    full(stage, mode="live")
    frozen = full(stage, mode="frozen")
    stage.print(BEHIND)
    assert not stage.pty.is_paused
    of(frozen).set_mode("exact")
    stage.print(b"x")
    assert stage.pty.is_paused
    of(frozen).set_mode("live")
    assert not stage.pty.is_paused


def test_a_viewer_without_progress_is_waited_for_ten_seconds(make_stage: Callable[..., Stage]) -> None:
    stage = make_stage(retention_bytes=8 << 20).start()
    viewer = full(stage)
    stage.time.advance(3600)
    take(viewer, 1)
    stage.print(BEHIND * 2)
    assert len(viewer.output) == 64 * 1024
    assert stage.pty.is_paused
    stage.time.advance(STALL_SECONDS - 1.5)
    assert stage.pty.is_paused
    stage.time.advance(2.5)
    assert not stage.pty.is_paused
    stage.print(BEHIND * 5)
    assert not stage.pty.is_paused, "it catches up from the log"
    take(viewer, None)
    stage.time.run()
    assert viewer.output == stage.everything
    take(viewer, 0)
    stage.print(BEHIND)
    assert stage.pty.is_paused, "one that has come back counts again"


def test_progress_however_slow_is_progress(stage: Stage) -> None:
    viewer = full(stage)
    stage.print(BEHIND + b"x" * 65536 * 4)
    for _ in range(3):
        stage.time.advance(STALL_SECONDS - 2)
        take(viewer, 1)
        assert stage.pty.is_paused


def test_a_stalled_viewer_does_not_release_one_that_reads(stage: Stage) -> None:
    full(stage)
    slow = full(stage)
    stage.print(BEHIND + b"x" * 65536 * 8)
    for _ in range(4):
        stage.time.advance(STALL_SECONDS / 2)
        take(slow, 1)
    assert stage.pty.is_paused
    stage.time.advance(STALL_SECONDS * 2)
    assert not stage.pty.is_paused


def test_the_watch_ends_with_the_program(stage: Stage) -> None:
    full(stage)
    stage.print(BEHIND)
    stage.end()
    stage.time.advance(60)
    assert stage.counters.pty_pauses == 1


def test_a_paste_into_a_program_that_echoes_it_does_not_lock_up(stage: Stage) -> None:
    """Its viewer is read no further, so its acknowledgements are not either: the program must not wait for them."""
    viewer = stage.attach(window=100_000)
    of(viewer).acknowledge(0)
    stage.pty.room = 0
    stage.print(BEHIND * 2)
    assert stage.pty.is_paused
    stage.terminal.type(of(viewer), 1, b"x" * (FULL_KEYBOARD_BYTES + 1))
    assert viewer.input_paused
    assert not stage.pty.is_paused
    stage.print(BEHIND)
    assert not stage.pty.is_paused
    stage.pty.room = None
    stage.terminal.resume_writing()
    assert not viewer.input_paused
    stage.print(b"x")
    assert stage.pty.is_paused, "its acknowledgements are read again, and waited for"
    while of(viewer).lag:
        of(viewer).acknowledge(of(viewer).position)
        stage.time.run()
    assert not stage.pty.is_paused
    assert viewer.output == stage.everything


def test_output_before_anybody_is_connected_is_no_trouble(make_stage: Callable[..., Stage]) -> None:
    stage = make_stage()
    viewer = full(stage)
    stage.print(BEHIND)
    assert not stage.pty.is_paused
    stage.start()
    assert stage.pty.is_paused
    take(viewer, None)
    stage.time.run()
    assert not stage.pty.is_paused


def test_a_viewer_whose_connection_is_being_closed_is_not_waited_for(stage: Stage) -> None:
    viewer = full(stage)
    stage.print(BEHIND)
    assert stage.pty.is_paused
    of(viewer).close(1000, "detached")
    assert not stage.pty.is_paused
