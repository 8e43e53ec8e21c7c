"""An executor on this machine that stands for one elsewhere: its commands can be cut off at any moment."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
from contextlib import suppress
from typing import TYPE_CHECKING

from backends.abilities import Channel
from backends.base import ExitStatus, Unreachable
from backends.executable import CannotExecute, find_executable
from support.terminals import plain_environment

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from backends.abilities import Command

_LIMIT = 64 * 1024


class LocalExecutor:
    """Runs commands with an environment of its own, behind a prefix."""

    def __init__(self, home: object = "/", *prefix: str, **environment: str) -> None:
        self.environment = plain_environment(**{"HOME": str(home), **environment})
        self.prefix = list(prefix)
        self.is_blocked = False
        """Whether nobody gets there."""
        self.executions: list[LocalExecution] = []
        self.refusal: Exception | None = None

    async def execute(self, command: Command) -> LocalExecution:
        if self.is_blocked:
            raise Unreachable("the way is closed")
        if self.refusal is not None:
            raise self.refusal
        execution = await LocalExecution.start([*self.prefix, *command.argv], self.environment)
        self.executions.append(execution)
        return execution

    def cut(self) -> None:
        """Cut the newest off, whatever it is doing."""
        self.executions[-1].cut()


class LocalExecution:
    def __init__(self, process: subprocess.Popen[bytes] | None, status: ExitStatus | None, said: bytes) -> None:
        self._process = process
        self._status = status
        self._said = said
        self._cut = asyncio.Event()
        self._streams: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    @classmethod
    async def start(cls, argv: Sequence[str], environment: dict[str, str]) -> LocalExecution:
        try:
            file = await asyncio.to_thread(find_executable, argv[0], path=environment["PATH"], cwd="/")
        except CannotExecute as failure:
            return cls(None, ExitStatus(code=failure.code), f"{failure}\n".encode())
        pairs = [socket.socketpair(), socket.socketpair()]
        loop = asyncio.get_running_loop()
        starting = loop.run_in_executor(None, _start, [file, *argv[1:]], environment, pairs[0][1], pairs[1][1])
        try:
            execution = cls(await asyncio.shield(starting), None, b"")
            for ours, _ in pairs:
                execution._streams.append(await asyncio.open_connection(sock=ours, limit=_LIMIT))
        except BaseException:
            for ours, _ in pairs:
                ours.close()
            await cls(await starting, None, b"").close()  # nearly done: it is not left to itself
            raise
        return execution

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def cut(self) -> None:
        self._cut.set()
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    async def __aiter__(self) -> AsyncIterator[tuple[Channel, bytes]]:
        if self._said:
            yield Channel.STDERR, self._said
        if not self._streams:
            return
        (out, _), (err, _) = self._streams
        reads = {asyncio.create_task(out.read(_LIMIT)): (Channel.STDOUT, out)}
        reads[asyncio.create_task(err.read(_LIMIT))] = (Channel.STDERR, err)
        cut = asyncio.create_task(self._cut.wait())
        try:
            while reads:
                await asyncio.wait([cut, *reads], return_when=asyncio.FIRST_COMPLETED)
                if cut.done():
                    raise Unreachable("cut by the test")
                for read in [read for read in reads if read.done()]:
                    channel, reader = reads.pop(read)
                    if data := read.result():
                        reads[asyncio.create_task(reader.read(_LIMIT))] = (channel, reader)
                        yield channel, data
        finally:
            for task in (cut, *reads):
                task.cancel()

    async def write(self, data: bytes) -> None:
        if self._cut.is_set():
            raise Unreachable("cut by the test")
        if self._streams:
            _, writer = self._streams[0]
            with suppress(ConnectionError):
                writer.write(data)
                await writer.drain()

    async def close_input(self) -> None:
        if self._streams:
            self._streams[0][1].write_eof()

    async def wait(self) -> ExitStatus:
        if self._cut.is_set():
            raise Unreachable("cut by the test")
        if self._process is not None:
            code = await asyncio.to_thread(self._process.wait)
            self._status = ExitStatus(code=code) if code >= 0 else ExitStatus(signal=-code)
        assert self._status is not None
        return self._status

    async def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            await asyncio.to_thread(self._process.wait)
        for _, writer in self._streams:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()


def _start(
    argv: Sequence[str], environment: dict[str, str], both: socket.socket, errors: socket.socket
) -> subprocess.Popen[bytes]:
    with both, errors:
        return subprocess.Popen(
            argv,
            stdin=both.fileno(),
            stdout=both.fileno(),
            stderr=errors.fileno(),
            env=environment,
            start_new_session=True,
        )
