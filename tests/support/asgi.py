"""A real uvicorn server in the test's own event loop, with an application that the test is written in."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
import uvicorn

from support.wait import wait_until
from transports.channel import EXTENSION, Channel
from transports.picows_protocol import PicowsProtocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping

    Message = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]
    App = Callable[[Message, Receive, Send], Awaitable[None]]

HOST = "127.0.0.1"


@dataclass
class Served:
    """A running server."""

    server: uvicorn.Server

    @property
    def port(self) -> int:
        """The TCP port it listens on."""
        port: int = self.server.servers[0].sockets[0].getsockname()[1]
        return port

    @property
    def url(self) -> str:
        """Where a WebSocket client connects to."""
        return f"ws://{HOST}:{self.port}/"

    async def idle(self) -> None:
        """Wait until no connection and no application is left."""
        state = self.server.server_state
        await wait_until(
            lambda: not state.connections and not state.tasks, description="no connection and no application"
        )

    async def stop(self) -> None:
        """Stop as on a signal, and wait until it has stopped."""
        self.server.should_exit = True
        await wait_until(lambda: not self.server.started, description="the server to have stopped")


@asynccontextmanager
async def serving(app: App, **options: Any) -> AsyncIterator[Served]:
    """Serve `app` with `PicowsProtocol` on a free port of 127.0.0.1, or as uvicorn's `options` say.

    Fails if a connection or an application is left when the server is told to stop after the block.
    """
    defaults: dict[str, Any] = {
        "host": HOST,
        "port": 0,
        "ws": PicowsProtocol,
        "lifespan": "off",
        "log_config": None,
        "timeout_graceful_shutdown": 10,
    }
    config = uvicorn.Config(app, **(defaults | options))
    served = Served(uvicorn.Server(config))
    running = asyncio.create_task(_serve(served.server), name="server")
    try:
        await wait_until(lambda: served.server.started or running.done(), description="the server to listen")
        yield served
    finally:
        served.server.should_exit = True
        await running
    assert not served.server.server_state.connections
    assert not served.server.server_state.tasks


async def _serve(server: uvicorn.Server) -> None:
    try:
        await server.serve()
    finally:
        server.started = False


class Recorder:
    """A listener that writes everything down."""

    def __init__(self) -> None:
        self.channel: Channel
        self.messages: list[bytes | str] = []
        self.pongs = 0
        self.resumed = 0
        self.codes: list[int] = []

    def message_received(self, data: bytes | str) -> None:
        self.messages.append(data)

    def pong_received(self) -> None:
        self.pongs += 1

    def resume_writing(self) -> None:
        self.resumed += 1

    def connection_lost(self, code: int) -> None:
        self.codes.append(code)

    async def code(self) -> int:
        """Wait for the end of the WebSocket and return its close code."""
        await wait_until(lambda: self.codes, description="connection_lost")
        return self.codes[0]


class Echo(Recorder):
    """A listener that sends back what it gets, and stops reading while the peer does not."""

    def message_received(self, data: bytes | str) -> None:
        if isinstance(data, str):
            self.channel.send(data.encode(), text=True)
        else:
            self.channel.send(data)
        if not self.channel.writable:
            self.channel.pause_reading()

    def resume_writing(self) -> None:
        self.channel.resume_reading()


@dataclass
class Listening:
    """An application that accepts and hands the channel to a listener; keeps the listeners it made."""

    make: Callable[[], Recorder] = Recorder
    listeners: list[Recorder] = field(default_factory=list)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        listener = self.make()
        listener.channel = scope["extensions"][EXTENSION]
        self.listeners.append(listener)
        listener.channel.listen(listener)
        assert (await receive())["type"] == "websocket.disconnect"

    async def listener(self) -> Recorder:
        """Wait for the first connection's listener."""
        await wait_until(lambda: self.listeners, description="a connection")
        return self.listeners[0]


async def echo(_scope: Message, receive: Receive, send: Send) -> None:
    """Be the echo that knows nothing of channels."""
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] != "websocket.disconnect":
        await send({"type": "websocket.send", "bytes": message.get("bytes"), "text": message.get("text")})


class Late:
    """An application that accepts, and listens only when told."""

    def __init__(self) -> None:
        self.listener = Recorder()
        self.channel: Channel
        self.accepted = asyncio.Event()
        self.listen = asyncio.Event()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        await receive()
        self.channel = scope["extensions"][EXTENSION]
        with pytest.raises(RuntimeError):
            self.channel.listen(self.listener)
        await send({"type": "websocket.accept"})
        self.accepted.set()
        await self.listen.wait()
        self.channel.listen(self.listener)
        assert (await receive())["type"] == "websocket.disconnect"
