"""A guarded application on a real server, and ways to ask it what no well-behaved client would."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from terminal_service.policy import Identity
from transports import peers
from transports.connections import with_peer
from transports.guard import Guard
from transports.picows_protocol import PicowsProtocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
    from pathlib import Path

    from starlette.types import Receive, Scope, Send

ALLOWED = "https://app.example.com"
KEY = "0123456789abcdef-alice"
LOCAL = Identity(peers.own_name(), "local", is_admin=True)


@dataclass
class App:
    """Answers every request with who asks; accepts every WebSocket. Remembers what it was asked."""

    seen: list[Scope] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.seen.append(scope)
        identity = scope["state"]["identity"]
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})
            await send({"type": "websocket.send", "text": identity.user})
            await send({"type": "websocket.close", "code": 1000})
            return
        headers = [(b"content-security-policy", b"default-src 'self'")] if scope["path"] == "/docs" else []
        await send({"type": "http.response.start", "status": 200, "headers": [*headers, (b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})


@dataclass
class Answer:
    """What came back: everything up to the end of the body."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def problem(self) -> dict[str, Any]:
        assert self.headers["content-type"] == "application/problem+json"
        document: dict[str, Any] = json.loads(self.body)
        assert document["status"] == self.status
        assert {"type", "title", "detail", "code"} <= document.keys()
        return document


@dataclass
class Service:
    """A guarded app on a real server, and raw ways to ask it."""

    app: App
    refusals: list[str]
    port: int = 0
    path: str = ""

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def raw(self, request: bytes) -> Answer:
        opened = (
            asyncio.open_unix_connection(self.path) if self.path else asyncio.open_connection("127.0.0.1", self.port)
        )
        reader, writer = await opened
        try:
            writer.write(request)
            async with asyncio.timeout(30):
                return await read_answer(reader)
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    @contextlib.asynccontextmanager
    async def kept_open(self) -> AsyncIterator[Callable[[bytes], Awaitable[Answer]]]:
        """Give a way to ask many times over one connection."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)

        async def ask(request: bytes) -> Answer:
            writer.write(request)
            async with asyncio.timeout(30):
                return await read_answer(reader)

        try:
            yield ask
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def ask(
        self,
        headers: Sequence[tuple[str, str | bytes]] = (),
        *,
        target: str = "/",
        method: str = "GET",
        body: bytes | None = None,
        host: str | bytes | None = "",
    ) -> Answer:
        """Ask over HTTP; `host` "" is the right one, None none."""
        lines: list[tuple[str, str | bytes]] = [] if host is None else [("Host", host or self.host)]
        lines += headers
        if body is not None:
            lines.append(("Content-Length", str(len(body))))
        return await self.raw(request_bytes(method, target, lines) + (body or b""))

    async def shake(
        self,
        headers: Sequence[tuple[str, str | bytes]] = (),
        *,
        host: str | bytes | None = "",
        target: str = "/ws",
    ) -> Answer:
        """Ask for a WebSocket."""
        upgrade: list[tuple[str, str | bytes]] = [
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ]
        return await self.ask([*upgrade, *headers], host=host, target=target)


def request_bytes(method: str, target: str, headers: Sequence[tuple[str, str | bytes]]) -> bytes:
    lines = [f"{method} {target} HTTP/1.1".encode()]
    for name, value in headers:
        lines.append(name.encode() + b": " + (value if isinstance(value, bytes) else value.encode()))
    return b"\r\n".join(lines) + b"\r\n\r\n"


async def read_answer(reader: asyncio.StreamReader) -> Answer:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    pairs = [line.partition(":") for line in head[1:] if line]
    headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Answer(int(head[0].split()[1]), headers, body)


def listening() -> socket.socket:
    """Listen on a free port. asyncio sets TCP_NODELAY only where the protocol is named: 40 ms an answer otherwise."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    return listener


@contextlib.asynccontextmanager
async def serving(path: Path | None = None, **options: Any) -> AsyncIterator[Service]:
    """Serve a guarded app on a free port of 127.0.0.1, or on a Unix socket."""
    app = App()
    refusals: list[str] = []
    config = uvicorn.Config(
        Guard(app, refused=refusals.append, **options),
        http=with_peer(HttpToolsProtocol),
        ws=PicowsProtocol,
        lifespan="off",
        log_config=None,
        proxy_headers=False,
        uds=str(path) if path else None,
    )
    listener = None if path else listening()
    server = uvicorn.Server(config)
    running = asyncio.create_task(server.serve(sockets=[listener] if listener else None))
    try:
        while not server.started and not running.done():  # noqa: ASYNC110  (uvicorn offers no event)
            await asyncio.sleep(0.001)
        port = listener.getsockname()[1] if listener else 0
        yield Service(app, refusals, port, str(path or ""))
    finally:
        server.should_exit = True
        await running
