"""What a session has in a workstation: what SSH gives it there, and the reason when the workstation has gone."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import structlog

from backends.base import ExitStatus, Lost
from backends.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from backends.abilities import Command, Connection, Execution, Executor, FileKeeper, Files, Forwarder
    from backends.base import Environment, Program, Pty, Sink, Survivor

    Judge = Callable[[ExitStatus], Awaitable[ExitStatus]]

_FATE_SECONDS = 10.0
"""For the API to say what became of the workstation, before it counts as a lost link."""

_log = structlog.get_logger(__name__)


class WorkstationEnvironment:
    """Passes everything on to the environment that SSH has; `left` is called at the end."""

    def __init__(
        self, over_ssh: Environment, *, fate: Callable[[], Awaitable[str]], left: Callable[[], Awaitable[None]]
    ) -> None:
        """Begin. `fate` says why the workstation is no more ("": it is), and raises BackendError."""
        self._over_ssh = over_ssh
        self._fate = fate
        self._left = left
        self._is_closed = False

    async def spawn(self, program: Program, sink: Sink) -> Pty:
        """Start a program at a terminal there; see `Environment.spawn`."""
        return WorkstationPty(await self._over_ssh.spawn(program, sink), self._judge)

    async def adopt(self, survivor: Survivor, sink: Sink, position: int = 0) -> Pty:
        """Take over a program of an earlier process; see `Environment.adopt`."""
        return WorkstationPty(await self._over_ssh.adopt(survivor, sink, position), self._judge)

    async def execute(self, command: Command) -> Execution:
        """Run a command there; see `Executor.execute`."""
        return await cast("Executor", self._over_ssh).execute(command)

    def files(self) -> Files:
        """Return what works on the files there."""
        return cast("FileKeeper", self._over_ssh).files()

    async def connect(self, port: int, host: str = "localhost") -> Connection:
        """Connect to a port there; see `Forwarder.connect`."""
        return await cast("Forwarder", self._over_ssh).connect(port, host)

    async def close(self) -> None:
        """End the terminals, and let go of the workstation."""
        if self._is_closed:
            return
        self._is_closed = True
        try:
            await self._over_ssh.close()
        finally:
            await self._left()

    async def _judge(self, status: ExitStatus) -> ExitStatus:
        """Tell a stopped workstation from a cut link."""
        if status.lost in (None, Lost.PLACE):
            return status
        try:
            async with asyncio.timeout(_FATE_SECONDS):
                fate = await self._fate()
        except (BackendError, TimeoutError) as error:
            _log.warning("what became of a workstation is not known", reason=str(error))
            return status
        return replace(status, lost=Lost.PLACE, message=fate) if fate else status


class WorkstationPty:
    """A terminal there. All but its end is as SSH has it."""

    def __init__(self, pty: Pty, judge: Judge) -> None:
        """Begin with a terminal that is open."""
        self._pty = pty
        self._judge = judge
        self._judging = asyncio.Lock()
        self._status: ExitStatus | None = None
        self.write = pty.write
        self.interrupt = pty.interrupt
        self.resize = pty.resize
        self.signal = pty.signal
        self.pause_reading = pty.pause_reading
        self.resume_reading = pty.resume_reading
        self.annotate = pty.annotate
        self.detach = pty.detach

    @property
    def pid(self) -> int | None:
        """Process id there."""
        return self._pty.pid

    @property
    def written(self) -> int:
        """How many bytes of input it has taken."""
        return self._pty.written

    @property
    def unconfirmed(self) -> int:
        """How many of these are on their way."""
        return self._pty.unconfirmed

    async def wait(self) -> ExitStatus:
        """Wait for the end, and the same reason for all who wait."""
        status = await self._pty.wait()
        async with self._judging:
            if self._status is None:
                self._status = await self._judge(status)
            return self._status

    async def close(self, grace_seconds: float) -> None:
        """End it; see `Pty.close`."""
        await self._pty.close(grace_seconds)
