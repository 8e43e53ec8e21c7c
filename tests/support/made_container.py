"""One container for many tests, because to make one takes a daemon seconds; how it is made is tested by others."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from backends.base import Order
from backends.containers.backend import ContainerBackend
from backends.containers.box import Box
from backends.containers.environment import ContainerEnvironment
from backends.profile import Site
from support.containers import profile_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from backends.containers.environment import Lease
    from backends.containers.look import Inside
    from backends.containers.profile import ContainerProfile
    from support.container_daemon import ContainerDaemon


@dataclass(frozen=True)
class _Made:
    container_id: str
    lease: Lease
    inside: Inside


@contextmanager
def made_container(daemon: ContainerDaemon, **fields: Any) -> Iterator[Callable[[], EnteredBackend]]:
    """Make one for the length of the block; `fields` of the profile. Give what returns a new backend that enters it."""

    profile, site = profile_of(daemon, **fields), Site("node-1", daemon.directory)

    async def make() -> _Made:
        backend = ContainerBackend(profile, site)
        environment = await backend.open(Order("session-1", owner="ann"))
        await backend.close()
        return _Made(environment._box.id, environment._lease, environment._inside)

    with ThreadPoolExecutor(1) as thread:  # with a loop of its own, whatever a test's is
        made = thread.submit(asyncio.run, make()).result()
    yield lambda: EnteredBackend(made, profile, site)
    daemon.ask("DELETE", f"/v1.40/containers/{made.container_id}?force=1&v=1")


class EnteredBackend(ContainerBackend):
    """Gives a container that there is, and leaves it there."""

    def __init__(self, made: _Made, profile: ContainerProfile, site: Site) -> None:
        """Begin as all backends."""
        super().__init__(profile, site)
        self._made = made

    async def open(self, order: Order) -> ContainerEnvironment:  # noqa: ARG002 - it is made
        """Enter it."""
        docker = await self._daemon.connect()
        made = self._made
        self._seen[self._profile.image] = made.inside
        box = Box(self._daemon, docker.containers.container(made.container_id), made.lease.share.memory_bytes)
        return ContainerEnvironment(replace(made.lease, remove=_stay), box, made.inside)


async def _stay() -> None:
    """Leave it to the end of the block."""
