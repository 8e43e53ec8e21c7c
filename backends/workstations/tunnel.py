"""The tunnel to a TCP port of a workstation: a WebSocket that carries the bytes.

The protocol is the one of `gcloud workstations start-tcp-tunnel` and `ssh` (Google Cloud SDK,
googlecloudsdk/api_lib/workstations/workstations.py, `Workstations._AcceptConnection`): each TCP connection is a
WebSocket to `wss://{host of the workstation}/_workstation/tcp/{port}` with the header `Authorization: Bearer {token}`,
where the token is what generateAccessToken gave. Messages are pieces of the stream, of any size; 503 means that
nothing listens on that port. A token is looked at when the WebSocket is opened: gcloud gets a new one every 45
minutes, for those that are opened then.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

import aiohttp

from backends.open_sockets import OpenSockets

if TYPE_CHECKING:
    import ssl

_PIECE_BYTES = 64 * 1024
"""One message at most: a small one gets between the pieces of a big one sooner."""

_MESSAGE_BYTES = 4 * 1024 * 1024
"""One message from the other side, at most; a longer one ends the tunnel."""

_CLOSE_SECONDS = 0.5
"""For the other side to take leave."""

_FAREWELLS = (aiohttp.WSCloseCode.OK, aiohttp.WSCloseCode.GOING_AWAY)


class Refused(Exception):
    """The other side answered with something else than a WebSocket."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(f"{status} {words}")
        self.status = status


class Dialer:
    """Opens WebSockets to workstations; `close` in the end, when all tunnels are closed."""

    def __init__(self, *, context: ssl.SSLContext, ping_seconds: float, connect_seconds: float) -> None:
        """`ping_seconds`: without an answer for so long, a tunnel is cut; 0: never."""
        self._context = context
        self._ping_seconds = ping_seconds
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=connect_seconds)
        self._connect_seconds = connect_seconds
        self._session: aiohttp.ClientSession | None = None
        self._sockets = OpenSockets(close_seconds=_CLOSE_SECONDS)

    async def open(self, host: str, port: int, token: str) -> Tunnel:
        """Connect. Raises Refused, and OSError (time is up, too) where nobody answers."""
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=0, socket_factory=self._sockets.open)
            self._session = aiohttp.ClientSession(connector=connector, timeout=self._timeout, trust_env=False)
        try:
            async with asyncio.timeout(self._connect_seconds):
                socket = await self._session.ws_connect(
                    f"wss://{host}/_workstation/tcp/{port}",
                    headers={"Authorization": f"Bearer {token}"},
                    ssl=self._context,
                    heartbeat=self._ping_seconds or None,
                    max_msg_size=_MESSAGE_BYTES,
                    timeout=aiohttp.ClientWSTimeout(ws_close=_CLOSE_SECONDS),
                )
                return Tunnel(socket)
        except aiohttp.WSServerHandshakeError as error:
            raise Refused(error.status, error.message) from None  # the error has the token in it
        except TimeoutError:
            raise TimeoutError(f"{host} does not answer within {self._connect_seconds:g} s") from None
        except aiohttp.ClientError as error:
            raise OSError(f"{host}: {error}") from error

    async def close(self) -> None:
        """Release what connections there are."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()
        await self._sockets.close()


class Tunnel:
    """One WebSocket as a stream, a `backends.abilities.Connection`: every error is an OSError."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        """Carry from now on."""
        self._socket = socket
        self.sent_at = time.time()
        """When bytes were last sent to the workstation, in wall-clock seconds; that it was opened counts."""
        self.is_open = True

    async def read(self) -> bytes:
        """Return what has arrived; b"" at the end. What is not read waits in the sockets, and then over there."""
        while True:
            message = await self._socket.receive()
            if message.type is aiohttp.WSMsgType.BINARY:
                data: bytes = message.data
            elif message.type is aiohttp.WSMsgType.TEXT:
                data = message.data.encode()
            else:
                self.is_open = False
                if self._socket.close_code in _FAREWELLS:
                    return b""
                raise ConnectionResetError(f"the tunnel was cut ({self._why()})")
            if data:
                return data

    async def write(self, data: bytes) -> None:
        """Send all of it, in messages of moderate size."""
        try:
            for start in range(0, len(data), _PIECE_BYTES):
                self.sent_at = time.time()
                await self._socket.send_bytes(data[start : start + _PIECE_BYTES])
        except aiohttp.ClientError as error:
            self.is_open = False
            raise ConnectionResetError(f"the tunnel was cut ({error})") from error

    async def write_eof(self) -> None:
        """Do nothing: a WebSocket has no half-closed state."""

    async def close(self) -> None:
        """Take leave and release everything, within a short time."""
        self.is_open = False
        with contextlib.suppress(TimeoutError, OSError, aiohttp.ClientError):
            await self._socket.close()

    def _why(self) -> str:
        """Tell what is known of the end, for people."""
        error = self._socket.exception()
        if error is not None:
            return str(error) or type(error).__name__
        code = self._socket.close_code
        return f"WebSocket code {code}" if code else "without a word"
