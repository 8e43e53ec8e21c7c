"""All sessions of a process: created or refused whole, expired, ended, forgotten, found again after a crash."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from backends.base import BackendError, ExitStatus, OutOfResources
from backends.echo import EchoBackend, EchoEnvironment
from replay.file import FileStore
from support.manual import CollectingOutlet, ManualTime, of
from support.wait import poll_until, wait_until
from terminal_service import wire
from terminal_service.counters import Counters
from terminal_service.errors import InvalidRequest, LimitReached, SessionOver, Unavailable, UnknownSession
from terminal_service.records import FileRecords
from terminal_service.session import Session, SessionSpec, State
from terminal_service.sessions import FAREWELL_SECONDS, Sessions
from terminal_service.settings import Settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from backends.base import Backend, Environment, Program, Pty, Sink
    from replay.log import Log
    from terminal_service.terminal import Terminal


class House:
    """The component with its clocks, its directory and its backend."""

    def __init__(
        self, directory: Path, backend: Backend | None = None, make_store: type[FileStore] = FileStore, **settings: Any
    ) -> None:
        self.time = ManualTime()
        self.directory = directory
        self.store = make_store(directory)
        self.records = FileRecords(directory)
        self.backend: Backend = backend or EchoBackend()
        self.sessions = Sessions(
            settings=Settings(state_dir=directory.parent, retention_bytes=65536, **settings),
            backends={self.backend.name: self.backend},
            store=self.store,
            records=self.records,
            clock=self.time.clock,
            counters=Counters(),
        )

    async def create(self, owner: str = "ann", **spec: Any) -> Session:
        return await self.sessions.create(SessionSpec(**spec), owner)

    def files(self) -> list[str]:
        walked = os.walk(self.directory)  # unlike rglob it bears what is deleted meanwhile
        paths = [Path(folder) / name for folder, folders, files in walked for name in (*folders, *files)]
        return sorted(str(path.relative_to(self.directory)) for path in paths)


@asynccontextmanager
async def running(directory: Path, backend: Backend | None = None, **options: Any) -> AsyncIterator[House]:
    house = await asyncio.to_thread(House, directory, backend, **options)
    async with asyncio.TaskGroup() as tasks:
        work = tasks.create_task(house.sessions.run(), name="sessions")
        await house.sessions.ready.wait()
        try:
            yield house
        finally:
            house.sessions.stop()
            async with asyncio.timeout(30):
                await work


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "sessions"


def terminal_of(session: Session) -> Terminal:
    assert session.terminal is not None
    return session.terminal


def watch(session: Session, outlet: CollectingOutlet | None = None, **options: Any) -> CollectingOutlet:
    outlet = outlet or CollectingOutlet()
    settings = {"client_id": "c", "user": "ann", "role": "writer", "is_owner": True, "mode": "exact"}
    settings |= {"recover_from": 0, "epoch": None, "tail_bytes": 0, "window": 65536, "heartbeat_interval": 60.0}
    attachment = terminal_of(session).attach(outlet, session_id=session.session_id, **{**settings, **options})
    outlet.attachment = attachment
    attachment.pump()
    return outlet


async def over(session: Session) -> None:
    async with asyncio.timeout(30):
        await session.over.wait()


async def files_gone(house: House) -> None:
    await asyncio.to_thread(poll_until, lambda: not house.files(), description="nothing is left in the directory")


# -- creating


async def test_a_session_runs_and_ends_with_its_program(directory: Path) -> None:
    async with running(directory) as house:
        session = await house.create(name="n", labels={"a": "b"})
        assert (session.state, session.owner, session.shell, session.backend) == (State.RUNNING, "ann", "echo", "echo")
        assert house.sessions.get(session.session_id) is session
        assert list(house.sessions.all()) == [session]
        assert await asyncio.to_thread(house.files) == [
            session.session_id,
            f"{session.session_id}/main.ring",
            f"{session.session_id}/session.json",
        ]
        viewer = watch(session)
        terminal_of(session).write(b"hello\rexit 3\r")
        await over(session)
        assert (session.state, session.end_reason) == (State.ENDED, "Process exited")
        assert session.exit_status == ExitStatus(code=3)
        assert viewer.output == b"hello\rexit 3\r"
        assert viewer.last(wire.SessionEnded).exit_code == 3
        assert viewer.closed is not None
        assert house.sessions.living_count == 0
        assert house.sessions.counters.sessions_ended == {"Process exited": 1}


async def test_a_program_that_ends_at_once_is_recorded_as_ended(directory: Path) -> None:
    async with running(directory) as house:
        sessions = [await house.create(command=["exit", "7"]) for _ in range(10)]
        for session in sessions:
            await over(session)

    again = await asyncio.to_thread(House, directory)
    records = dict(await asyncio.to_thread(lambda: list(again.records.all())))
    assert [records[session.session_id]["history"][-1][0] for session in sessions] == ["ended"] * 10
    assert {record["exit"]["code"] for record in records.values()} == {7}


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"shell": "fish"}, "shell"),
        ({"cwd": "/nowhere"}, "cwd"),
        ({"cwd": "/shell/of/an/oyster"}, "cwd"),
        ({"backend": "moon"}, "backend"),
        ({"env": {"A=B": "c"}}, "env['A=B']"),
    ],
)
async def test_a_session_that_cannot_start_names_the_field_and_leaves_nothing(
    directory: Path, spec: dict[str, Any], field: str
) -> None:
    async with running(directory) as house:
        with pytest.raises(InvalidRequest) as refused:
            await house.create(**spec)
        assert refused.value.field == field
        assert list(house.sessions.all()) == []
        assert await asyncio.to_thread(house.files) == []
        assert (await house.create()).state is State.RUNNING


async def test_without_resources_it_is_told_to_come_again(directory: Path) -> None:
    async with running(directory, EchoBackend(limit=1)) as house:
        first = await house.create()
        with pytest.raises(Unavailable):
            await house.create()
        assert list(house.sessions.all()) == [first]
        assert house.sessions.counters.pty_failures == {("echo", "resources"): 1}
        await house.sessions.end(first, "done")
        assert (await house.create()).is_living


async def test_sessions_are_limited_per_user_and_in_all(directory: Path) -> None:
    async with running(directory, max_concurrent_sessions_per_user=2, max_sessions=3) as house:
        first = await house.create("ann")
        await house.create("ann")
        with pytest.raises(LimitReached) as refused:
            await house.create("ann")
        assert (refused.value.limit, refused.value.what) == (2, "sessions per user")
        await house.create("bob")
        with pytest.raises(LimitReached) as refused:
            await house.create("cyd")
        assert refused.value.what == "sessions"
        await house.sessions.end(first, "done")
        assert (await house.create("cyd")).is_living, "one that has ended does not count"


async def test_limits_hold_for_many_at_once(directory: Path) -> None:
    async with running(directory, max_concurrent_sessions_per_user=5) as house:
        results = await asyncio.gather(*(house.create() for _ in range(20)), return_exceptions=True)
        assert sum(isinstance(result, Session) for result in results) == 5
        assert sum(isinstance(result, LimitReached) for result in results) == 15


class SlowEnvironment(EchoEnvironment):
    """Starts programs when it is allowed to."""

    gate: asyncio.Event

    async def spawn(self, program: Program, sink: Sink) -> Pty:
        await self.gate.wait()
        return await super().spawn(program, sink)


class SlowBackend(EchoBackend):
    """An echo that takes its time, or fails."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.failure: Exception | None = None

    async def open(self, session_id: str) -> EchoEnvironment:  # noqa: ARG002 - nothing is provisioned
        if self.failure is not None:
            raise self.failure
        environment = SlowEnvironment(self._open, None)
        environment.gate = self.gate
        return environment


