"""The handshake: what the application is told, what it may answer, what is refused before it."""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import TYPE_CHECKING, Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from support.asgi import Listening, echo, serving
from support.raw import ACCEPT, BINARY, Raw, frame
from support.wait import wait_until
from transports.channel import EXTENSION
from transports.picows_protocol import PicowsProtocol

if TYPE_CHECKING:
    from support.asgi import Message, Receive, Send

both_loops = pytest.mark.asyncio(loop_factories=["uvloop", "asyncio"])


async def deny(_scope: Message, receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "websocket.close"})


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
