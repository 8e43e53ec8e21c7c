"""Plain ASGI, and the channel, over every kind of socket."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from websockets.asyncio.client import connect, unix_connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from support.asgi import Echo, Listening, echo, serving
from support.certificate import client_context, write_certificate
from support.raw import BINARY, CLOSE, TEXT, Raw, frame
from support.wait import wait_until
from transports.picows_protocol import PicowsProtocol

if TYPE_CHECKING:
    from pathlib import Path

    from support.asgi import Message, Receive, Send

both_loops = pytest.mark.asyncio(loop_factories=["uvloop", "asyncio"])

# Each side of where the length changes its form, of where picows hands memory on, and of a socket's buffer.
SIZES = [0, 1, 125, 126, 8192, 8193, 65535, 65536, 1 << 20]


async def converse(connection: Any) -> None:
    for size in SIZES:
        await connection.send(b"\xff" * size)
        await connection.send("ü" * (size // 2))
        assert await connection.recv() == b"\xff" * size
        assert await connection.recv() == "ü" * (size // 2)


# -- plain ASGI and the channel, over every kind of socket


@both_loops
@pytest.mark.parametrize("app", [echo, Listening(Echo)], ids=["asgi", "channel"])
async def test_echoes_every_size_over_tcp(app: Any) -> None:
    async with serving(app) as served, connect(served.url, max_size=None) as client:
        await converse(client)


@both_loops
@pytest.mark.parametrize("app", [echo, Listening(Echo)], ids=["asgi", "channel"])
async def test_echoes_every_size_over_tls(app: Any, tmp_path: Path) -> None:
    async with serving(app, **write_certificate(tmp_path)) as served:
        url = f"wss://127.0.0.1:{served.port}/"
        async with connect(url, ssl=client_context(), max_size=None) as client:
            await converse(client)
        await served.idle()


@both_loops
@pytest.mark.platform("linux", "darwin")
@pytest.mark.parametrize("app", [echo, Listening(Echo)], ids=["asgi", "channel"])
async def test_echoes_every_size_over_a_unix_socket(app: Any, tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    async with serving(app, uds=path) as served:
        async with unix_connect(path, max_size=None) as client:
            await converse(client)
        await served.idle()


async def test_asgi_send_waits_for_a_client_that_does_not_read() -> None:
    sent = 0

    async def app(_scope: Message, receive: Receive, send: Send) -> None:
        nonlocal sent
        await receive()
        await send({"type": "websocket.accept"})
        for sent in range(1, 1001):  # noqa: B007 - looked at from outside
            await send({"type": "websocket.send", "bytes": b"x" * 65536})

    async with serving(app) as served, await Raw.open(served.port) as raw:
        raw.request()
        await raw.head()
        (protocol,) = served.server.server_state.connections
        assert isinstance(protocol, PicowsProtocol)
        await wait_until(lambda: not protocol._channel.writable, description="the buffer to be full")
        assert sent < 1000
        assert protocol._transport.get_write_buffer_size() <= (128 + 64 + 1) * 1024
        for _ in range(1000):
            assert await raw.receive() == (BINARY, b"x" * 65536)
        assert await raw.close_code() == 1000


async def test_asgi_messages_before_a_close_frame_are_received_before_the_disconnect() -> None:
    received: list[Message] = []

    async def app(_scope: Message, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await over.wait()
        received.extend([await receive(), await receive(), await receive()])

    over = asyncio.Event()
    async with serving(app) as served, await Raw.open(served.port) as raw:
        raw.request()
        await raw.head()
        raw.send(frame(TEXT, b"one"), frame(BINARY, b"two"), frame(CLOSE, b"\x0f\xa0bye"))
        assert await raw.close_code() == 4000
        over.set()
        await raw.rest()
        await served.idle()
    assert received == [
        {"type": "websocket.receive", "text": "one"},
        {"type": "websocket.receive", "bytes": b"two"},
        {"type": "websocket.disconnect", "code": 4000, "reason": ""},
    ]


@pytest.mark.parametrize(("fails", "code"), [(True, 1011), (False, 1000)], ids=["raises", "returns"])
async def test_the_end_of_the_application_closes_the_websocket(fails: bool, code: int) -> None:  # noqa: FBT001
    async def app(_scope: Message, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        if fails:
            raise LookupError("of the test")

    async with serving(app) as served, connect(served.url) as client:
        with pytest.raises(ConnectionClosed):
            await client.recv()
        assert client.close_code == code
        await served.idle()


async def test_asgi_close_carries_code_and_reason_and_is_the_last_word() -> None:
    errors: list[str] = []

    async def app(_scope: Message, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.close", "code": 4403, "reason": "no"})
        try:
            await send({"type": "websocket.send", "text": "more"})
        except RuntimeError as error:
            errors.append(str(error))
        assert (await receive())["code"] == 4403

    async with serving(app) as served, connect(served.url) as client:
        await client.wait_closed()
        assert (client.close_code, client.close_reason) == (4403, "no")
        await served.idle()
    assert len(errors) == 1


@pytest.mark.parametrize("wrong", ["websocket.send", "websocket.http.response.body", "nonsense"])
async def test_a_message_out_of_turn_is_the_applications_error(wrong: str, caplog: pytest.LogCaptureFixture) -> None:
    async def app(_scope: Message, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": wrong})

    async with serving(app) as served:
        with pytest.raises(InvalidStatus):
            await connect(served.url)
    assert f"unexpected ASGI message '{wrong}'" in caplog.text
