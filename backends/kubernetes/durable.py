"""What a session has in a pod where its terminals outlive the streams of the API server."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from backends.kubernetes.environment import KubernetesEnvironment

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from backends.abilities import Command, Execution
    from backends.base import Program, Pty, Sink, Survivor
    from backends.durable.target import Target
    from backends.durable.terminals import DurableTerminals

LINK = "link"
"""In place of a session's id: for what belongs to all sessions in a pod."""


class DurablePodEnvironment(KubernetesEnvironment):
    """As others, but terminals are in a holder in the pod."""

    terminals: DurableTerminals
    """Given before it is used."""
    own_target: Target | None = None
    """The link to the pod, if the pod is this session's alone."""

    async def spawn(self, program: Program, sink: Sink) -> Pty:
        """Start a program in the holder; see `Environment.spawn`."""
        return await self.terminals.spawn(program, sink)

    async def adopt(self, survivor: Survivor, sink: Sink, position: int = 0) -> Pty:
        """Take over a program of the holder; see `Environment.adopt`."""
        return await self.terminals.adopt(survivor, sink, position)

    async def close(self) -> None:
        """End the terminals and let go of the holder; then all else."""
        await self.terminals.close()
        await self.let_go()
        await super().close()

    async def let_go(self) -> None:
        """Let go of the holder, with what it has; harmless twice."""
        if self.own_target is not None:
            await self.own_target.close()
        await self._ending.close()  # the link's own commands may be among what is out of reach

    async def fate(self) -> str | None:
        """Say why the container is not what it was; None: it is. Raises BackendError."""
        return await self._ending.look()


class SharedPod:
    """An executor in the pod that many sessions share, whichever that is at the moment."""

    def __init__(
        self,
        find: Callable[[], Awaitable[dict[str, Any]]],
        make: Callable[[dict[str, Any]], KubernetesEnvironment],
    ) -> None:
        """`find` returns the pod, `make` what runs commands in it."""
        self._find = find
        self._make = make
        self._environments: dict[str, KubernetesEnvironment] = {}

    async def execute(self, command: Command) -> Execution:
        """Start a command; see `Executor.execute`."""
        pod = await self._find()
        uid = str(pod["metadata"]["uid"])
        for other in [key for key in self._environments if key != uid]:
            await self._environments.pop(other).close()
        if uid not in self._environments:
            self._environments[uid] = self._make(pod)
        return await self._environments[uid].execute(command)

    async def close(self) -> None:
        """End what runs still."""
        environments = list(self._environments.values())
        self._environments.clear()
        await asyncio.gather(*(environment.close() for environment in environments))
