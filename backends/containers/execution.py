"""One command without a terminal: an exec whose standard output and standard error are kept apart."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

import structlog

from backends.abilities import Channel
from backends.base import ExitStatus, Lost
from backends.containers.demultiplexer import Demultiplexer
from backends.containers.preamble import PreambleReader
from backends.errors import BackendError, NotSupported

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from backends.containers.box import Box
    from backends.containers.hijack import Hijack
    from backends.containers.preamble import Preamble

_HELD_BYTES = 256 * 1024
"""Output that waits here for its reader, about; then nothing more is read."""
_READ_BYTES = 64 * 1024

_log = structlog.get_logger(__name__)


class ContainerExecution:
    """An `Execution`, and the receiver of its connection's bytes."""

    def __init__(self, box: Box, backend: str, *, token: str, mark: str, user: str) -> None:
        """Begin without a connection."""
        self._box = box
        self._backend = backend
        self._mark = mark
        self._user = user
        self._exec_id = ""
        self._pid = 0
        self._connection: Hijack | None = None
        self._reader: PreambleReader | None = PreambleReader(token)
        self.preamble: asyncio.Future[Preamble] = asyncio.get_running_loop().create_future()
        """Done when the start has been told, or has failed (ValueError: with what was said instead)."""
        self._memory = memoryview(bytearray(_READ_BYTES))
        self._parts = Demultiplexer()
        self._held: deque[tuple[Channel, bytes]] = deque()
        self._held_bytes = 0
        self._stream_over = False
        self._is_closing = False
        self._changed = asyncio.Event()
        self._room = asyncio.Event()
        self._learning = asyncio.Lock()
        self._status: ExitStatus | None = None

    # -- hijack.Receiver

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - as BufferedProtocol has it
        """Return memory."""
        return self._memory

    def buffer_updated(self, nbytes: int) -> None:
        """Hold what was printed; read no more when there is much of it."""
        if self._is_closing:
            return
        for channel, part in self._parts.feed(self._memory[:nbytes]):
            self._hold(channel, part)
        if self._held_bytes > _HELD_BYTES and self._connection is not None:
            self._connection.pause_reading()
        self._changed.set()

    def resume_writing(self) -> None:
        """Let who waits give input."""
        self._room.set()

    def stream_ended(self) -> None:
        """Note the end."""
        self._stream_over = True
        if not self.preamble.done():
            self.preamble.set_exception(ValueError(self._noise()))
        self._changed.set()
        self._room.set()

    def _hold(self, channel: Channel, part: bytes) -> None:
        if self._reader is not None and channel is Channel.STDOUT:
            try:
                found = self._reader.feed(part)
            except ValueError:
                if not self.preamble.done():
                    self.preamble.set_exception(ValueError(self._noise()))
                return
            if found is None:
                return
            self._reader = None
            preamble, part = found
            if not self.preamble.done():
                self.preamble.set_result(preamble)
        if part:
            self._held.append((channel, part))
            self._held_bytes += len(part)

    def _noise(self) -> str:
        said = self._reader.noise if self._reader else ""
        return said + b"".join(part for _, part in self._held)[:1000].decode("utf-8", "replace")

    # -- its beginning

    def connect(self, exec_id: str, connection: Hijack) -> None:
        """Take the connection over which it is starting."""
        self._exec_id = exec_id
        self._connection = connection

    def begin(self, pid: int) -> None:
        """Note that it runs."""
        self._pid = pid

    def fail(self, status: ExitStatus) -> None:
        """Note that it cannot be executed, and say why."""
        self._status = status
        self._held.append((Channel.STDERR, f"{status.message}\n".encode()))
        self._changed.set()

    async def abandon(self) -> None:
        """Close the connection and end what may have been started."""
        if self.preamble.done() and not self.preamble.cancelled():
            self.preamble.exception()  # it is seen
        await self.close()

    # -- Execution

    def __aiter__(self) -> AsyncIterator[tuple[Channel, bytes]]:
        """Yield what it prints."""
        return self._pieces()

    async def _pieces(self) -> AsyncIterator[tuple[Channel, bytes]]:
        while True:
            while self._held:
                channel, part = self._held.popleft()
                self._held_bytes -= len(part)
                if self._held_bytes <= _HELD_BYTES // 2 and self._connection is not None:
                    self._connection.resume_reading()
                yield channel, part
            if self._stream_over:
                return
            self._changed.clear()
            await self._changed.wait()

    async def write(self, data: bytes) -> None:
        """Give it input."""
        view = memoryview(data)
        while view and self._connection is not None:
            self._room.clear()
            view = view[self._connection.write(view) :]
            if view and not self._stream_over:
                await self._room.wait()

    async def close_input(self) -> None:
        """Let it read the end of its input; over TLS that cannot be told. Raises NotSupported."""
        while self._connection is not None and self._connection.is_full and not self._stream_over:
            self._room.clear()
            await self._room.wait()
        if self._connection is not None and not self._connection.write_eof():
            raise NotSupported(self._backend, "the end of a command's input over TLS")

    async def wait(self) -> ExitStatus:
        """Return how it ended, once its output was read."""
        while not self._stream_over or self._held:
            self._changed.clear()
            await self._changed.wait()
        async with self._learning:
            if self._status is None:
                self._status = await self._learn()
        return self._status

    async def _learn(self) -> ExitStatus:
        status = await self._box.learn_exit(self._exec_id)
        if status is None:
            await self._end()
            return ExitStatus(lost=Lost.LINK, message="the connection to the command was cut, so it was ended")
        return status

    async def close(self) -> None:
        """End it if it still runs; what it printed and nobody has read is dropped."""
        self._is_closing = True
        if self._status is None and not self._stream_over:
            if self._connection is not None:
                # Unread, its output would hold up its own end, and with it what the daemon does after it.
                self._connection.resume_reading()
            await self._end()
        if self._connection is not None:
            self._connection.close()
        self._held.clear()
        self._held_bytes = 0
        self._changed.set()

    async def _end(self) -> None:
        try:
            await self._box.end(self._pid, self._mark, 0.2, user=self._user)
        except BackendError as error:
            _log.info("a command in a container was not ended", container=self._box.id[:12], error=str(error))
