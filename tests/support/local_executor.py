"""Runs commands on this machine as a backend would elsewhere; its links can be cut."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from backends.abilities import Channel, Command
from backends.base import ExitStatus, Lost
from backends.errors import NotSupported, Unreachable
from support.terminals import plain_environment

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

_PIECE = 64 * 1024


class LocalExecution:
    """A command in a process group of its own. It implements `abilities.Execution`."""

    def __init__(self, process: asyncio.subprocess.Process, *, half_close: bool) -> None:
        self.process = process
        self.taken = 0
        """How many bytes of input it was given."""
        self._half_close = half_close
        self._is_cut = asyncio.Event()
        self._pending: dict[asyncio.Task[Any], Channel | None] = {}

    def cut(self) -> None:
        """Lose the link: the command's input ends, and nobody reads what it prints."""
        self._is_cut.set()
        self._let_go()

    async def __aiter__(self) -> AsyncIterator[tuple[Channel, bytes]]:
        cut = asyncio.create_task(self._is_cut.wait())
        self._pending[cut] = None
        for channel in Channel:
            self._read(channel)
        try:
            while len(self._pending) > 1:
                await asyncio.wait(self._pending, return_when=asyncio.FIRST_COMPLETED)
                if cut.done():
                    raise Unreachable("the link was cut")
                for done in [task for task in self._pending if task.done()]:
                    origin = self._pending.pop(done)
                    if origin and (data := done.result()):
                        yield origin, data
                        self._read(origin)
        finally:
            await self._stop_reading()

    def _read(self, channel: Channel) -> None:
        stream = self.process.stdout if channel is Channel.STDOUT else self.process.stderr
        assert stream is not None
        self._pending[asyncio.create_task(stream.read(_PIECE))] = channel

    async def _stop_reading(self) -> None:
        tasks = list(self._pending)
        self._pending.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def write(self, data: bytes) -> None:
        if self._is_cut.is_set():
            raise Unreachable("the link was cut")
        assert self.process.stdin is not None
        self.taken += len(data)
        if self.process.stdin.is_closing():
            return  # it is gone, and takes everything
        with suppress(BrokenPipeError, ConnectionResetError):
            self.process.stdin.write(data)
            await self.process.stdin.drain()

    async def close_input(self) -> None:
        if not self._half_close:
            raise NotSupported("local", "closing a command's input")
        assert self.process.stdin is not None
        self.process.stdin.close()

    async def wait(self) -> ExitStatus:
        if self._is_cut.is_set():
            return ExitStatus(lost=Lost.LINK, message="the link was cut")
        code = await self.process.wait()
        return ExitStatus(code=code) if code >= 0 else ExitStatus(signal=-code)

    async def close(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self._let_go()
        await self._stop_reading()
        await self.process.wait()

    def _let_go(self) -> None:
        """Close the pipes, also those a process that lives on holds the other ends of."""
        transport = self.process._transport  # type: ignore[attr-defined] # there is no other way
        for descriptor in range(3):
            if pipe := transport.get_pipe_transport(descriptor):
                pipe.abort() if descriptor == 0 else pipe.close()


class LocalExecutor:
    """Implements `abilities.Executor`. Without `half_close` a command's input cannot be ended."""

    def __init__(
        self,
        environment: Mapping[str, str] | None = None,
        *,
        prefix: Sequence[str] = (),
        half_close: bool = True,
    ) -> None:
        self.prefix = prefix
        self.executions: list[LocalExecution] = []
        self._environment = plain_environment() | dict(environment or {})
        self._half_close = half_close

    async def execute(self, command: Command) -> LocalExecution:
        process = await asyncio.create_subprocess_exec(
            "/bin/sh",
            "-c",
            'exec "$@"',  # says why with 127 and 126
            "sh",
            *self.prefix,
            *command.argv,
            cwd=command.cwd or self._environment["HOME"],
            env=self._environment | dict(command.env),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
            limit=_PIECE,
        )
        self.executions.append(LocalExecution(process, half_close=self._half_close))
        return self.executions[-1]

    async def close(self) -> None:
        """End what runs still."""
        for execution in self.executions:
            await execution.close()
