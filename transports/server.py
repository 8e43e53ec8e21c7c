"""The HTTP server: uvicorn with our protocols, without its signals, and with an end in steps of our choosing."""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from typing import TYPE_CHECKING, Any

import uvicorn

from transports.connections import with_peer
from transports.http_bounds import IDLE_SECONDS, BoundedHttp, IdleConnections
from transports.picows_protocol import PicowsProtocol

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

_TICK_SECONDS = 1.0
_LOOK_SECONDS = 0.005


class Server(uvicorn.Server):
    """Serves an ASGI application on sockets that are bound already; single-use.

    uvicorn closes every WebSocket as soon as it catches a signal, before anyone could be told, and raises the
    signal again after `serve`, so that nothing after it would run: this one leaves signals to its owner.
    """

    def __init__(self, app: Any, *, max_message_bytes: int) -> None:
        """Begin; `ready` is set once connections are accepted."""
        protocol: Any = with_peer(BoundedHttp)
        make_http: Any = partial(protocol, idle=IdleConnections())
        config = uvicorn.Config(
            app,
            http=make_http,
            timeout_keep_alive=IDLE_SECONDS,
            ws=PicowsProtocol,
            ws_max_size=max_message_bytes,
            lifespan="off",
            access_log=False,  # it would print query strings
            log_config=None,
            server_header=False,
            proxy_headers=False,  # the guard believes listed proxies only
        )
        super().__init__(config)
        self.ready = asyncio.Event()
        self._leaving = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to accept connections."""
        await super().startup(sockets)
        self.ready.set()

    async def main_loop(self) -> None:
        """Keep the Date header right until `leave`."""
        while not await self.on_tick(0):  # 0: the tick that does that
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_TICK_SECONDS):
                    await self._leaving.wait()

    async def drain(self, seconds: float) -> None:
        """Accept no more, but answer what has been asked, and whoever has just connected, in so many seconds at most.

        Connections wait at the socket from now on, for whoever else has it.
        """
        for server in self.servers:
            server.close()
        for connection in list(self._connections):
            connection.take_leave()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while any(connection.owes_answer for connection in self._connections):  # noqa: ASYNC110 - uvicorn tells nobody
                    await asyncio.sleep(_LOOK_SECONDS)

    def leave(self, seconds: int) -> None:
        """Stop serving soon, with so many seconds for clients to close their side; `serve` returns."""
        self.config.timeout_graceful_shutdown = seconds
        self.should_exit = True
        self._leaving.set()

    def hurry(self) -> None:
        """Wait for no client."""
        self.force_exit = True

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield

    @property
    def _connections(self) -> set[Any]:
        connections: set[Any] = self.server_state.connections  # uvicorn names its own classes only
        return connections
