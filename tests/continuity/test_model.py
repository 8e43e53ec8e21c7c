"""C4: attach, detach, output, resize, trim, expire, end, crash in any order, against a model that is a bytes object."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    precondition,
    rule,
    run_state_machine_as_test,
)

from backends.base import ExitStatus, Lost
from support.scripted import Viewer, attach
from support.transcript import Transcript
from support.world import ENDED_SECONDS, KIB, TTL_SECONDS, World
from terminal_service.errors import InvalidRequest
from terminal_service.sizes import Size

if TYPE_CHECKING:
    from collections.abc import Callable

STEPS = 50
CALM_STEPS = 15
NUMBERS = st.integers(0, 1 << 16)


class Machine(World):
    """What may happen, in any order."""

    @precondition(lambda self: len(self.living) < 3)
    @rule(retention=st.sampled_from([64 * KIB, 100_000, 256 * KIB]))
    def create(self, retention: int) -> None:
        self.open_session(retention)

    @precondition(World.has_running)
    @rule(which=NUMBERS, seed=NUMBERS, size=st.sampled_from([1, 3, 100, 5_000, 70_000, 200_000]))
    def print(self, which: int, seed: int, size: int) -> None:
        model = self.pick(which, running=True)
        data = random.Random(seed).randbytes(size)
        model.print(data)
        model.pty.print(data)
        self.stage.settle()

    @precondition(lambda self: self.living)
    @rule(
        which=NUMBERS,
        name=st.sampled_from(["a0", "a1", "b2", "c"]),
        start=st.sampled_from(["memory", "memory", "memory", "none", "zero", "last"]),
        mode=st.sampled_from(["exact", "exact", "live", "frozen"]),
        capacity=st.sampled_from([None, None, 0, 1_000, 50_000]),
    )
    def attach(self, which: int, name: str, start: str, mode: str, capacity: int | None) -> None:
        self.open_viewer(self.pick(which), name, start, mode, capacity)

    @precondition(lambda self: self.living)
    @rule(which=NUMBERS, ahead=st.integers(1, 1 << 40))
    def attach_beyond_the_head(self, which: int, ahead: int) -> None:
        model = self.pick(which)
        viewer = Viewer("lost", Transcript())
        with pytest.raises(InvalidRequest):
            attach(self.stage.sessions, model.session_id, viewer, recover_from=len(model.printed) + ahead)

    @precondition(World.has_viewers)
    @rule(which=NUMBERS)
    def detach(self, which: int) -> None:
        model, viewer, attachment = self.pick_viewer(which)
        self.terminal(model).detach(attachment)
        self.note_delivered(model, [viewer])
        model.viewers.remove(viewer)

    @precondition(World.has_viewers)
    @rule(which=NUMBERS, capacity=st.sampled_from([None, 0, 10, 100_000]))
    def read(self, which: int, capacity: int | None) -> None:
        _, viewer, _ = self.pick_viewer(which)
        viewer.more(capacity)
        self.stage.settle()

    @precondition(World.has_viewers)
    @rule(which=NUMBERS, back=st.sampled_from([0, 0, 1_000, 300_000]))
    def acknowledge(self, which: int, back: int) -> None:
        _, viewer, attachment = self.pick_viewer(which)
        assert viewer.transcript.position is not None
        attachment.acknowledge(max(0, viewer.transcript.position - back))
        self.stage.settle()

    @precondition(World.has_viewers)
    @rule(which=NUMBERS, mode=st.sampled_from(["exact", "live", "frozen"]))
    def change_mode(self, which: int, mode: str) -> None:
        _, _, attachment = self.pick_viewer(which)
        attachment.set_mode(mode)
        self.stage.settle()

    @precondition(World.has_typists)
    @rule(which=NUMBERS, data=st.binary(min_size=1, max_size=20), resend=st.integers(0, 3))
    def type(self, which: int, data: bytes, resend: int) -> None:
        model, viewer, attachment = self.pick_viewer(which, running=True)
        sent = model.sent.setdefault(viewer.client_id, [])
        first, errors = max(1, len(sent) + 1 - resend), len(viewer.errors)
        sent.append(data)
        model.typed += data
        for number in range(first, len(sent) + 1):
            self.terminal(model).type(attachment, number, sent[number - 1])
        assert viewer.errors[errors:] == []
        if len(model.pty.typed) == len(model.typed):
            assert viewer.acked_n == len(sent)
        self.bump(model)

    @precondition(World.has_typists)
    @rule(which=NUMBERS)
    def type_out_of_order(self, which: int) -> None:
        model, viewer, attachment = self.pick_viewer(which, running=True)
        before = len(viewer.errors)
        number = len(model.sent.get(viewer.client_id, [])) + 2
        self.terminal(model).type(attachment, number, b"never to be written")
        assert [error["expected"] for error in viewer.errors[before:]] == [number - 1]

    @precondition(World.has_running)
    @rule(which=NUMBERS, room=st.sampled_from([None, None, 0, 7]))
    def program_reads(self, which: int, room: int | None) -> None:
        self.pick(which, running=True).pty.read_more(room)

    @precondition(World.has_typists)
    @rule(which=NUMBERS, rows=st.integers(1, 50), cols=st.integers(1, 50))
    def resize(self, which: int, rows: int, cols: int) -> None:
        model, _, attachment = self.pick_viewer(which, running=True)
        self.terminal(model).report_size(attachment, Size(rows, cols))
        self.bump(model)
        self.stage.settle()
        sizes = [v.attachment.size for v in model.viewers if v.attachment is not None and v.attachment.size]
        smallest = (min(size.rows for size in sizes), min(size.cols for size in sizes))
        assert self.terminal(model).size == smallest
        assert smallest == (24, 80) or model.pty.sizes[-1] == smallest

    @precondition(World.has_running)
    @rule(which=NUMBERS, back=st.integers(0, 100_000))
    def trim(self, which: int, back: int) -> None:
        model = self.pick(which, running=True)
        model.trim(len(model.printed) - back)
        self.terminal(model).log.trim(len(model.printed) - back)

    @precondition(lambda self: self.living)
    @rule(seconds=st.sampled_from([1.0, TTL_SECONDS / 2, TTL_SECONDS - 1]))
    def time_passes(self, seconds: float) -> None:
        self.pass_time(seconds)

    # Misfortunes are rare, or nothing ever grows old enough to be interesting.

    @precondition(lambda self: self.calm_steps >= CALM_STEPS)
    @rule(
        which=NUMBERS,
        kind=st.sampled_from(["exit", "delete", "ttl", "forget", "crash"]),
        status=st.sampled_from([ExitStatus(code=7), ExitStatus(signal=15), ExitStatus(lost=Lost.LINK)]),
        last=st.binary(max_size=100),
    )
    def misfortune(self, which: int, kind: str, status: ExitStatus, last: bytes) -> None:
        self.calm_steps = 0
        if kind == "ttl":
            self.pass_time(TTL_SECONDS)
        elif kind == "forget":
            self.pass_time(ENDED_SECONDS)
        elif kind == "crash":
            self.crash()
        elif self.has_running():
            model = self.pick(which, running=True)
            if kind == "exit":
                self.program_ends(model, status, last)
            else:
                self.delete(model)


@pytest.mark.full
@pytest.mark.timeout(400)
def test_any_order_of_events_agrees_with_the_model(size: Callable[[int, int], int]) -> None:
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=size(2_000, 20_000) // STEPS,
            stateful_step_count=STEPS,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_a_size_that_changed_in_skipped_bytes_is_told_where_the_viewer_is() -> None:
    state = Machine()
    try:
        state.begin()
        state.time_passes(seconds=TTL_SECONDS - 1)
        state.print(seed=0, size=1, which=1)
        state.attach(capacity=None, mode="frozen", name="a0", start="memory", which=1)
        for _ in range(3):
            state.time_passes(seconds=1.0)
        state.resize(cols=1, rows=1, which=0)
        state.print(seed=0, size=70_000, which=0)
        state.time_passes(seconds=1.0)
        state.time_passes(seconds=TTL_SECONDS - 1)
        state.change_mode(mode="exact", which=0)
        state.no_viewer_was_told_anything_untrue()
    finally:
        state.teardown()
