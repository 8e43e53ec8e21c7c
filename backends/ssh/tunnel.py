"""An SSH connection over any stream of bytes instead of a TCP connection of its own."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol, Self

if TYPE_CHECKING:
    from collections.abc import Callable

    from backends.abilities import Connection


class Protocolled(Protocol):
    """What asyncssh has on top of a transport."""

    def connection_made(self, transport: Any) -> None:
        """Begin."""
        ...

    def data_received(self, data: bytes) -> None:
        """Take data."""
        ...

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        ...


class Tunnel:
    """What asyncssh calls a tunnel: it makes the connection when asked for one.

    A context manager: a stream that was not asked for is closed.
    """

    def __init__(self, stream: Connection) -> None:
        """Take over a stream; it is closed with the connection."""
        self._stream: Connection | None = stream

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._stream is not None:
            await self._stream.close()

    async def create_connection(
        self,
        session_factory: Callable[[], Protocolled],
        remote_host: str,
        remote_port: int,
        orig_host: str = "",  # noqa: ARG002 - asyncssh's shape
        orig_port: int = 0,  # noqa: ARG002
    ) -> tuple[StreamTransport, Protocolled]:
        """Return the stream as a transport, and what is on top of it."""
        stream, self._stream = self._stream, None
        if stream is None:
            raise ConnectionError("this stream is in use")
        session = session_factory()
        transport = StreamTransport(stream, session, (remote_host, remote_port))
        session.connection_made(transport)
        transport.start()
        return transport, session

    def close(self) -> None:
        """Do nothing: the transport closes the stream."""

    async def wait_closed(self) -> None:
        """Do nothing."""


class StreamTransport:
    """A stream in the shape of an asyncio transport.

    What waits to be written is bounded by the windows of the channels above; there is no other bound in asyncssh
    either, which does not listen to `pause_writing`.
    """

    def __init__(self, stream: Connection, session: Protocolled, peer: tuple[str, int]) -> None:
        """Begin with nothing to write."""
        self._stream = stream
        self._session = session
        self._peer = peer
        self._waiting = bytearray()
        self._wanted = asyncio.Event()
        self._closing = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to carry bytes."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="ssh tunnel")

    def write(self, data: bytes) -> None:
        """Write soon."""
        self._waiting += data
        self._wanted.set()

    def is_closing(self) -> bool:
        """Tell whether it is closed, or nearly."""
        return self._closing

    def close(self) -> None:
        """Close at once: asyncssh has said goodbye already, or has no hope."""
        self._closing = True
        if self._task is not None:
            self._task.cancel()

    def abort(self) -> None:
        """Close at once."""
        self.close()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Tell the address asked for; there is no socket."""
        return self._peer if name == "peername" else default

    async def _run(self) -> None:
        error: Exception | None = None
        try:
            async with asyncio.TaskGroup() as group:
                sending = group.create_task(self._send(), name="ssh tunnel: send")
                while data := await self._stream.read():
                    self._session.data_received(data)
                sending.cancel()
        except* OSError as failed:
            error = failed.exceptions[0] if isinstance(failed.exceptions[0], OSError) else None
        finally:
            self._closing = True
            try:
                await self._stream.close()
            finally:  # also if closed once more meanwhile: somebody waits for this
                self._session.connection_lost(error)

    async def _send(self) -> None:
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            data, self._waiting = bytes(self._waiting), bytearray()
            await self._stream.write(data)
