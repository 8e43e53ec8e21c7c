"""The durable option of backends elsewhere: programs run in the project's holder there and outlive every cut.

What an adapter does for it::

    self._target = Target(executor, profile, site)    one for each place; `close` it in the end
    DurableTerminals(self._target, order)             what an environment leaves `spawn` and `adopt` to, and `close`
    durable_shells, recalled, sweep_programs          for the backend's methods

The executor is the adapter's own (`abilities.Executor`); it is asked for one command, which lives as long as the link.
What the adapter's environment is asked for while the place is out of reach it does not need the place for: `open` looks
at nothing where programs are durable, since a session of an earlier process is opened before its place is reached.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from backends.base import Survivor
from backends.durable.programs import find_shells, start_program
from backends.durable.pty import RemotePty

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from backends.base import Order, Program, Pty, Sink
    from backends.durable.target import Target

_CLOSE_SECONDS = 1.0


class DurableTerminals:
    """The terminals of one environment: the methods of `Environment`, with nothing provisioned."""

    def __init__(self, target: Target, order: Order) -> None:
        """Begin with none; nothing is asked of the place yet."""
        self._target = target
        self._order = order
        self._open: set[RemotePty] = set()
        self._is_joined = False

    async def spawn(self, program: Program, sink: Sink) -> Pty:
        """Start a program there; see `Environment.spawn`. Raises BackendError, also that nobody is reached."""
        self._join()
        pty = await start_program(await self._target.reach(), program, sink)
        return self._keep(pty) if isinstance(pty, RemotePty) else pty

    async def adopt(self, survivor: Survivor, sink: Sink, position: int = 0) -> Pty:
        """Take over a program of an earlier process; see `Environment.adopt`.

        It takes as long as the place is out of reach. A program that is not there any more, or a place that is out of
        reach for too long, is no error: that is how the terminal ends (`Lost`).
        """
        self._join()
        return self._keep(await self._target.link().find(survivor.session_id, sink, position))

    async def close(self) -> None:
        """End the terminals that are still open; harmless twice."""
        async with asyncio.TaskGroup() as closing:
            for pty in list(self._open):
                closing.create_task(pty.close(_CLOSE_SECONDS))
        if self._is_joined:
            self._is_joined = False
            self._target.leave(self._order.tell)

    def _join(self) -> None:
        if not self._is_joined:
            self._is_joined = True
            self._target.join(self._order.tell)

    def _keep(self, pty: RemotePty) -> RemotePty:
        self._open.add(pty)
        pty.when_over(self._open.discard)
        return pty


class _Nowhere:
    """A sink for what nobody will read."""

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return memory to be forgotten."""
        return memoryview(bytearray(max(1, sizehint)))

    def buffer_updated(self, nbytes: int) -> None:
        """Do nothing."""

    def data_received(self, data: bytes | bytearray | memoryview) -> None:
        """Do nothing."""

    def drained(self) -> None:
        """Do nothing."""

    def resume_writing(self) -> None:
        """Do nothing."""


async def durable_shells(target: Target) -> Sequence[str]:
    """Return the names of the shells there, as `Backend.shells` does. Raises BackendError."""
    return await find_shells(await target.reach())


async def sweep_programs(target: Target, living: Collection[str]) -> None:
    """End what runs there of this service for sessions that are not among the living. Raises BackendError."""
    if not await target.is_there():
        return
    with target.used():
        link = (await target.reach()).link
        for remains in await link.survivors():
            if remains.tag.session_id not in living and not link.has(remains.key):
                pty = await link.adopt(remains, _Nowhere(), remains.head)
                await pty.close(_CLOSE_SECONDS)


def recalled(session_id: str) -> Survivor:
    """Return what `Backend.recall` does: whether it is still there the holder will tell."""
    return Survivor(session_id, "", None)
