"""Sessions and what must be true of them: the part of a random walk that does not depend on where it goes."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
)

from replay.file import FileStore
from support.alone import publisher_of_one
from support.same import assert_same
from support.scripted import HandClock, ScriptedBackend, Stage, Viewer, attach
from support.transcript import Transcript
from terminal_service.counters import Counters
from terminal_service.errors import UnknownSession
from terminal_service.places import Places
from terminal_service.records import FileRecords
from terminal_service.session import SessionSpec, State
from terminal_service.sessions import Sessions
from terminal_service.settings import Settings

if TYPE_CHECKING:
    from backends.base import ExitStatus
    from support.scripted import ScriptedPty
    from terminal_service.attachment import Attachment
    from terminal_service.session import Session
    from terminal_service.terminal import Terminal

KIB = 1024
TTL_SECONDS = 100.0
ENDED_SECONDS = 1000.0
ORDER = list(State)


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


class World(RuleBasedStateMachine):
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
            places=Places.of({"scripted": self.backend}),
            store=FileStore(self.directory),
            records=FileRecords(self.directory),
            publisher=publisher_of_one(self.clock.clock),
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

    # -- what is done, here and in the model

    def open_session(self, retention: int) -> None:
        spec = SessionSpec(retention_bytes=retention)
        session = self.stage.run(self.stage.sessions.create(spec, "me"))
        pty = self.backend.ptys[session.session_id]
        self.living.append(Model(session, retention, pty, now=self.clock.now))

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

    def note_delivered(self, model: Model, leaving: list[Viewer]) -> None:
        for viewer in leaving:
            assert viewer.attachment is not None
            model.delivered[viewer.client_id] = viewer.attachment.delivered

    def forget_superseded(self, model: Model, newer: Viewer) -> None:
        for old in [other for other in model.viewers if other.client_id == newer.client_id]:
            assert old.close_code in {4409, 4410}
            model.viewers.remove(old)

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
