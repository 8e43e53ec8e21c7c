"""What is kept of sessions: stored again after trouble, found again after a crash."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from backends.base import ExitStatus
from support.house import files_gone, running, terminal_of, watch
from support.wait import poll_until, wait_until
from terminal_service import wire
from terminal_service.journal import Journal
from terminal_service.session import State


async def test_a_full_disk_is_told_and_its_end_too(directory: Path) -> None:
    async with running(directory) as house:
        session = await house.create(retention_bytes=1024 * 1024)
        viewer = watch(session)
        folder = directory / session.session_id
        hidden = await asyncio.to_thread(folder.rename, directory / "hidden")  # as good as full: no block can be had
        terminal_of(session).data_received(b"x" * 500_000)
        house.sessions.tick()
        house.sessions.tick()
        assert [state.durable for state in viewer.of(wire.StorageState)] == [False]
        assert session.state is State.RUNNING
        await asyncio.to_thread(hidden.rename, folder)
        await wait_until(lambda: len(viewer.of(wire.StorageState)) > 1, description="the end of the trouble is told")
        house.sessions.tick()
        assert [state.durable for state in viewer.of(wire.StorageState)] == [False, True]
        assert terminal_of(session).log.degraded is None
        assert viewer.output == b"x" * 500_000


async def test_the_journal_of_a_session_begun_without_room_is_stored_with_its_log(directory: Path) -> None:
    async with running(directory) as house:
        hidden = await asyncio.to_thread(directory.rename, directory.with_name("hidden"))
        await asyncio.to_thread(directory.write_bytes, b"")  # no directory, no file in it: as good as full
        session = await house.create()
        terminal, attachment = terminal_of(session), watch(session).attachment
        assert terminal.log.degraded is not None
        assert attachment is not None
        terminal.type(attachment, 1, b"a")
        await asyncio.to_thread(directory.unlink)
        await asyncio.to_thread(hidden.rename, directory)
        await wait_until(lambda: terminal.log.degraded is None, description="the log has got a file")
        terminal.type(attachment, 2, b"b")
        assert Journal(terminal.log.cells).written_number(attachment.key) == 2


# -- after a crash

VICTIM = """
import asyncio, sys
from pathlib import Path
from backends.echo import EchoBackend
from replay.file import FileStore
from support.alone import publisher_of_one
from terminal_service import logs
from terminal_service.clock import Clock
from terminal_service.counters import Counters
from terminal_service.places import Places
from terminal_service.records import FileRecords
from terminal_service.session import SessionSpec
from terminal_service.sessions import Sessions
from terminal_service.settings import Settings
from terminal_service.sizes import Size

async def main(directory):
    records = FileRecords(directory)
    sessions = Sessions(
        settings=Settings(state_dir=directory.parent), places=Places.of({"echo": EchoBackend()}),
        store=FileStore(directory), records=records,
        publisher=publisher_of_one(Clock()), clock=Clock(), counters=Counters(),
    )
    running = asyncio.get_running_loop().create_task(sessions.run())
    await sessions.ready.wait()
    alive = await sessions.create(SessionSpec(name="alive", labels={"a": "b"}), "ann")
    ended = await sessions.create(SessionSpec(command=["exit", "3"]), "bob")
    await ended.over.wait()
    alive.terminal.resize(Size(33, 44))
    alive.terminal.write(b"echo this\\r")
    while alive.terminal.log.head < 10 or "ended" not in dict(records.all())[ended.session_id]["history"][-1]:
        await asyncio.sleep(0.01)
    print(alive.session_id, ended.session_id, flush=True)
    await running

logs.configure("ERROR", "json")
asyncio.run(main(Path(sys.argv[1])))
"""


@pytest.fixture
def killed(directory: Path) -> tuple[str, str]:
    """Leave what a service leaves that was killed: one session that was alive, one that had ended."""
    command = [sys.executable, "-c", VICTIM, str(directory)]
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{root / 'tests'}"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root, env=environment) as victim:
        assert victim.stdout is not None
        alive, ended = victim.stdout.readline().split()
        victim.send_signal(signal.SIGKILL)
        poll_until(lambda: victim.poll() is not None, description="the service is dead")
    return alive, ended


async def test_what_a_killed_process_left_is_lost_but_readable(directory: Path, killed: tuple[str, str]) -> None:
    async with running(directory) as house:
        lost, ended = (house.sessions.get(session_id) for session_id in killed)
        assert (lost.state, lost.owner, lost.name, lost.labels) == (State.LOST, "ann", "alive", {"a": "b"})
        assert lost.end_reason == "the service stopped while the session was running"
        assert [change.state for change in lost.history][-2:] == [State.RUNNING, State.LOST]
        viewer = watch(lost)
        assert viewer.output == b"echo this\r"
        assert viewer.last(wire.SessionEnded).reason == lost.end_reason
        assert (viewer.last(wire.SessionEnded).exit_code, viewer.last(wire.SessionEnded).signal) == (None, None)
        assert (viewer.last(wire.Attached).ended, viewer.last(wire.Resized).rows) == (True, 33)
        assert (ended.state, ended.owner, ended.exit_status) == (State.ENDED, "bob", ExitStatus(code=3))
        assert watch(ended).last(wire.SessionEnded).exit_code == 3
        assert house.sessions.living_count == 0
        lost.ended_monotonic = ended.ended_monotonic = house.time.seconds
        house.time.advance(600)
        house.sessions.tick()
        await files_gone(house)


async def test_a_damaged_log_is_reported_and_the_service_starts(directory: Path, killed: tuple[str, str]) -> None:
    def damage() -> None:
        (directory / killed[0] / "main.ring").write_bytes(b"garbage")
        (directory / killed[1] / "session.json").write_bytes(b'{"history": [["no such state"]]}')

    await asyncio.to_thread(damage)
    async with running(directory) as house:
        lost, other = (house.sessions.get(session_id) for session_id in killed)
        assert lost.terminal is None
        assert "its output cannot be read" in lost.end_reason
        assert (other.state, other.owner) == (State.LOST, "")
        assert (await house.create()).state is State.RUNNING
