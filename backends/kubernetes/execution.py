"""One command in a container, without a terminal: its output apart, held back as long as nobody reads it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import structlog

from backends.abilities import Channel
from backends.base import ExitStatus
from backends.errors import BackendError, Unreachable
from backends.kubernetes.channels import Cut, Outcome, Stream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from backends.executable import CannotExecute
    from backends.kubernetes.ending import Ending
    from backends.kubernetes.starting import Started

_LAST_SECONDS = 2.0
"""For the end of the streams, once the command has ended."""
_GRACE_SECONDS = 0.5

_log = structlog.get_logger(__name__)


class PodExecution:
    """An `abilities.Execution` on an exec."""

    def __init__(self, started: Started, mark: str, ending: Ending) -> None:
        """Take over what was started."""
        loop = asyncio.get_running_loop()
        self._channels = started.channels
        self._marks = started.marks
        self._mark = mark
        self._ending = ending
        self._early = started.early
        self._outcome: Outcome | None = None
        self._status: ExitStatus | None = None
        self._judging = asyncio.Lock()
        self._reading = asyncio.Lock()
        self._reason = ""
        """How the stream has ended, once it has."""
        self._closed = False
        # Told that the stream is cut is who reads.
        self._pings = loop.create_task(self._ping(), name=f"pings for {mark}")

    async def _ping(self) -> None:
        with suppress(Cut):
            await self._channels.keep_alive()

    async def __aiter__(self) -> AsyncIterator[tuple[Channel, bytes]]:
        """Yield what it prints. Raises Unreachable."""
        async with self._reading:
            async for stream, data in self._read():
                yield stream, data
        status = await self.wait()
        if status.lost is not None:
            raise Unreachable(status.message)

    async def _read(self) -> AsyncIterator[tuple[Channel, bytes]]:
        while self._early:
            stream, data = self._early.pop(0)
            yield Channel(stream), data
        while not self._reason:
            try:
                stream, data = await self._receive()
            except TimeoutError:
                self._reason = "something that the command has left running keeps its output open"
                break
            except Cut as cut:
                self._reason = str(cut)
                break
            if stream == Stream.STDERR:
                data = self._marks.feed(data)
            if stream in (Stream.STDOUT, Stream.STDERR) and data:
                yield Channel(stream), data
            elif stream == Stream.STATUS:
                self._outcome = Outcome.parse(data)
                self._reason = "the cluster ended the stream"
        if rest := self._marks.flush():
            yield Channel.STDERR, rest

    async def _receive(self) -> tuple[int, bytes]:
        if self._marks.ended is None:
            return await self._channels.receive()
        async with asyncio.timeout(_LAST_SECONDS):
            return await self._channels.receive()

    async def write(self, data: bytes) -> None:
        """Give it input."""
        if self._reason or self._closed or self._marks.ended is not None:
            return
        with suppress(Cut):  # who reads learns of it
            for start in range(0, len(data), 32 * 1024):
                await self._channels.send(Stream.STDIN, data[start : start + 32 * 1024])

    async def close_input(self) -> None:
        """Let it read the end of its input. Raises NotSupported where the cluster cannot say that."""
        with suppress(Cut):
            await self._channels.close_input()

    async def wait(self) -> ExitStatus:
        """Return how it ended; what nobody has begun to read until then is thrown away."""
        async with self._reading:
            async for _ in self._read():
                pass
        async with self._judging:
            if self._status is None:
                self._status = await self._ending.judge(self._marks, self._outcome, self._reason, self._mark)
        return self._status

    async def close(self) -> None:
        """End it if it still runs, and release all."""
        if self._closed:
            return
        self._closed = True
        self._pings.cancel()
        try:
            if self._marks.ended is None and self._outcome is None and not self._reason:
                await self._end()
        finally:
            await self._channels.close()
            await asyncio.wait([self._pings])

    async def _end(self) -> None:
        """End it in the container, or have that done some time."""
        self._reason = "it was ended"
        try:
            await self._ending.processes.end(self._mark, _GRACE_SECONDS)
        except BackendError as error:
            _log.info("a command in a pod was not ended yet", mark=self._mark, reason=str(error))
            self._ending.abandon(self._mark)


class FailedExecution:
    """An `abilities.Execution` of a command that could not be executed: it says why, and is over."""

    def __init__(self, failure: CannotExecute) -> None:
        """Take the reason."""
        self._words = f"{failure}\n".encode()
        self._status = ExitStatus(code=failure.code, message=str(failure))

    async def __aiter__(self) -> AsyncIterator[tuple[Channel, bytes]]:
        """Say why, once."""
        if self._words:
            words, self._words = self._words, b""
            yield Channel.STDERR, words

    async def write(self, data: bytes) -> None:
        """Take everything."""

    async def close_input(self) -> None:
        """Do nothing."""

    async def wait(self) -> ExitStatus:
        """Return why."""
        return self._status

    async def close(self) -> None:
        """Do nothing."""
