"""What a session has on a host where its terminals outlive the connection."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from backends.ssh.environment import SshEnvironment

if TYPE_CHECKING:
    from backends.base import Order, Program, Pty, Sink, Survivor
    from backends.durable.terminals import DurableTerminals
    from backends.ssh.pool import SshPool


class DurableSshEnvironment(SshEnvironment):
    """As others, but terminals are in a holder there."""

    def __init__(self, pool: SshPool, order: Order, terminals: DurableTerminals, **options: Any) -> None:
        """Start with none; the options are those of `SshEnvironment`."""
        super().__init__(pool, order, **options)
        self._terminals = terminals

    async def spawn(self, program: Program, sink: Sink) -> Pty:
        """Start a program in the holder; see `Environment.spawn`."""
        return await self._terminals.spawn(program, sink)

    async def adopt(self, survivor: Survivor, sink: Sink, position: int = 0) -> Pty:
        """Take over a program of the holder; see `Environment.adopt`."""
        return await self._terminals.adopt(survivor, sink, position)

    async def close(self) -> None:
        """End all that is still open, at the same time."""
        await asyncio.gather(super().close(), self._terminals.close())
