"""The handshake, plain ASGI, and the end of connections and of the server."""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
import ssl
import weakref
from typing import TYPE_CHECKING, Any

import pytest
from websockets.asyncio.client import connect, unix_connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from support.asgi import Echo, Listening, Recorder, echo, serving
from support.certificate import client_context, write_certificate
from support.raw import ACCEPT, BINARY, CLOSE, TEXT, Raw, frame
from support.wait import wait_until
from transports.channel import EXTENSION
from transports.picows_protocol import PicowsProtocol

if TYPE_CHECKING:
    from pathlib import Path

    from support.asgi import Message, Receive, Send

both_loops = pytest.mark.asyncio(loop_factories=["uvloop", "asyncio"])

# Each side of where the length changes its form, of where picows hands memory on, and of a socket's buffer.
SIZES = [0, 1, 125, 126, 8192, 8193, 65535, 65536, 1 << 20]


class Impatient(PicowsProtocol):
    end_seconds = 0.2


async def deny(_scope: Message, receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "websocket.close"})


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


# -- the handshake


async def test_the_scope_says_what_the_client_asked() -> None:
    scopes: list[Message] = []

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        scopes.append(scope)
        await deny(scope, receive, send)

    async with serving(app, root_path="/root") as served, await Raw.open(served.port) as raw:
        raw.request("/a%20b/%C3%BC?q=%20&x", Sec_WebSocket_Protocol="one, two", X_Any="v")
        await raw.rest()
        peer = raw.writer.get_extra_info("sockname")
    (scope,) = scopes
    assert scope["type"] == "websocket"
    assert scope["scheme"] == "ws"
    assert scope["http_version"] == "1.1"
    assert scope["path"] == "/root/a b/ü"
    assert scope["raw_path"] == b"/root/a%20b/%C3%BC"
    assert scope["query_string"] == b"q=%20&x"
    assert scope["subprotocols"] == ["one", "two"]
    assert (b"x-any", b"v") in scope["headers"]
    assert scope["client"] == peer
    assert scope["server"] == ("127.0.0.1", served.port) if served.server.servers[0].sockets else True
    assert set(scope["extensions"]) == {"websocket.http.response", EXTENSION}


async def test_the_response_carries_key_subprotocol_and_headers() -> None:
    async def app(_scope: Message, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept", "subprotocol": "two", "headers": [(b"X-Any", b"v")]})

    async with serving(app, headers=[("x-default", "d")]) as served, await Raw.open(served.port) as raw:
        raw.request(Connection="keep-alive, Upgrade")
        lines = (await raw.head()).split(b"\r\n")
    assert lines[0] == b"HTTP/1.1 101 Switching Protocols"
    names = [line.split(b":")[0] for line in lines]
    assert names.count(b"upgrade") == names.count(b"connection") == 1
    for line in (b"sec-websocket-accept: " + ACCEPT, b"sec-websocket-protocol: two", b"X-Any: v", b"x-default: d"):
        assert line in lines


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"Sec_WebSocket_Version": "8"}, b"426"),
        ({"Sec_WebSocket_Version": None}, b"426"),
        ({"Sec_WebSocket_Key": None}, b"400"),
        ({"Sec_WebSocket_Key": "dG9vIHNob3J0"}, b"400"),
        ({"Sec_WebSocket_Key": "!" * 24}, b"400"),
        ({"method": "POST", "Content_Length": "0"}, b"405"),
    ],
)
async def test_an_invalid_handshake_is_refused_before_the_application(changes: dict[str, Any], status: bytes) -> None:
    listening = Listening()
    async with serving(listening) as served, await Raw.open(served.port) as raw:
        raw.request(**changes)
        answer = await raw.rest()
        await served.idle()
    assert answer.startswith(b"HTTP/1.1 " + status)
    assert (b"sec-websocket-version: 13" in answer) is (status == b"426")
    assert not listening.listeners


async def test_a_head_longer_than_the_parsers_own_limit_is_taken() -> None:
    async with serving(echo) as served, connect(served.url, additional_headers={"X-Long": "x" * 30_000}) as client:
        await client.send("here")
        assert await client.recv() == "here"


async def test_close_before_accept_is_403() -> None:
    async with serving(deny) as served:
        with pytest.raises(InvalidStatus) as refused:
            await connect(served.url)
        await served.idle()
    assert refused.value.response.status_code == 403


