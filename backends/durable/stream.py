"""A command that an executor runs elsewhere, as a stream to the holder there."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

import structlog

from backends.abilities import Channel
from backends.errors import BackendError

if TYPE_CHECKING:
    from backends.abilities import Execution
    from backends.base import ExitStatus

_SAID_BYTES = 2000
"""Of what the command says on standard error the last so much is kept, for whoever is told why it failed."""
_CLOSE_SECONDS = 5.0
_END_SECONDS = 5.0

_log = structlog.get_logger(__name__)


class ExecutionStream:
    """A `durable.wire.Stream`; what the command says on standard error is logged when it is closed."""

    def __init__(self, execution: Execution) -> None:
        """Take over a command that has just been started."""
        self._execution = execution
        self._output = execution.__aiter__()
        self._returned = b""
        self._said = b""

    @property
    def said(self) -> str:
        """The last that was said on standard error."""
        return self._said.decode("utf-8", "replace").strip()

    async def read(self) -> bytes:
        """Return what has arrived; b"" at the end. Raises OSError, also at an end that came with words."""
        data = await self.read_piece()
        if not data and self._said:
            raise ConnectionError(self.said)
        return data

    async def read_piece(self) -> bytes:
        """Return what has arrived; b"" at the end. Raises OSError."""
        if self._returned:
            data, self._returned = self._returned, b""
            return data
        try:
            async for channel, data in self._output:
                if channel is Channel.STDOUT and data:
                    return data
                self._said = (self._said + data)[-_SAID_BYTES:]
        except BackendError as error:
            raise ConnectionError(str(error)) from error
        return b""

    def give_back(self, data: bytes) -> None:
        """Have what was read, and is not wanted, read next."""
        self._returned = data + self._returned

    async def write(self, data: bytes) -> None:
        """Send all of it. Raises OSError."""
        try:
            await self._execution.write(data)
        except BackendError as error:
            raise ConnectionError(str(error)) from error

    async def wait(self) -> ExitStatus:
        """Return how it ended, once all was read. Raises OSError."""
        try:
            async with asyncio.timeout(_END_SECONDS):
                return await self._execution.wait()
        except BackendError as error:
            raise ConnectionError(str(error)) from error

    async def close(self) -> None:
        """End the command, and wait for that only so long."""
        if self._said:
            _log.info("said by the bridge to a remote holder", text=self.said)
            self._said = b""
        with contextlib.suppress(TimeoutError, BackendError, OSError):  # whatever is left there ends with the link
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self._execution.close()
                if isinstance(self._output, AsyncGenerator):
                    await self._output.aclose()
