"""The size of a terminal: as its viewers wish, told where it changed, and how a program is made to repaint."""

from __future__ import annotations

from replay.memory import MemoryStore
from support.manual import Stage, of
from terminal_service import wire
from terminal_service.sizes import Size, SizePolicy

KIB = 1024


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
