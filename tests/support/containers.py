"""Sessions in containers of a real daemon, for tests."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from backends.abilities import Channel, Command
from backends.base import Order
from backends.containers.backend import ContainerBackend
from backends.containers.profile import ContainerProfile
from backends.profile import Site
from support.container_daemon import IMAGE
from support.terminals import Terminals

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from backends.abilities import Execution
    from backends.base import ExitStatus, Notice
    from backends.containers.environment import ContainerEnvironment
    from support.container_daemon import ContainerDaemon


def profile_of(daemon: ContainerDaemon, **fields: Any) -> ContainerProfile:
    """Return a profile; `fields` of it."""
    return ContainerProfile(**{"name": "box", "socket": daemon.url, "image": IMAGE, "pull": "never"} | fields)


def backend_of(daemon: ContainerDaemon, *, node: str = "node-1", **fields: Any) -> ContainerBackend:
    """Return a backend; `fields` of its profile."""
    return ContainerBackend(profile_of(daemon, **fields), Site(node, daemon.directory))


class Place(Terminals):
    """An open container with its backend."""

    backend: ContainerBackend
    environment: ContainerEnvironment

    def __init__(self, backend: ContainerBackend, environment: ContainerEnvironment, told: list[Notice]) -> None:
        super().__init__(backend, environment)
        self.told = told

    async def output(self, script: str, **fields: Any) -> str:
        """Run a script to its end; return what it printed on both channels."""
        out, error, status = await finished(await self.environment.execute(Command(("sh", "-c", script), **fields)))
        assert status.lost is None, status
        return (out + error).decode()


@asynccontextmanager
async def placed(daemon: ContainerDaemon, order: Order | None = None, **fields: Any) -> AsyncIterator[Place]:
    """Open a container; `fields` of the profile."""
    async with opened_place(backend_of(daemon, **fields), order) as place:
        yield place


@asynccontextmanager
async def opened_place(backend: ContainerBackend, order: Order | None = None) -> AsyncIterator[Place]:
    """Open what a backend gives."""
    told: list[Notice] = []
    order = order or Order("session-1", owner="ann", tell=told.append)
    try:
        environment = await backend.open(order)
        try:
            yield Place(backend, environment, told)
        finally:
            await environment.close()
    finally:
        await backend.close()


async def finished(execution: Execution) -> tuple[bytes, bytes, ExitStatus]:
    """Read a command to its end."""
    printed = {Channel.STDOUT: b"", Channel.STDERR: b""}
    async for channel, part in execution:
        printed[channel] += part
    status = await execution.wait()
    await execution.close()
    return printed[Channel.STDOUT], printed[Channel.STDERR], status
