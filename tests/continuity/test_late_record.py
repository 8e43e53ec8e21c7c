"""A slow disk must not bring a session back that was forgotten meanwhile."""

from __future__ import annotations

import threading
from typing import Any

from backends.base import ExitStatus
from replay.memory import MemoryStore
from support.alone import publisher_of_one
from support.scripted import HandClock, ScriptedBackend, Stage
from terminal_service.counters import Counters
from terminal_service.places import Places
from terminal_service.records import MemoryRecords
from terminal_service.session import SessionSpec
from terminal_service.sessions import Sessions
from terminal_service.settings import Settings


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
            places=Places.of({"scripted": backend}),
            store=MemoryStore(),
            records=records,
            publisher=publisher_of_one(clock.clock),
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
