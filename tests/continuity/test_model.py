"""C4: attach, detach, output, resize, trim, expire, end, crash in any order, against a model that is a bytes object."""

from __future__ import annotations

import random
import shutil
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from backends.base import ExitStatus, Lost
from replay.file import FileStore
from replay.memory import MemoryStore
from support.same import assert_same
from support.scripted import HandClock, ScriptedBackend, Stage, Viewer, attach
from support.transcript import Transcript
from terminal_service.counters import Counters
from terminal_service.errors import InvalidRequest, UnknownSession
from terminal_service.records import FileRecords, MemoryRecords
from terminal_service.session import SessionSpec, State
from terminal_service.sessions import Sessions
from terminal_service.settings import Settings
from terminal_service.sizes import Size

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.scripted import ScriptedPty
    from terminal_service.attachment import Attachment
    from terminal_service.session import Session
    from terminal_service.terminal import Terminal

KIB = 1024
STEPS = 50
TTL_SECONDS = 100.0
ENDED_SECONDS = 1000.0
ORDER = list(State)
CALM_STEPS = 15
NUMBERS = st.integers(0, 1 << 16)


class Model:
    """What must be true of a session: all it printed, all that was typed, and who watches with which memory."""

    def __init__(self, session: Session, retention: int, pty: ScriptedPty, *, now: float) -> None:
        self.session_id = session.session_id
        self.retention = retention
        self.pty = pty
        self.printed = b""
        self.first = 0
        self.typed = b""
        self.viewers: list[Viewer] = []
        self.memories: dict[str, Transcript] = {}
        self.sent: dict[str, list[bytes]] = {}
        self.delivered: dict[str, int] = {}
        self.deadline = now + TTL_SECONDS
        self.is_living = True
        self.states_seen = 0

    def trim(self, before: int) -> None:
        self.first = max(self.first, min(before, len(self.printed)))

    def print(self, data: bytes) -> None:
        self.printed += data
        self.first = max(self.first, len(self.printed) - self.retention)


