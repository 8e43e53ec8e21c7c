"""A command that runs once on a host, without a terminal."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

import asyncssh
import structlog

from backends.abilities import Channel
from backends.base import ExitStatus
from backends.errors import BackendError, Unreachable
from backends.ssh.program import ProgramSession
from backends.ssh.script import LAST_SECONDS, end_script

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from backends.executable import CannotExecute
    from backends.ssh.pool import SshPool

_OUTPUT_BYTES = 256 * 1024
"""Output that waits here to be read before the channel is paused."""

_GRACE_SECONDS = 0.5

_log = structlog.get_logger(__name__)


class SshExecution(ProgramSession):
    """An `Execution`. What is not read fills the channel's window and no more."""

    def __init__(self, pool: SshPool, over: Callable[[SshExecution], None]) -> None:
        """Begin before the start; `over` is called at the end."""
        super().__init__(pool)
        self._over = over
        self._output: deque[tuple[Channel, bytes]] = deque()
        self._output_bytes = 0
        self._changed = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._ended: asyncio.Future[ExitStatus] = asyncio.get_running_loop().create_future()

    @property
    def waiting_bytes(self) -> int:
        """How much output waits here to be read."""
        return self._output_bytes

    async def __aiter__(self) -> AsyncIterator[tuple[Channel, bytes]]:
        """Yield what it prints."""
        while True:
            while self._output:
                channel, data = self._output.popleft()
                self._output_bytes -= len(data)
                if self._output_bytes < _OUTPUT_BYTES and self.channel is not None:
                    self.channel.resume_reading()
                yield channel, data
            if self._ended.done():
                status = self._ended.result()
                if status.lost is not None:
                    raise Unreachable(status.message)
                return
            self._changed.clear()
            await self._changed.wait()

    async def write(self, data: bytes) -> None:
        """Give it input; returns when there is room for more."""
        if self._ended.done() or self.channel is None or self.channel.is_closing():
            return
        try:
            self.channel.write(data)
        except OSError:
            return  # it is gone: it takes everything
        await self._room.wait()

    async def close_input(self) -> None:
        """Let it read the end of its input."""
        if not self._ended.done() and self.channel is not None and not self.channel.is_closing():
            self.channel.write_eof()

    async def wait(self) -> ExitStatus:
        """Return how it ended."""
        return await asyncio.shield(self._ended)

    async def close(self) -> None:
        """End it with all its processes."""
        if self._ended.done():
            return
        if self.leader is not None and self.link is not None and self.link.is_open:
            script = end_script(self.leader, self.token, _GRACE_SECONDS)
            try:
                await self.pool.run(script, seconds=3 * _GRACE_SECONDS + LAST_SECONDS)
            except BackendError as error:
                _log.warning("a command could not be ended", pid=self.leader, reason=str(error))
        self._output.clear()
        if self.channel is not None:
            self.channel.abort()
        try:
            async with asyncio.timeout(1.0):
                await self.wait()
        except TimeoutError:
            self.connection_lost(None)

    def took(self, data: bytes, datatype: int | None) -> None:
        """Keep output until it is read."""
        channel = Channel.STDERR if datatype == asyncssh.EXTENDED_DATA_STDERR else Channel.STDOUT
        self._output.append((channel, data))
        self._output_bytes += len(data)
        if self._output_bytes >= _OUTPUT_BYTES and self.channel is not None and self.status is None:
            self.channel.pause_reading()
        self._changed.set()

    def pause_writing(self) -> None:
        """Let `write` wait."""
        self._room.clear()

    def resume_writing(self) -> None:
        """Let `write` go on."""
        self._room.set()

    def eof_received(self) -> bool:
        """Keep the channel open until its status has come."""
        return True

    def over(self, status: ExitStatus) -> None:
        """End."""
        self._room.set()
        if not self._ended.done():
            self._ended.set_result(status)
            self._over(self)
        self._changed.set()


class FailedExecution:
    """An `Execution` of a command that could not be executed."""

    def __init__(self, failure: CannotExecute) -> None:
        """Take the reason."""
        self._failure = failure

    async def __aiter__(self) -> AsyncIterator[tuple[Channel, bytes]]:
        """Yield why."""
        yield Channel.STDERR, f"{self._failure}\n".encode()

    async def write(self, data: bytes) -> None:
        """Take everything."""

    async def close_input(self) -> None:
        """Do nothing."""

    async def wait(self) -> ExitStatus:
        """Return why."""
        return ExitStatus(code=self._failure.code, message=str(self._failure))

    async def close(self) -> None:
        """Do nothing."""
