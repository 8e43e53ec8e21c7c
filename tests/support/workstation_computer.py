"""One emulated workstation: its state, and the tunnels to what listens in it."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from aiohttp import WSMsgType, web
from google.cloud import workstations_v1 as v1

if TYPE_CHECKING:
    from pathlib import Path

STARTING, RUNNING, STOPPING, STOPPED = range(1, 5)
PARENT = "projects/a-project/locations/europe-west1/workstationClusters/cluster/workstationConfigs/config"
_SWITCHING, _UNAVAILABLE = 101, 503

Admit = Callable[["Computer", int, str], int]
"""Given the port and the header Authorization, the HTTP status of a try to open a tunnel: 101 is yes."""


@dataclass(eq=False)
class Computer:
    """One workstation."""

    name: str
    labels: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)
    state: int = STOPPED
    started_at: datetime | None = None
    host: str = ""
    sockets: set[web.WebSocketResponse] = field(default_factory=set)
    dials: list[int] = field(default_factory=list)
    """The HTTP status of each try to open a tunnel."""

    _runner: web.AppRunner | None = None

    def message(self) -> v1.Workstation:
        return v1.Workstation(
            name=f"{PARENT}/workstations/{self.name}",
            labels=self.labels,
            annotations=self.annotations,
            state=self.state,
            host=self.host,
            start_time=self.started_at,
        )

    def cut(self) -> None:
        """Cut every tunnel to it, without a farewell."""
        for transport in self._transports():
            transport.abort()

    def freeze(self) -> None:
        """Have all tunnels to it answer no more, and keep them open."""
        for transport in self._transports():
            transport.pause_reading()

    def _transports(self) -> list[Any]:
        return [socket._req.transport for socket in self.sockets if socket._req and socket._req.transport]

    async def plug_in(self, directory: Path, listening: Mapping[int, int], admit: Admit) -> None:
        """Start it: its host answers. `directory` has `ca.pem` and `tls.key`, `listening` its ports that listen."""
        application = web.Application()
        application.router.add_get("/_workstation/tcp/{port}", functools.partial(self._tunnel, listening, admit))
        self._runner = web.AppRunner(application, shutdown_timeout=0.1)
        await self._runner.setup()
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(directory / "ca.pem", directory / "tls.key")
        site = web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=context)
        await site.start()
        self.host = f"localhost:{self._runner.addresses[0][1]}"
        self.state, self.started_at = RUNNING, datetime.now(UTC)

    async def unplug(self) -> None:
        """Stop it."""
        self.state = STOPPED
        self.cut()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _tunnel(self, listening: Mapping[int, int], admit: Admit, request: web.Request) -> web.StreamResponse:
        port = int(request.match_info["port"])
        status = admit(self, port, request.headers.get("Authorization", ""))
        connection = None
        if status == _SWITCHING:
            try:
                connection = await asyncio.open_connection("127.0.0.1", listening.get(port, 1))
            except OSError:
                status = _UNAVAILABLE
        self.dials.append(status)
        if connection is None:
            return web.Response(status=status)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.sockets.add(socket)
        try:
            await _carry(socket, *connection)
        finally:
            self.sockets.discard(socket)
        return socket


async def _carry(socket: web.WebSocketResponse, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Carry bytes until either side ends."""

    async def out() -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(16384):
                await socket.send_bytes(data)
        await socket.close()  # also when the server behind it was killed

    outward = asyncio.create_task(out())
    try:
        async for message in socket:
            if writer.transport.is_closing():
                break  # the server behind it has gone
            if message.type in (WSMsgType.BINARY, WSMsgType.TEXT):
                writer.write(message.data if isinstance(message.data, bytes) else message.data.encode())
                await writer.drain()
    except ConnectionError:
        pass  # the server behind it has gone
    finally:
        outward.cancel()
        await asyncio.wait([outward])
        writer.transport.abort()
