"""A session is created whole, or refused with a reason and nothing left."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

from backends.base import ExitStatus
from backends.echo import EchoBackend, EchoEnvironment
from backends.errors import BackendError, OutOfResources
from replay.file import FileStore
from support.house import House, over, running, terminal_of, watch
from support.wait import wait_until
from terminal_service import wire
from terminal_service.errors import InvalidRequest, LimitReached, SessionOver, Unavailable
from terminal_service.session import Session, State

if TYPE_CHECKING:
    from pathlib import Path

    from backends.base import Order, Program, Pty, Sink
    from replay.log import Log


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

    async def open(self, order: Order) -> EchoEnvironment:  # noqa: ARG002 - nothing is provisioned
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
            await wait_until(lambda: session.end_reason, description="it is being ended")
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
