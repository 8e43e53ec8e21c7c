"""Looks after the places where sessions run: whether they are well, which shells they have, what was left there."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from typing import TYPE_CHECKING

import structlog

from backends.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from terminal_service.clock import Clock
    from terminal_service.counters import Counters
    from terminal_service.places import Place, Places

CHECK_SECONDS = 60.0
CHECK_LIMIT_SECONDS = 30.0
"""A place that has not answered after so long is failing."""
FIRST_RETRY_SECONDS = 5.0
LONGEST_RETRY_SECONDS = 300.0
SWEEP_SECONDS = 300.0
SWEEP_LIMIT_SECONDS = 120.0
ASKED_FOR_SHELLS = frozenset({"ssh", "workstations", "kubernetes"})
"""Kinds where a look at the shells starts nothing that costs."""

log = structlog.get_logger()


class PlaceWatch:
    """Checks and sweeps every place that is not this machine, apart from each other, until `stopping`."""

    def __init__(
        self, places: Places, *, living: Callable[[], Collection[str]], clock: Clock, counters: Counters
    ) -> None:
        """`living` returns the ids of the sessions that this process has, which nothing is taken from."""
        self._places = places
        self._living = living
        self._clock = clock
        self._counters = counters
        self._may_be_swept: dict[str, asyncio.Event] = {place.name: asyncio.Event() for place in places}
        """Set when a place is well again: what could not be removed meanwhile can be now."""

    async def run(self, stopping: asyncio.Event) -> None:
        """Look after them; returns soon after `stopping` is set."""
        async with asyncio.TaskGroup() as tasks:
            watching = [
                tasks.create_task(work, name=f"{name} backend {place.name}")
                for place in self._places
                if not place.is_near
                for name, work in (("check", self._check(place)), ("sweep", self._sweep(place)))
            ]
            await stopping.wait()
            for task in watching:
                task.cancel()

    async def _check(self, place: Place) -> None:
        failures = 0
        while True:
            failures = 0 if await self.look_at(place) else failures + 1
            pause = CHECK_SECONDS
            if failures:
                pause = min(FIRST_RETRY_SECONDS * 2.0 ** min(failures - 1, 10), LONGEST_RETRY_SECONDS)
            place.doubt.clear()
            try:
                async with asyncio.timeout(_jittered(pause)):
                    await place.doubt.wait()
            except TimeoutError:
                continue

    async def look_at(self, place: Place) -> bool:
        """See how a place is now, and note it; return whether it is well."""
        reason = await self._why_not(place)
        self._counters.backend_checks[place.name, "ok" if reason is None else "failing"] += 1
        if place.health.note(reason, self._clock.wall()):
            if reason is None:
                log.info("backend is well", backend=place.name)
                self._may_be_swept[place.name].set()
            else:
                log.warning("backend is failing", backend=place.name, reason=reason)
        return reason is None

    async def _why_not(self, place: Place) -> str | None:
        try:
            async with asyncio.timeout(CHECK_LIMIT_SECONDS):
                await place.backend.check()
                if place.kind in ASKED_FOR_SHELLS:
                    place.known_shells = tuple(await place.backend.shells())
        except BackendError as error:
            return str(error)
        except TimeoutError:
            return f"no answer within {CHECK_LIMIT_SECONDS:.0f} seconds"
        except Exception:
            log.exception("backend could not be checked", backend=place.name)
            return "it could not be checked: the service made a mistake"
        return None

    async def _sweep(self, place: Place) -> None:
        """Have what nobody needs any more removed, again and again."""
        while True:
            self._may_be_swept[place.name].clear()
            try:
                async with asyncio.timeout(SWEEP_LIMIT_SECONDS):
                    await place.backend.sweep(self._living())
            except (BackendError, TimeoutError) as error:
                log.warning("backend not swept", backend=place.name, reason=str(error) or "it takes too long")
            except Exception:
                log.exception("backend not swept", backend=place.name)
            with suppress(TimeoutError):
                async with asyncio.timeout(_jittered(SWEEP_SECONDS)):
                    await self._may_be_swept[place.name].wait()


def _jittered(seconds: float) -> float:
    """Return about so many: nodes that began together should not go on together."""
    return seconds * random.uniform(0.75, 1.25)  # noqa: S311 - no secret
