"""The end of a channel, however it comes: told once, and nothing after it does harm."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from support.asgi import Late, Listening, Recorder, serving
from support.raw import CLOSE, TEXT, Raw, frame
from support.wait import wait_until

if TYPE_CHECKING:
    from support.asgi import Message, Receive, Send

both_loops = pytest.mark.asyncio(loop_factories=["uvloop", "asyncio"])


async def test_close_sends_code_and_a_reason_that_fits() -> None:
    listening = Listening()
    async with serving(listening) as served, connect(served.url) as client:
        listener = await listening.listener()
        listener.channel.close(4403, "é" * 100)
        with pytest.raises(ConnectionClosed):
            await client.recv()
        assert (client.close_code, client.close_reason) == (4403, "é" * 61)
        assert await listener.code() == 4403
        await served.idle()


async def test_after_close_nothing_is_delivered_and_the_answer_is_read_though_paused() -> None:
    listening = Listening()
    async with serving(listening) as served, await Raw.upgraded(served.port) as raw:
        listener = await listening.listener()
        listener.channel.pause_reading()
        listener.channel.close(1001)
        listener.channel.send(b"too late")
        raw.send(frame(TEXT, b"crossing"), frame(CLOSE, b"\x03\xe9"))
        assert await raw.receive() == (CLOSE, b"\x03\xe9")
        assert await raw.rest() == b""
        assert await listener.code() == 1001
    assert listener.messages == []
    assert listener.codes == [1001]


async def test_close_before_listen_drops_what_waits() -> None:
    app = Late()
    async with serving(app) as served, await Raw.upgraded(served.port) as raw:
        await app.accepted.wait()
        raw.send(frame(TEXT, b"waits"))
        await wait_until(lambda: app.channel._queue, description="the message")  # type: ignore[attr-defined]
        app.channel.close(4409)
        app.listen.set()
        raw.send(frame(CLOSE, (4409).to_bytes(2)))
        assert await app.listener.code() == 4409
        await raw.rest()
    assert app.listener.messages == []
    assert app.listener.codes == [4409]


@both_loops
@pytest.mark.parametrize("how", ["reset", "half closed", "aborted by us"])
async def test_an_abrupt_end_is_1006_once(how: str) -> None:
    listening = Listening()
    async with serving(listening) as served:
        async with await Raw.upgraded(served.port) as raw:
            listener = await listening.listener()
            if how == "half closed":
                raw.send(frame(TEXT, b"unfinished")[:-1])
                raw.writer.write_eof()
                await raw.rest()
            elif how == "aborted by us":
                listener.channel.abort()
                await raw.rest()
            else:
                raw.writer.transport.abort()
        assert await listener.code() == 1006
        await served.idle()
    assert listener.codes == [1006]
    assert listener.messages == []


async def test_every_method_is_harmless_after_the_end() -> None:
    listening = Listening()
    async with serving(listening) as served:
        async with connect(served.url):
            listener = await listening.listener()
        await served.idle()
        channel = listener.channel
        assert isinstance(channel.writable, bool)
        channel.send(b"x")
        channel.send(bytes(100_000), text=True)
        channel.ping()
        channel.pause_reading()
        channel.resume_reading()
        channel.close(1000, "again")
        channel.abort()
    assert listener.codes == [1000]


class Failing(Recorder):
    def message_received(self, data: bytes | str) -> None:
        raise LookupError(data)

    def connection_lost(self, code: int) -> None:
        super().connection_lost(code)
        raise LookupError(code)


@pytest.mark.parametrize("early", [True, False])
async def test_a_listener_that_fails_ends_its_own_connection_only(
    early: bool,  # noqa: FBT001
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = Late()
    app.listener = Failing()
    listening = Listening()

    async def both(scope: Message, receive: Receive, send: Send) -> None:
        await (app if scope["path"] == "/failing" else listening)(scope, receive, send)

    async with serving(both) as served, connect(served.url) as other:
        await listening.listener()
        async with connect(served.url + "failing") as client:
            await app.accepted.wait()
            if not early:
                app.listen.set()
            await client.send("one")
            await client.send("two")
            app.listen.set()
            await client.wait_closed()
            assert client.close_code == 1011
        await other.send("still here")
        await wait_until(lambda: listening.listeners[0].messages, description="the other's message")
    assert app.listener.codes == [1011]
    errors = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert [record.getMessage() for record in errors] == ["Exception in WebSocket listener"] * 2
