"""A session that takes long to begin can be watched and typed into; it begins, fails or is ended with nothing left."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from backends.base import Notice
from backends.errors import AccessRefused, BackendError, NotProvided, NotSupported, Unreachable
from support.far_places import FarBackend, FarProfile, World, far_places
from support.house import House, over, running, terminal_of, watch
from support.wait import wait_until
from terminal_service import wire
from terminal_service.errors import (
    BackendRefused,
    BackendUnreachable,
    NotToBeHad,
    Preparing,
    ServiceError,
    Unsupported,
)
from terminal_service.keyboard import HIGH_WATER_BYTES
from terminal_service.places import Place, Places
from terminal_service.session import State
from terminal_service.sizes import Size

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from terminal_service.session import Session


def slow(directory: Path, world: World, seconds: float = 0.05) -> AbstractAsyncContextManager[House]:
    world.gate.clear()
    return running(directory, places=far_places(world), create_wait_seconds=seconds)


async def test_it_is_answered_while_it_is_prepared_and_then_runs(directory: Path) -> None:
    world = World()
    async with slow(directory, world) as house:
        session = await house.create()
        assert session.state.value == "preparing"
        viewer = watch(session)
        with pytest.raises(Preparing):
            terminal_of(session).signal("INT")
        terminal_of(session).resize(Size(50, 90))
        world.orders[session.session_id].tell(Notice("progress", "scheduling"))
        assert viewer.last(wire.Notice).message == "scheduling"
        assert session.history[-1].reason == "scheduling"
        assert viewer.attachment is not None
        for number, text in enumerate((b"size\r", b"one", b"two"), 1):
            terminal_of(session).type(viewer.attachment, number, text)
        assert not [m for m in viewer.sent if isinstance(m, wire.InputAck)]
        world.gate.set()
        await wait_until(lambda: session.state is State.RUNNING, description="it runs")
        await wait_until(lambda: any(m.n == 3 for m in viewer.of(wire.InputAck)), description="all was typed")
        await wait_until(lambda: viewer.output.endswith(b"two"), description="all was echoed")
        assert viewer.output == b"size\r50 90\r\nonetwo"
        assert house.sessions.counters.sessions_created == 1
        assert house.sessions.counters.pty_spawns


async def test_its_size_may_change_while_it_starts(directory: Path) -> None:
    world = World()
    async with slow(directory, world) as house:
        session = await house.create()
        terminal_of(session).resize(Size(10, 20))
        world.gate.set()
        await wait_until(lambda: session.state is State.RUNNING, description="it runs")
        viewer = watch(session)
        terminal_of(session).write(b"size\r")
        await wait_until(lambda: b"10 20" in viewer.output, description="the program knows its size")


async def test_what_is_typed_before_it_runs_is_bounded(directory: Path) -> None:
    world = World()
    async with slow(directory, world) as house:
        session = await house.create()
        viewer = watch(session)
        terminal_of(session).write(b"x" * (HIGH_WATER_BYTES + 1))
        assert terminal_of(session).keyboard.is_full
        assert viewer.attachment is not None
        terminal_of(session).type(viewer.attachment, 1, b"y")
        assert viewer.input_paused
        world.gate.set()
        await wait_until(lambda: viewer.of(wire.InputAck), description="all was typed", timeout=60)
        assert not viewer.input_paused


async def test_one_that_fails_later_says_why_and_stays_readable(directory: Path) -> None:
    world = World()
    async with slow(directory, world) as house:
        session = await house.create()
        viewer = watch(session)
        world.failure = NotProvided("the image alpine:none does not exist")
        world.gate.set()
        await over(session)
        await session.settled.wait()
        reason = "backend 'far' could not provide it: the image alpine:none does not exist"
        assert (session.state, session.end_reason, session.history[-1].reason) == (State.ERROR, reason, reason)
        assert viewer.last(wire.SessionEnded).reason == reason
        assert house.sessions.get(session.session_id) is session
        assert not world.provided
        assert house.sessions.counters.backend_failures == {("far", "NotProvided"): 1}
    async with running(directory, places=far_places(World())) as house:
        again = house.sessions.get(session.session_id)
        assert (again.state, again.end_reason) == (State.ERROR, reason)


async def test_a_mistake_of_ours_is_not_told_as_it_is(directory: Path) -> None:
    world = World()
    with capture_logs():
        async with slow(directory, world) as house:
            session = await house.create()
            world.failure = RuntimeError("secret insides")
            world.gate.set()
            await over(session)
    assert "secret" not in session.end_reason
    assert session.state is State.ERROR


@pytest.mark.parametrize("seconds", [0.05, 10.0])
async def test_ended_while_it_is_prepared_it_leaves_nothing(directory: Path, seconds: float) -> None:
    world = World()
    async with slow(directory, world, seconds) as house:
        creating = asyncio.create_task(house.create())
        await wait_until(lambda: world.orders, description="it is being opened")
        (session,) = house.sessions.all()
        if seconds < 1:
            await creating
        await house.sessions.end(session, "deleted")
        assert not world.provided
        if seconds < 1:
            assert (session.state, session.end_reason) == (State.ENDED, "deleted")
        else:
            with pytest.raises(ServiceError, match="deleted"):
                await creating
            assert not list(house.sessions.all())


async def test_the_end_of_the_service_ends_what_is_prepared(directory: Path) -> None:
    world = World()
    world.gate.clear()
    async with running(directory, places=far_places(world), create_wait_seconds=0.05, ends_all=False) as house:
        session = await house.create()
        house.sessions.stop(end_all=False)
        await over(session)
        assert (session.state, session.end_reason) == (State.ENDED, "shutdown")


async def test_one_whose_time_is_over_is_prepared_no_longer(directory: Path) -> None:
    world = World()
    async with slow(directory, world) as house:
        session = await house.create(ttl_seconds=10)
        house.time.advance(11)
        house.sessions.tick()
        await over(session)
        assert session.end_reason == "ttl"


async def killed(directory: Path, world: World) -> Session:
    """Return a session that was being prepared when its process was killed."""
    house = await asyncio.to_thread(House, directory, places=far_places(world), create_wait_seconds=0.05)
    work = asyncio.create_task(house.sessions.run())
    await house.sessions.ready.wait()
    session = await house.create()
    work.cancel()
    await asyncio.wait([work])
    return session


async def test_one_whose_process_was_killed_is_known_as_lost(directory: Path) -> None:
    world = World()
    world.gate.clear()
    session = await killed(directory, world)
    world.gate.set()
    async with running(directory, places=far_places(world)) as house:
        again = house.sessions.get(session.session_id)
        assert again.state is State.LOST
        assert again.end_reason.endswith("stopped while the session was being prepared")
        await wait_until(lambda: world.swept, description="what was left is removed")
        assert session.session_id not in world.swept[-1]


async def test_left_to_the_service_it_goes_on_to_the_next_place(directory: Path) -> None:
    near, far = World(), World()
    near.failure = NotProvided("no room")
    both = [
        Place(name, FarBackend(world, name=name), FarProfile(name=name))
        for name, world in (("one", near), ("two", far), ("three", far))
    ]
    async with running(directory, places=Places(both)) as house:
        session = await house.create(backend="auto")
        assert (session.backend, session.state) == ("two", State.RUNNING)
        assert session.backend_reason == "rule 8: nothing else is asked of it (one could not: no room)"
        far.failure = Unreachable("no route to host")
        with pytest.raises(BackendUnreachable, match="'three' cannot be reached"):
            await house.create(backend="auto")
        failures = house.sessions.counters.backend_failures
        assert (failures["two", "Unreachable"], failures["three", "Unreachable"]) == (1, 1)
        with pytest.raises(NotToBeHad):
            await house.create(backend="one")


@pytest.mark.parametrize(
    ("error", "refusal", "kind"),
    [
        (Unreachable("build1:22 does not answer", 30), BackendUnreachable, "Unreachable"),
        (AccessRefused("the key is refused"), BackendRefused, "AccessRefused"),
        (NotProvided("no node has a GPU"), NotToBeHad, "NotProvided"),
        (NotSupported("far", "images"), Unsupported, "NotSupported"),
    ],
)
async def test_what_a_backend_refuses_is_told_in_its_words(
    directory: Path, error: BackendError, refusal: type[ServiceError], kind: str
) -> None:
    world = World()
    async with running(directory, places=far_places(world)) as house:
        world.failure = error
        with pytest.raises(refusal) as refused:
            await house.create()
        assert str(error) in str(refused.value)
        assert not list(house.sessions.all())
        assert house.sessions.counters.backend_failures == {("far", kind): 1}