class Machine(RuleBasedStateMachine):
    """The real core on a real file store, with a scripted program and a clock that is moved by hand."""

    @initialize()
    def begin(self) -> None:
        self.directory = Path(tempfile.mkdtemp())
        self.clock = HandClock()
        self.living: list[Model] = []
        self.calm_steps = 0
        self.stage = Stage(self.make)
        for number, name in enumerate("aab"):
            if number != 1:
                self.open_session(64 * KIB)
            self.open_viewer(self.living[-1], name + str(number), "none", "exact", None)

    def make(self) -> Sessions:
        self.backend = ScriptedBackend()
        return Sessions(
            settings=Settings(
                state_dir=self.directory, session_ttl_seconds=TTL_SECONDS, ended_session_seconds=ENDED_SECONDS
            ),
            backends={"scripted": self.backend},
            store=FileStore(self.directory),
            records=FileRecords(self.directory),
            clock=self.clock.clock,
            counters=Counters(),
        )

    def teardown(self) -> None:
        if hasattr(self, "stage"):
            self.stage.close()
            shutil.rmtree(self.directory)

    # -- what is looked up

    def session(self, model: Model) -> Session | None:
        """Return the session, or None once it is forgotten."""
        try:
            return self.stage.sessions.get(model.session_id)
        except UnknownSession:
            return None

    def terminal(self, model: Model) -> Terminal:
        session = self.session(model)
        assert session is not None
        assert session.terminal is not None
        return session.terminal

    def bump(self, model: Model) -> None:
        if model.is_living:
            model.deadline = self.clock.now + TTL_SECONDS

    def pick(self, number: int, *, running: bool = False) -> Model:
        known = [model for model in self.living if model.is_living or not running]
        return known[number % len(known)]

    def pick_viewer(self, number: int, *, running: bool = False) -> tuple[Model, Viewer, Attachment]:
        watched = [
            (model, viewer)
            for model in self.living
            for viewer in model.viewers
            if viewer.close_code is None and (model.is_living or not running)
        ]
        model, viewer = watched[number % len(watched)]
        assert viewer.attachment is not None
        return model, viewer, viewer.attachment

    def has_running(self) -> bool:
        return any(model.is_living for model in self.living)

    def has_viewers(self) -> bool:
        return any(viewer.close_code is None for model in self.living for viewer in model.viewers)

    def has_typists(self) -> bool:
        return any(viewer.close_code is None for model in self.living if model.is_living for viewer in model.viewers)

    # -- what may happen

    @precondition(lambda self: len(self.living) < 3)
    @rule(retention=st.sampled_from([64 * KIB, 100_000, 256 * KIB]))
    def create(self, retention: int) -> None:
        self.open_session(retention)

    def open_session(self, retention: int) -> None:
        spec = SessionSpec(retention_bytes=retention)
        session = self.stage.run(self.stage.sessions.create(spec, "me"))
        pty = self.backend.ptys[session.session_id]
        self.living.append(Model(session, retention, pty, now=self.clock.now))

    @precondition(has_running)
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

    def open_viewer(self, model: Model, name: str, start: str, mode: str, capacity: int | None) -> None:
        memory = model.memories.get(name)
        if memory is None and start == "memory":
            start = "none"
        if start != "memory" or memory is None:
            memory = model.memories[name] = Transcript()  # a client that begins anew
        viewer = Viewer(name, memory)
        viewer.capacity = capacity
        position = {"memory": memory.position, "none": None, "zero": 0, "last": "last_sequence"}[start]
        self.note_delivered(model, [other for other in model.viewers if other.client_id == name])
        attach(self.stage.sessions, model.session_id, viewer, recover_from=position, epoch=memory.epoch, mode=mode)
        if start == "last":
            began = min([memory.start, *(gap.first for gap in memory.gaps)])
            assert began == model.delivered.get(name, 0)
        self.forget_superseded(model, viewer)
        model.viewers.append(viewer)
        self.bump(model)
        self.stage.settle()

    @precondition(lambda self: self.living)
    @rule(which=NUMBERS, ahead=st.integers(1, 1 << 40))
    def attach_beyond_the_head(self, which: int, ahead: int) -> None:
        model = self.pick(which)
        viewer = Viewer("lost", Transcript())
        with pytest.raises(InvalidRequest):
            attach(self.stage.sessions, model.session_id, viewer, recover_from=len(model.printed) + ahead)

    def note_delivered(self, model: Model, leaving: list[Viewer]) -> None:
        for viewer in leaving:
            assert viewer.attachment is not None
            model.delivered[viewer.client_id] = viewer.attachment.delivered

    def forget_superseded(self, model: Model, newer: Viewer) -> None:
        for old in [other for other in model.viewers if other.client_id == newer.client_id]:
            assert old.close_code in {4409, 4410}
            model.viewers.remove(old)

    @precondition(has_viewers)
    @rule(which=NUMBERS)
    def detach(self, which: int) -> None:
        model, viewer, attachment = self.pick_viewer(which)
        self.terminal(model).detach(attachment)
        self.note_delivered(model, [viewer])
        model.viewers.remove(viewer)

    @precondition(has_viewers)
    @rule(which=NUMBERS, capacity=st.sampled_from([None, 0, 10, 100_000]))
    def read(self, which: int, capacity: int | None) -> None:
        _, viewer, _ = self.pick_viewer(which)
        viewer.more(capacity)
        self.stage.settle()

    @precondition(has_viewers)
    @rule(which=NUMBERS, back=st.sampled_from([0, 0, 1_000, 300_000]))
    def acknowledge(self, which: int, back: int) -> None:
        _, viewer, attachment = self.pick_viewer(which)
        assert viewer.transcript.position is not None
        attachment.acknowledge(max(0, viewer.transcript.position - back))
        self.stage.settle()

    @precondition(has_viewers)
    @rule(which=NUMBERS, mode=st.sampled_from(["exact", "live", "frozen"]))
    def change_mode(self, which: int, mode: str) -> None:
        _, _, attachment = self.pick_viewer(which)
        attachment.set_mode(mode)
        self.stage.settle()

    @precondition(has_typists)
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

    @precondition(has_typists)
    @rule(which=NUMBERS)
    def type_out_of_order(self, which: int) -> None:
        model, viewer, attachment = self.pick_viewer(which, running=True)
        before = len(viewer.errors)
        number = len(model.sent.get(viewer.client_id, [])) + 2
        self.terminal(model).type(attachment, number, b"never to be written")
        assert [error["expected"] for error in viewer.errors[before:]] == [number - 1]

    @precondition(has_running)
    @rule(which=NUMBERS, room=st.sampled_from([None, None, 0, 7]))
    def program_reads(self, which: int, room: int | None) -> None:
        self.pick(which, running=True).pty.read_more(room)

    @precondition(has_typists)
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

    @precondition(has_running)
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

    def program_ends(self, model: Model, status: ExitStatus, last: bytes) -> None:
        model.print(last)
        model.pty.print(last)
        model.pty.exit(status)
        self.ends(model, State.LOST if status.lost else State.ENDED)

    def delete(self, model: Model) -> None:
        session = self.session(model)
        assert session is not None
        self.stage.run(self.stage.sessions.end(session, "deleted"))
        self.ends(model, State.ENDED)

    def crash(self) -> None:
        self.stage.restart()
        for model in self.living:
            model.viewers.clear()  # their connections died with the process
            model.delivered.clear()
            session = self.session(model)
            assert session is not None
            if model.is_living:
                model.is_living = False
                assert session.state is State.LOST

    def ends(self, model: Model, state: State) -> None:
        model.is_living = False
        session = self.session(model)
        assert session is not None
        self.stage.run(session.over.wait())
        assert session.state is state

    def pass_time(self, seconds: float) -> None:
        self.clock.now += seconds
        self.stage.sessions.tick()
        self.stage.settle()
        for model in list(self.living):
            session = self.session(model)
            if model.is_living and self.clock.now >= model.deadline:
                assert session is not None
                self.ends(model, State.ENDED)
                assert session.end_reason == "ttl"
            elif session is None:
                assert not model.is_living
                assert all(viewer.close_code is not None for viewer in model.viewers)
                self.living.remove(model)

    # -- what must be true after each

    @invariant()
    def time_is_counted(self) -> None:
        self.calm_steps = getattr(self, "calm_steps", 0) + 1

    @invariant()
    def the_log_is_what_was_printed(self) -> None:
        for model in getattr(self, "living", ()):
            log = self.terminal(model).log
            assert (log.first, log.head) == (model.first, len(model.printed))
            assert_same(log.read_range(log.first, log.head), model.printed[model.first :])

    @invariant()
    def no_viewer_was_told_anything_untrue(self) -> None:
        for model in getattr(self, "living", ()):
            for viewer in model.viewers:
                if viewer.deviation is not None:
                    raise viewer.deviation
            for memory in model.memories.values():
                held = [*memory.past, (memory.start, bytes(memory.data))]
                for start, data in held:
                    assert_same(data, model.printed[start : start + len(data)])
                told = sum(len(data) for _, data in held) + sum(gap.last - gap.first for gap in memory.gaps)
                if memory.position is not None:
                    began = min([start for start, _ in held] + [gap.first for gap in memory.gaps])
                    assert began + told == memory.position

    @invariant()
    def who_reads_has_everything(self) -> None:
        for model in getattr(self, "living", ()):
            for viewer in model.viewers:
                attachment = viewer.attachment
                assert attachment is not None
                if viewer.writable and attachment.mode != "frozen" and not self.waits_for_acknowledgement(viewer):
                    assert viewer.transcript.position == len(model.printed)
                    assert (viewer.ended is not None) is not model.is_living

    @staticmethod
    def waits_for_acknowledgement(viewer: Viewer) -> bool:
        attachment = viewer.attachment
        assert attachment is not None
        return attachment.delivered < attachment.position and attachment.lag > 0

    @invariant()
    def what_was_typed_is_written_once_and_in_order(self) -> None:
        for model in getattr(self, "living", ()):
            assert model.typed.startswith(bytes(model.pty.typed))
            if model.is_living and (model.pty.room is None or model.pty.room > 0):
                assert bytes(model.pty.typed) == model.typed

    @invariant()
    def states_only_move_forward(self) -> None:
        for model in getattr(self, "living", ()):
            session = self.session(model)
            assert session is not None
            places = [ORDER.index(change.state) for change in session.history]
            assert places == sorted(set(places))
            assert len(places) >= model.states_seen
            model.states_seen = len(places)
            assert session.is_living is model.is_living


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


class SlowRecords(MemoryRecords):
    """Records on a slow disk: saving waits for `let_go`."""

    def __init__(self) -> None:
        super().__init__()
        self.let_go = threading.Event()
        self.let_go.set()

    def save(self, session_id: str, record: dict[str, Any]) -> None:
        self.let_go.wait(10)
        super().save(session_id, record)


def test_a_record_that_is_saved_late_brings_no_forgotten_session_back() -> None:
    clock, records, backend = HandClock(), SlowRecords(), ScriptedBackend()
    options = Settings(ended_session_seconds=0)
    stage = Stage(
        lambda: Sessions(
            settings=options,
            backends={"scripted": backend},
            store=MemoryStore(),
            records=records,
            clock=clock.clock,
            counters=Counters(),
        )
    )
    try:
        session = stage.run(stage.sessions.create(SessionSpec(), "me"))
        records.let_go.clear()
        backend.ptys[session.session_id].exit(ExitStatus(code=0))
        stage.loop.run_until_complete(session.over.wait())
        stage.sessions.tick()
        records.let_go.set()
        stage.settle()
        stage.sessions.tick()
        stage.settle()
        assert list(stage.sessions.all()) == []
        assert list(records.all()) == []
    finally:
        records.let_go.set()
        stage.close()