@pytest.mark.parametrize("more", [True, False], ids=["pieces", "whole"])
async def test_the_application_may_answer_with_a_response_of_its_own(more: bool) -> None:  # noqa: FBT001
    ends: list[Message] = []

    async def app(_scope: Message, receive: Receive, send: Send) -> None:
        await receive()
        headers = [(b"content-type", b"text/x")]
        await send({"type": "websocket.http.response.start", "status": 418, "headers": headers})
        if more:
            await send({"type": "websocket.http.response.body", "body": b"12345", "more_body": True})
        await send({"type": "websocket.http.response.body", "body": b"67"})
        ends.append(await receive())

    async with serving(app) as served, await Raw.open(served.port) as raw:
        raw.request()
        head, _, body = (await raw.rest()).partition(b"\r\n\r\n")
        await served.idle()
    assert head.startswith(b"HTTP/1.1 418 ")
    assert b"content-type: text/x" in head
    assert (b"content-length: 2" in head) is not more
    assert body == (b"1234567" if more else b"67")
    assert ends[0]["code"] == 1006


@pytest.mark.parametrize("header", [(b"x", b"a\r\nb: c"), (b"x y", b"v"), (b"", b"v"), (b"x", b"\0")])
async def test_a_header_that_would_split_the_response_is_an_error(
    header: tuple[bytes, bytes], caplog: pytest.LogCaptureFixture
) -> None:
    async def app(_scope: Message, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept", "headers": [header]})

    async with serving(app) as served, await Raw.open(served.port) as raw:
        raw.request()
        assert (await raw.rest()).startswith(b"HTTP/1.1 500 ")
    assert "invalid HTTP header" in caplog.text


@pytest.mark.parametrize("fails", [True, False], ids=["raises", "returns"])
async def test_an_application_that_does_not_answer_the_handshake_is_500(
    fails: bool,  # noqa: FBT001
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def app(_scope: Message, receive: Receive, _send: Send) -> None:
        await receive()
        if fails:
            raise LookupError("of the test")

    async with serving(app) as served:
        with pytest.raises(InvalidStatus) as refused:
            await connect(served.url)
    assert refused.value.response.status_code == 500
    assert ("LookupError" in caplog.text) is fails
    assert [record.levelno for record in caplog.records if record.levelno >= logging.ERROR] == [logging.ERROR]


async def test_what_comes_before_the_answer_is_kept_and_bounded() -> None:
    decide = asyncio.Event()

    async def app(_scope: Message, receive: Receive, send: Send) -> None:
        await receive()
        await decide.wait()
        await send({"type": "websocket.accept"})
        while (await receive())["type"] != "websocket.disconnect":
            got.append(1)

    got: list[int] = []
    count = 5_000
    async with serving(app) as served, await Raw.open(served.port) as raw:
        raw.request()
        (protocol,) = await wait_until(
            lambda: [p for p in served.server.server_state.connections if isinstance(p, PicowsProtocol)],
            description="the upgrade",
        )
        raw.send(*[frame(BINARY, b"x" * 1000)] * count)
        await wait_until(lambda: not protocol._transport.is_reading(), description="reading to be paused")
        assert len(protocol._early) <= 64 * 1024 + 256 * 1024  # the mark and one read of uvloop
        decide.set()
        await wait_until(lambda: len(got) == count, description="every message")


@both_loops
async def test_a_client_that_goes_before_the_answer_is_a_disconnect() -> None:
    gone: list[Message] = []
    errors: list[BaseException] = []

    async def app(_scope: Message, receive: Receive, send: Send) -> None:
        await receive()
        gone.append(await receive())
        try:
            await send({"type": "websocket.accept"})
        except OSError as error:
            errors.append(error)

    async with serving(app) as served:
        async with await Raw.open(served.port) as raw:
            raw.request()
            await wait_until(lambda: served.server.server_state.tasks, description="the application")
        await served.idle()
    assert gone == [{"type": "websocket.disconnect", "code": 1006, "reason": ""}]
    assert len(errors) == 1


async def test_no_query_string_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with serving(echo) as served:
        async with connect(served.url + "path?ticket=secret"):
            pass
        await served.idle()
    async with serving(deny) as served:
        with pytest.raises(InvalidStatus):
            await connect(served.url + "path?ticket=secret")
    ours = [record for record in caplog.records if not record.name.startswith("websockets")]
    assert any("/path" in record.getMessage() for record in ours)
    assert not any("secret" in record.getMessage() for record in ours)


async def test_small_messages_are_not_held_back_by_the_kernel() -> None:
    listening = Listening()
    async with serving(listening) as served, connect(served.url):
        listener: Any = await listening.listener()
        sock = listener.channel._transport.get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


# -- plain ASGI


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


# -- ends


@both_loops
@pytest.mark.parametrize("how", ["closed", "reset", "half closed"])
async def test_nothing_of_a_connection_is_left_even_without_a_collection(how: str) -> None:
    seen: list[weakref.ref[Any]] = []
    transports: list[weakref.ref[Any]] = []

    class Seen(PicowsProtocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            seen.extend([weakref.ref(self), weakref.ref(self._channel)])
            transports.append(weakref.ref(transport))

    listening = Listening()
    async with serving(listening, ws=Seen) as served:
        gc.collect()
        gc.disable()
        try:
            async with await Raw.upgraded(served.port) as raw:
                seen.append(weakref.ref((await listening.listener()).channel._frames))  # type: ignore[attr-defined]
                if how == "closed":
                    raw.send(frame(CLOSE))
                    await raw.rest()
                elif how == "half closed":
                    raw.writer.write_eof()
                    await raw.rest()
            await served.idle()
            listening.listeners.clear()
            await wait_until(lambda: not any(ref() for ref in seen), description="everything to be gone")
        finally:
            gc.enable()
        gc.collect()  # uvicorn's HTTP protocol, which had the connection before, is in a circle with its parser
        assert transports[0]() is None, "a timer holds the transport"


@both_loops
async def test_shutdown_closes_with_1012_and_waits_for_the_clients() -> None:
    listening = Listening()
    async with serving(listening) as served, connect(served.url) as client:
        listener = await listening.listener()
        await served.stop()
        await client.wait_closed()
        assert client.close_code == 1012
        assert listener.codes == [1012]


async def test_shutdown_refuses_who_is_still_waiting_for_an_answer() -> None:
    async def app(_scope: Message, receive: Receive, _send: Send) -> None:
        await receive()
        await receive()

    async with serving(app) as served, await Raw.open(served.port) as raw:
        raw.request()
        await wait_until(lambda: served.server.server_state.tasks, description="the application")
        served.server.should_exit = True
        assert (await raw.rest()).startswith(b"HTTP/1.1 503 ")
        await served.stop()


@both_loops
async def test_shutdown_does_not_wait_long_for_a_client_that_does_not_answer() -> None:
    async with serving(Listening(), ws=Impatient) as served, await Raw.upgraded(served.port) as raw:
        await served.stop()
        assert await raw.close_code() == 1012


@both_loops
async def test_a_peer_that_never_answers_a_close_is_cut() -> None:
    listening = Listening()
    async with serving(listening, ws=Impatient) as served, await Raw.upgraded(served.port) as raw:
        listener = await listening.listener()
        listener.channel.close(1001)
        assert await raw.close_code() == 1001
        assert await listener.code() == 1006
        assert await raw.rest() == b""
        await served.idle()


@both_loops
async def test_a_half_closed_peer_that_does_not_read_is_cut() -> None:
    listening = Listening()
    async with serving(listening, ws=Impatient) as served, await Raw.upgraded(served.port) as raw:
        listener = await listening.listener()
        raw.writer.transport.pause_reading()  # type: ignore[attr-defined]
        for _ in range(512):  # 32 MiB, more than both sockets take
            listener.channel.send(bytes(65536))
        raw.writer.write_eof()
        assert await listener.code() == 1006
        await served.idle()
    assert listener.codes == [1006]


async def test_a_peer_that_goes_on_sending_after_the_end_is_cut() -> None:
    async with serving(Listening(), ws=Impatient) as served, await Raw.upgraded(served.port) as raw:
        raw.send(frame(CLOSE, b"\x03\xe8"))
        assert await raw.close_code() == 1000

        async def flood() -> None:
            while True:
                raw.send(bytes(65536))
                await raw.writer.drain()

        with pytest.raises(ConnectionError):
            await asyncio.wait_for(flood(), 5)
        await served.idle()


async def test_tls_clients_that_vanish_are_cleaned_up(tmp_path: Path) -> None:
    listening = Listening(Recorder)
    async with serving(listening, ws=Impatient, **write_certificate(tmp_path)) as served:
        client = await connect(f"wss://127.0.0.1:{served.port}/", ssl=client_context())
        listener = await listening.listener()
        client.transport.abort()
        assert await listener.code() == 1006
        await served.idle()
        with pytest.raises((ConnectionClosed, ssl.SSLError)):
            await client.recv()
