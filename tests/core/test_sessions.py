"""All sessions of a process: expired, ended, forgotten, stopped."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from backends.echo import EchoBackend, EchoEnvironment
from support.house import files_gone, over, running, terminal_of, watch
from support.manual import CollectingOutlet, of
from support.wait import wait_until
from terminal_service import wire
from terminal_service.errors import SessionOver, UnknownSession
from terminal_service.session import FAREWELL_SECONDS, State

if TYPE_CHECKING:
    from pathlib import Path

    from backends.base import Environment, ExitStatus, Order, Program, Pty, Sink, Survivor


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

    async def adopt(self, survivor: Survivor, sink: Sink, position: int = 0) -> Pty:
        raise AssertionError((survivor, sink, position))

    async def close(self) -> None:
        await self._environment.close()
        if self._how == "close":
            raise OSError("cannot be closed")


class BrokenBackend(EchoBackend):
    """Its first environment is broken."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self._how = how

    async def open(self, order: Order) -> Environment:  # type: ignore[override]
        environment = await super().open(order)
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
