"""Programs on other machines go on when the service does not: the next process has them again, however late."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from backends.errors import BackendError, Unreachable
from support.far_places import World, far_places
from support.house import House, over, running, terminal_of, watch
from support.wait import wait_until
from terminal_service import recalls, wire
from terminal_service.session import Session, State

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@asynccontextmanager
async def left_running(directory: Path, world: World) -> AsyncIterator[Session]:
    """Have a session whose service has gone, while its program goes on."""
    async with running(directory, places=far_places(world), ends_all=False) as house:
        session = await house.create()
        terminal_of(session).write(b"before")
        await wait_until(lambda: terminal_of(session).log.head == 6, description="it is printed")
    yield session


async def test_the_next_process_goes_on_with_it(directory: Path) -> None:
    world = World()
    async with left_running(directory, world) as before, running(directory, places=far_places(world)) as house:
        session = house.sessions.get(before.session_id)
        viewer = watch(session)
        terminal_of(session).write(b"after\r")
        await wait_until(lambda: viewer.output == b"beforeafter\r", description="the program echoes")
        assert session.state is State.RUNNING
        assert not [m for m in viewer.sent if isinstance(m, wire.Notice)]
        await house.sessions.end(session, "deleted")
        assert world.ptys[session.session_id]._is_over
        assert not world.provided


async def test_a_place_out_of_reach_holds_up_nothing(directory: Path) -> None:
    world = World()
    async with left_running(directory, world) as before:
        world.gate.clear()
        async with running(directory, places=far_places(world)) as house:
            session = house.sessions.get(before.session_id)
            assert session.state.value == "running"
            viewer = watch(session)
            assert viewer.output == b"before"
            terminal_of(session).write(b"typed meanwhile\r")
            await wait_until(
                lambda: [m.kind for m in viewer.of(wire.Notice)] == ["link_lost"], description="it is told"
            )
            world.gate.set()
            await wait_until(lambda: viewer.output == b"beforetyped meanwhile\r", description="it goes on")
            await wait_until(lambda: viewer.last(wire.Notice).kind == "link_back", description="it is told")
            terminal_of(session).write(b"exit 3\r")
            await over(session)
            assert session.state is State.ENDED


async def test_one_that_fails_to_be_reached_is_tried_again(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recalls, "FIRST_PAUSE_SECONDS", 0.01)
    world = World()
    async with left_running(directory, world) as before:
        world.failure = Unreachable("no route to host")
        async with running(directory, places=far_places(world)) as house:
            session = house.sessions.get(before.session_id)
            viewer = watch(session)
            await wait_until(
                lambda: any("no route" in m.message for m in viewer.of(wire.Notice)), description="it is told"
            )
            world.failure = None
            terminal_of(session).write(b"x")
            await wait_until(lambda: viewer.output == b"beforex", description="it goes on")


async def test_left_again_before_it_was_reached_it_is_the_next_ones(directory: Path) -> None:
    world = World()
    async with left_running(directory, world) as before:
        world.gate.clear()
        async with running(directory, places=far_places(world), ends_all=False) as house:
            assert house.sessions.get(before.session_id).state is State.RUNNING
        world.gate.set()
        async with running(directory, places=far_places(world)) as house:
            session = house.sessions.get(before.session_id)
            viewer = watch(session)
            terminal_of(session).write(b"x")
            await wait_until(lambda: viewer.output == b"beforex", description="it goes on")


async def test_one_whose_program_is_gone_is_lost_with_its_output(directory: Path) -> None:
    world = World()
    async with left_running(directory, world) as before:
        world.ptys.clear()
        async with running(directory, places=far_places(world)) as house:
            session = house.sessions.get(before.session_id)
            await over(session)
            assert session.state is State.LOST
            viewer = watch(session)
            assert viewer.output == b"before"
            assert "the program with it" in viewer.last(wire.SessionEnded).reason


async def test_one_that_can_not_be_had_is_lost_with_the_reason(directory: Path) -> None:
    world = World()
    async with left_running(directory, world) as before:
        world.failure = BackendError("another service has it")
        async with running(directory, places=far_places(world)) as house:
            session = house.sessions.get(before.session_id)
            await over(session)
            assert session.end_reason == "could not go on after a restart: another service has it"


async def test_a_mistake_of_ours_leaves_no_session_without_program(directory: Path) -> None:
    world = World()
    with capture_logs():
        async with left_running(directory, world) as before:
            world.failure = RuntimeError("secret insides")
            async with running(directory, places=far_places(world)) as house:
                session = house.sessions.get(before.session_id)
                await over(session)
    assert session.state is State.LOST
    assert "secret" not in session.end_reason


@pytest.mark.parametrize("reached", [True, False])
async def test_ended_while_out_of_reach_it_ends(
    directory: Path, monkeypatch: pytest.MonkeyPatch, *, reached: bool
) -> None:
    monkeypatch.setattr(recalls, "END_SECONDS", 30 if reached else 0.1)
    world = World()
    async with left_running(directory, world) as before:
        world.gate.clear()
        async with running(directory, places=far_places(world)) as house:
            session = house.sessions.get(before.session_id)
            ending = asyncio.create_task(house.sessions.end(session, "deleted"))
            await wait_until(lambda: session.state is not State.RUNNING, description="it is being ended")
            if reached:
                world.gate.set()
                await ending
                assert (session.state, session.end_reason) == (State.ENDED, "deleted")
                assert world.ptys[session.session_id]._is_over
            else:
                await ending
                assert (session.state, session.end_reason.partition(";")[0]) == (State.LOST, "deleted")
                world.gate.set()


async def test_a_program_that_ends_with_the_service_is_not_looked_for(directory: Path) -> None:
    world = World()
    house = await asyncio.to_thread(House, directory, places=far_places(world, durable=False))
    work = asyncio.create_task(house.sessions.run())
    await house.sessions.ready.wait()
    session = await house.create()
    work.cancel()
    await asyncio.wait([work])
    async with running(directory, places=far_places(world, durable=False)) as again:
        assert again.sessions.get(session.session_id).state is State.LOST
        assert not world.recalled
