"""Records of sessions: private, replaced whole, and no crash for what is not one."""

from __future__ import annotations

import functools
import stat
from typing import TYPE_CHECKING

import pytest

from replay.file import FileStore
from replay.memory import MemoryStore
from support.manual import ManualTime
from terminal_service.records import FileRecords, MemoryRecords, Records
from terminal_service.recovery import make_record, recover_sessions, restore_session
from terminal_service.session import Session, SessionSpec, State

if TYPE_CHECKING:
    from pathlib import Path

    from replay.log import Log
    from replay.store import Store


def recover(records: Records, store: Store, time: ManualTime, **notes: str) -> list[tuple[Session, Log | None]]:
    restore = functools.partial(restore_session, clock=time.clock, ttl_seconds=60, max_lifetime_seconds=0)
    return recover_sessions(records, store, restore, notes, lambda _: False)


@pytest.fixture(params=["memory", "file"])
def records(request: pytest.FixtureRequest, tmp_path: Path) -> Records:
    return MemoryRecords() if request.param == "memory" else FileRecords(tmp_path)


def test_records_are_kept_replaced_and_deleted(records: Records) -> None:
    records.save("one", {"owner": "ann"})
    records.save("two", {"owner": "bob"})
    records.save("one", {"owner": "cyd", "name": "ü"})
    assert dict(records.all()) == {"one": {"owner": "cyd", "name": "ü"}, "two": {"owner": "bob"}}
    records.delete("one")
    records.delete("one")
    assert dict(records.all()) == {"two": {"owner": "bob"}}


def test_files_are_private_and_go_with_their_directory(tmp_path: Path) -> None:
    records = FileRecords(tmp_path)
    records.save("one", {})
    assert stat.S_IMODE((tmp_path / "one").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "one" / "session.json").stat().st_mode) == 0o600
    (tmp_path / "one" / "main.ring").write_bytes(b"")
    records.delete("one")
    assert [path.name for path in (tmp_path / "one").iterdir()] == ["main.ring"]
    (tmp_path / "one" / "main.ring").unlink()
    records.delete("one")
    assert not (tmp_path / "one").exists()


def test_a_write_that_was_cut_short_leaves_the_older_record(tmp_path: Path) -> None:
    records = FileRecords(tmp_path)
    records.save("one", {"owner": "ann"})
    (tmp_path / "one" / "session.json.new").write_text('{"own')
    assert dict(records.all()) == {"one": {"owner": "ann"}}
    records.save("one", {"owner": "bob"})
    assert dict(records.all()) == {"one": {"owner": "bob"}}
    records.delete("one")
    assert not (tmp_path / "one").exists()


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "7", "\xff", "[" * 100_000])
def test_what_is_no_record_is_left_out(tmp_path: Path, text: str) -> None:
    records = FileRecords(tmp_path)
    records.save("good", {})
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "session.json").write_bytes(text.encode("latin-1"))
    assert dict(records.all()) == {"good": {}}


def test_a_session_comes_back_from_its_record() -> None:
    time, records = ManualTime(), MemoryRecords()
    spec = SessionSpec(command=["make", "all"], name="build", labels={"a": "b"}, env={"SECRET": "hunter2"})
    session = Session("s", "ann", spec, ttl_seconds=60, max_lifetime_seconds=0, clock=time.clock)
    session.enter(State.RUNNING, "started")
    session.bump("input")
    record = make_record(session)
    assert "hunter2" not in repr(record), "environment variables may hold secrets"
    records.save("s", record)
    time.advance(1000)
    ((restored, output),) = recover(records, MemoryStore(), time)
    assert output is None
    assert (restored.owner, restored.name, restored.labels, restored.last_bump) == ("ann", "build", {"a": "b"}, "input")
    assert list(restored.spec.command or []) == ["make", "all"]
    assert [change.state for change in restored.history] == [State.PENDING, State.RUNNING]
    assert (restored.created_at, restored.uptime) == (session.created_at, 1000)
    assert restored.expiry_reason == "ttl"


BAD_RECORDS = [
    {"history": [["no such state", "", 0]]},
    {"history": [["ended"]]},
    {"history": 7},
    {"history": [["ended", "", "yesterday"]]},
    {"rows": "many"},
    {"rows": None},
    {"labels": 5},
    {"ttl_seconds": []},
    {"created_at": {}},
    {"cols": float("inf")},
    {"exit": 5},
    {"exit": {"kode": 1}},
]


@pytest.mark.parametrize("record", BAD_RECORDS, ids=repr)
def test_a_damaged_record_costs_its_own_session_only(tmp_path: Path, record: dict[str, object]) -> None:
    time, records, store = ManualTime(), FileRecords(tmp_path), FileStore(tmp_path)
    records.save("bad", {"owner": "ann", **record})
    records.save("good", {"owner": "bob", "history": [["ended", "exited", time.clock.wall()]]})
    log = store.create("bad/main", 65536)
    log.append(b"output")
    log.close()
    found = {session.session_id: (session, output) for session, output in recover(records, store, time)}
    good, _ = found["good"]
    bad, output = found["bad"]
    assert (good.owner, good.state) == ("bob", State.ENDED)
    assert (bad.owner, bad.state) == ("", State.PENDING)
    assert output is not None
    assert output.read_range(0, output.head) == b"output"
    output.close()


def test_a_log_without_a_record_belongs_to_nobody(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    store.create("orphan/main", 65536).close()
    ((session, output),) = recover(FileRecords(tmp_path), store, ManualTime())
    assert (session.session_id, session.owner, session.state) == ("orphan", "", State.PENDING)
    assert output is not None
    output.close()


def test_a_damaged_log_is_reported_with_its_session(tmp_path: Path) -> None:
    time, records, store = ManualTime(), FileRecords(tmp_path), FileStore(tmp_path)
    records.save("s", {"owner": "ann"})
    store.create("s/main", 65536).close()
    (tmp_path / "s" / "main.ring").write_bytes(b"garbage")
    ((session, output),) = recover(records, store, time)
    assert output is None
    assert "cannot be read" in session.end_reason
    assert [path.name for path in (tmp_path / "s").glob("*.damaged-*")]