@pytest.mark.parametrize("by", ["end", "stop", "cancel"])
async def test_one_ended_while_it_starts_leaves_nothing(directory: Path, by: str) -> None:
    backend = SlowBackend()
    async with running(directory, backend) as house:
        creating = asyncio.create_task(house.create(), name="creating")
        await wait_until(lambda: any(s.terminal for s in house.sessions.all()), description="it is being started")
        (session,) = house.sessions.all()
        if by == "end":
            ending = asyncio.create_task(house.sessions.end(session, "deleted"), name="ending")
            await asyncio.sleep(0)
            backend.gate.set()
            with pytest.raises(SessionOver):
                await creating
            await ending
        elif by == "stop":
            house.sessions.stop()
            await wait_until(lambda: session.state is State.ENDING, description="it is being ended")
            backend.gate.set()
            with pytest.raises(SessionOver):
                await creating
        else:
            creating.cancel()
            with pytest.raises(asyncio.CancelledError):
                await creating
        await over(session)
        assert session.state is State.ERROR
        assert list(house.sessions.all()) == []
        assert not backend._open, "its program was ended"
        assert await asyncio.to_thread(house.files) == []


class SlowStore(FileStore):
    """Makes a log only once somebody has tried to delete it, or clearly nobody will before it is made."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.entered = threading.Event()
        self.deleted = threading.Event()
        self.made: list[Log] = []

    def create(self, name: str, retention_bytes: int) -> Log:
        self.entered.set()
        self.deleted.wait(0.3)
        self.made.append(super().create(name, retention_bytes))
        return self.made[-1]

    def delete(self, name: str) -> None:
        super().delete(name)
        self.deleted.set()


@pytest.mark.parametrize("times", [1, 2])
async def test_one_cancelled_while_its_log_is_made_leaves_no_log(directory: Path, times: int) -> None:
    async with running(directory, make_store=SlowStore) as house:
        store = house.store
        assert isinstance(store, SlowStore)
        creating = asyncio.create_task(house.create(), name="creating")
        await wait_until(store.entered.is_set, description="its log is being made")
        for _ in range(times):
            creating.cancel()
            await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError):
            await creating
        await wait_until(lambda: store.made, description="its log was made")
        assert await asyncio.to_thread(house.files) == []
        with pytest.raises(ValueError, match="released"):
            store.made[0].read(0, 1)
        assert list(house.sessions.all()) == []


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (OutOfResources("no moon"), Unavailable),
        (BackendError("no moon"), InvalidRequest),
        (OSError("no moon"), OSError),
    ],
)
async def test_an_environment_that_cannot_be_opened_leaves_nothing(
    directory: Path, failure: Exception, expected: type[Exception]
) -> None:
    backend = SlowBackend()
    backend.failure = failure
    async with running(directory, backend) as house:
        with pytest.raises(expected, match="no moon"):
            await house.create()
        assert list(house.sessions.all()) == []
        assert await asyncio.to_thread(house.files) == []


async def test_nothing_is_created_before_or_after_its_time(directory: Path) -> None:
    house = await asyncio.to_thread(House, directory)
    with pytest.raises(Unavailable):
        await house.create()
    async with running(directory) as house:
        house.sessions.stop()
        with pytest.raises(Unavailable):
            await house.create()


# -- expiring and ending


async def test_a_session_expires_and_its_program_ends(directory: Path) -> None:
    async with running(directory, session_ttl_seconds=100) as house:
        short, long = await house.create(), await house.create(ttl_seconds=86_400 * 2)
        viewer = watch(short)
        house.time.advance(99)
        house.sessions.tick()
        assert short.state is State.RUNNING
        house.time.advance(1)
        house.sessions.tick()
        house.sessions.tick()
        await over(short)
        assert (short.state, short.end_reason) == (State.ENDED, "ttl")
        assert viewer.last(wire.SessionEnded).reason == "ttl"
        assert viewer.last(wire.SessionEnded).signal == "SIGHUP"
        assert long.state is State.RUNNING
        house.time.advance(86_400)
        terminal_of(long).write(b"x")
        house.time.advance(86_400 * 2 - 1)
        house.sessions.tick()
        assert long.state is State.RUNNING


async def test_typing_resizing_and_joining_keep_it_alive(directory: Path) -> None:
    async with running(directory, session_ttl_seconds=100) as house:
        session = await house.create()
        for act, source in (
            (lambda: terminal_of(session).write(b"x"), "input"),
            (lambda: watch(session), "viewer"),
            (lambda: session.bump("keepalive"), "keepalive"),
        ):
            house.time.advance(60)
            act()
            house.sessions.tick()
            assert (session.state, session.last_bump) == (State.RUNNING, source)
        house.time.advance(60)
        watch(session, role="viewer", client_id="onlooker")
        assert session.last_bump == "keepalive"


async def test_a_client_whose_clock_is_far_off_changes_nothing(directory: Path) -> None:
    async with running(directory, session_ttl_seconds=100) as house:
        session = await house.create()
        house.time.wall_offset -= 10**8
        house.sessions.tick()
        house.time.wall_offset += 10**9
        house.sessions.tick()
        assert session.state is State.RUNNING
        house.time.advance(100)
        house.sessions.tick()
        await over(session)


async def test_the_lifetime_ends_the_busiest(directory: Path) -> None:
    async with running(directory, session_ttl_seconds=100, session_max_lifetime_seconds=150) as house:
        session = await house.create()
        for _ in range(2):
            house.time.advance(75)
            terminal_of(session).write(b"x")
        house.sessions.tick()
        await over(session)
        assert session.end_reason == "lifetime"


async def test_a_new_ttl_counts_from_now_and_is_recorded(directory: Path) -> None:
    async with running(directory, session_ttl_seconds=100) as house:
        session = await house.create()
        house.time.advance(90)
        await house.sessions.update(session, ttl_seconds=1000, name="new", labels={"x": "y"})
        house.time.advance(999)
        house.sessions.tick()
        assert session.state is State.RUNNING
        record = dict(await asyncio.to_thread(lambda: list(house.records.all())))[session.session_id]
        assert (record["ttl_seconds"], record["name"], record["labels"]) == (1000, "new", {"x": "y"})
        await house.sessions.end(session, "deleted")
        with pytest.raises(SessionOver):
            await house.sessions.update(session, name="late")


async def test_ending_twice_is_harmless(directory: Path) -> None:
    async with running(directory) as house:
        session = await house.create()
        await asyncio.gather(*(house.sessions.end(session, f"reason {number}") for number in range(5)))
        await house.sessions.end(session, "late")
        assert (session.state, session.end_reason) == (State.ENDED, "reason 0")


async def test_an_ended_session_is_readable_for_its_time_then_nothing_is_left(directory: Path) -> None:
    async with running(directory) as house:
        session = await house.create()
        terminal_of(session).write(b"some output\rexit\r")
        await over(session)
        house.time.advance(599)
        house.sessions.tick()
        assert watch(session).output.startswith(b"some output")
        stuck = watch(session, client_id="stuck", mode="frozen")
        house.time.advance(1)
        house.sessions.tick()
        with pytest.raises(UnknownSession):
            house.sessions.get(session.session_id)
        await files_gone(house)
        assert stuck.closed == (4410, "session ended")
        of(stuck).pump()


async def test_an_ended_session_stays_until_its_last_output_is_read(directory: Path) -> None:
    async with running(directory, ended_session_seconds=0) as house:
        session = await house.create()
        slow = CollectingOutlet()
        slow.room = 0
        watch(session, outlet=slow)
        terminal_of(session).write(b"last words\rexit\r")
        await over(session)
        house.sessions.tick()
        assert house.sessions.get(session.session_id) is session
        slow.room = None
        of(slow).pump()
        assert slow.output == b"last words\rexit\r"
        assert slow.of(wire.SessionEnded)
        terminal_of(session).detach(of(slow))
        house.sessions.tick()
        with pytest.raises(UnknownSession):
            house.sessions.get(session.session_id)
        await files_gone(house)


async def test_one_that_never_reads_does_not_keep_an_ended_session(directory: Path) -> None:
    async with running(directory, ended_session_seconds=0) as house:
        session = await house.create()
        stuck = watch(session, mode="frozen")
        terminal_of(session).write(b"last words\rexit\r")
        await over(session)
        house.time.advance(FAREWELL_SECONDS - 1)
        house.sessions.tick()
        assert house.sessions.get(session.session_id) is session
        house.time.advance(1)
        house.sessions.tick()
        await files_gone(house)
        assert stuck.closed == (4410, "session ended")


class BrokenPty:
    """A program whose end cannot be learned."""

    def __init__(self, pty: Pty) -> None:
        self._pty = pty

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pty, name)

    async def wait(self) -> ExitStatus:
        await self._pty.wait()
        raise OSError("the end cannot be learned")


class BrokenEnvironment:
    """Cannot be closed, or starts programs that break."""

    def __init__(self, environment: EchoEnvironment, how: str) -> None:
        self._environment = environment
        self._how = how

    async def spawn(self, program: Program, sink: Sink) -> Pty:
        pty = await self._environment.spawn(program, sink)
        broken: Pty = BrokenPty(pty)
        return broken if self._how == "wait" else pty

    async def close(self) -> None:
        await self._environment.close()
        if self._how == "close":
            raise OSError("cannot be closed")


class BrokenBackend(EchoBackend):
    """Its first environment is broken."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self._how = how

    async def open(self, session_id: str) -> Environment:  # type: ignore[override]
        environment = await super().open(session_id)
        how, self._how = self._how, ""
        return BrokenEnvironment(environment, how) if how else environment


