"""Places are looked at in the background, apart from each other, and what nobody needs there is removed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from backends.errors import Unreachable
from support.far_places import World, far_places
from support.house import running
from support.wait import wait_until
from terminal_service import place_watch
from terminal_service.errors import BackendUnreachable
from terminal_service.places import HealthState

if TYPE_CHECKING:
    from pathlib import Path


async def test_a_place_is_well_then_failing_then_well(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CHECK_SECONDS", "FIRST_RETRY_SECONDS", "SWEEP_SECONDS"):
        monkeypatch.setattr(place_watch, name, 0.02)
    world = World()
    places = far_places(world)
    health = places.first.health
    assert health.state.value == "unknown"
    async with running(directory, places=places) as house:
        await wait_until(lambda: health.state is HealthState.OK, description="it was looked at")
        since = health.since
        session = await house.create()
        await wait_until(lambda: world.swept and world.swept[-1] == {session.session_id}, description="swept")
        world.failure = Unreachable("no route to host")
        house.time.advance(5)
        await wait_until(lambda: health.state is HealthState.FAILING, description="it was looked at again")
        assert health.reason == "no route to host"
        assert (health.since or 0) > (since or 0)
        world.failure = None
        await wait_until(lambda: health.state is HealthState.OK, description="it was looked at again")
        assert health.reason == ""
        counted = house.sessions.counters.backend_checks
        assert counted["far", "ok"] >= 2
        assert counted["far", "failing"] >= 1


async def test_a_place_that_does_not_answer_is_failing(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(place_watch, "CHECK_LIMIT_SECONDS", 0.05)
    world = World()
    world.gate.clear()
    places = far_places(world)
    async with running(directory, places=places) as house:
        assert house.sessions.ready.is_set(), "nothing waits for it"
        await wait_until(lambda: places.first.health.is_failing, description="it was looked at")
        assert places.first.health.reason.startswith("no answer within")


async def test_whoever_meets_a_place_out_of_reach_has_it_looked_at(directory: Path) -> None:
    world = World()
    places = far_places(world)
    async with running(directory, places=places) as house:
        await wait_until(lambda: places.first.health.checked_at is not None, description="it was looked at")
        world.failure = Unreachable("no route to host")
        with pytest.raises(BackendUnreachable):
            await house.create()
        await wait_until(lambda: places.first.health.is_failing, description="it was looked at")
        await asyncio.sleep(0)


async def test_what_was_left_at_a_place_is_removed_as_soon_as_it_is_well_again(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(place_watch, "FIRST_RETRY_SECONDS", 0.02)
    world = World()
    places = far_places(world)
    async with running(directory, places=places) as house:
        await wait_until(lambda: world.swept, description="it was swept at the start")
        world.failure = Unreachable("no route to host")
        with pytest.raises(BackendUnreachable):
            await house.create()
        await wait_until(lambda: places.first.health.is_failing, description="it was looked at")
        swept = len(world.swept)
        world.failure = None
        await wait_until(lambda: len(world.swept) > swept, description="it was swept again")