@pytest.mark.parametrize(("how", "state"), [("wait", State.ERROR), ("close", State.ENDED)])
async def test_one_session_s_trouble_does_not_end_the_others(directory: Path, how: str, state: State) -> None:
    with capture_logs() as logs:
        await break_one(directory, how, state)
    failures = [entry for entry in logs if entry["log_level"] == "error"]
    assert ["failed" in entry["event"] for entry in failures] == [True]


async def break_one(directory: Path, how: str, state: State) -> None:
    async with running(directory, BrokenBackend(how)) as house:
        broken, whole = await house.create(), await house.create()
        viewer = watch(broken)
        terminal_of(broken).write(b"exit 1\r")
        await over(broken)
        await wait_until(lambda: viewer.closed, description="its viewer is told")
        assert broken.state is state
        assert viewer.of(wire.SessionEnded)
        house.sessions.tick()
        assert whole.state is State.RUNNING
        assert (await house.create()).state is State.RUNNING


async def test_a_stop_ends_all_and_tells_the_viewers_first(directory: Path) -> None:
    async with running(directory) as house:
        sessions = [await house.create() for _ in range(5)]
        viewers = [watch(session) for session in sessions]
        terminal_of(sessions[0]).write(b"last words")
        house.sessions.stop()
        house.sessions.stop()
        for session in sessions:
            await over(session)
        assert {session.end_reason for session in sessions} == {"shutdown"}
        for viewer in viewers:
            assert viewer.closed is not None
            assert viewer.closed[0] == 1012
            assert "retry_after_ms=" in viewer.closed[1]
            assert not viewer.of(wire.SessionEnded)
    async with running(directory) as house:
        again = house.sessions.get(sessions[0].session_id)
        assert (again.state, again.end_reason) == (State.ENDED, "shutdown")
        assert watch(again).output == b"last words"


# -- storage


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


# -- after a crash

VICTIM = """
import asyncio, sys
from pathlib import Path
from backends.echo import EchoBackend
from replay.file import FileStore
from terminal_service import logs
from terminal_service.clock import Clock
from terminal_service.counters import Counters
from terminal_service.records import FileRecords
from terminal_service.session import SessionSpec
from terminal_service.sessions import Sessions
from terminal_service.settings import Settings
from terminal_service.sizes import Size

async def main(directory):
    records = FileRecords(directory)
    sessions = Sessions(
        settings=Settings(state_dir=directory.parent), backends={"echo": EchoBackend()},
        store=FileStore(directory), records=records, clock=Clock(), counters=Counters(),
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
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) as victim:
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
