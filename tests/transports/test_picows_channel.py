"""What a channel's user may rely on, and what a peer may not do."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import pytest
from picows.picows import WSProtocol  # type: ignore[attr-defined] # missing from the stubs
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from support.asgi import Echo, Listening, Recorder, serving
from support.raw import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, Raw, frame
from support.wait import wait_until
from transports.channel import EXTENSION, Channel

if TYPE_CHECKING:
    from support.asgi import Message, Receive, Send

both_loops = pytest.mark.asyncio(loop_factories=["uvloop", "asyncio"])

LIMIT = 1000
MORE_THAN_THE_KERNEL_TAKES = 32 * 1024 * 1024  # into both sockets' buffers, on loopback


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


# -- messages in


@both_loops
async def test_messages_before_listen_wait_with_reading_paused() -> None:
    app = Late()
    count = 20_000
    async with serving(app) as served, await Raw.upgraded(served.port) as raw:
        await app.accepted.wait()
        transport: Any = app.channel._transport  # type: ignore[attr-defined]
        raw.send(*(frame(TEXT, b"%d" % n) for n in range(count)))
        await wait_until(lambda: not transport.is_reading(), description="reading to be paused")
        assert len(app.channel._queue) < count  # type: ignore[attr-defined]
        app.listen.set()
        await wait_until(lambda: len(app.listener.messages) == count, description="every message")
    assert app.listener.messages == [str(n) for n in range(count)]


async def test_listen_after_the_end_delivers_what_came_and_the_end() -> None:
    app = Late()
    async with serving(app) as served:
        async with await Raw.upgraded(served.port) as raw:
            raw.send(frame(TEXT, b"one"), frame(BINARY, b"two"), frame(CLOSE, b"\x0f\xa0"))
            await raw.rest()
        await wait_until(lambda: not served.server.server_state.connections, description="the end")
        app.listen.set()
        await served.idle()
    assert app.listener.messages == ["one", b"two"]
    assert app.listener.codes == [4000]


@both_loops
async def test_a_paused_channel_is_not_read() -> None:
    listening = Listening()
    async with serving(listening) as served, await Raw.upgraded(served.port) as raw:
        listener = await listening.listener()
        listener.channel.pause_reading()
        transport: Any = listener.channel._transport  # type: ignore[attr-defined]
        assert not transport.is_reading()
        raw.send(frame(TEXT, b"later"))
        listener.channel.resume_reading()
        await wait_until(lambda: listener.messages == ["later"], description="the message")


@both_loops
async def test_fragments_are_one_message_with_pings_between() -> None:
    listening = Listening()
    async with serving(listening) as served, await Raw.upgraded(served.port) as raw:
        listener = await listening.listener()
        euro = "€".encode()
        raw.send(frame(TEXT, euro[:1], fin=False), frame(PING, b"p"), frame(CONTINUATION, b"", fin=False))
        raw.send(frame(CONTINUATION, euro[1:]), frame(BINARY, b"a", fin=False), frame(CONTINUATION, b"b"))
        assert await raw.receive() == (PONG, b"p")
        await wait_until(lambda: listener.messages == ["€", b"ab"], description="both messages")


async def test_bytes_may_arrive_one_by_one() -> None:
    listening = Listening()
    async with serving(listening) as served, await Raw.upgraded(served.port) as raw:
        listener = await listening.listener()
        for byte in frame(TEXT, b"slow"):
            raw.send(bytes([byte]))
            await raw.writer.drain()
            await asyncio.sleep(0)
        await wait_until(lambda: listener.messages == ["slow"], description="the message")


async def test_the_parsers_memory_follows_the_largest_frame_not_the_rate() -> None:
    listening = Listening()
    async with serving(listening) as served, await Raw.upgraded(served.port) as raw:
        listener = await listening.listener()
        burst, count = frame(BINARY, b"x") * 100_000, 5
        for _ in range(count):
            raw.send(burst)
        await wait_until(lambda: len(listener.messages) == 100_000 * count, description="the flood")
        free = len(WSProtocol.get_buffer(listener.channel._frames, -1))  # type: ignore[attr-defined]
        assert free <= 128 * 1024


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        ([frame(TEXT, b"x", rsv=4)], 1002),
        ([frame(BINARY, b"x", rsv=1)], 1002),
        ([frame(PING, b"x", rsv=2)], 1002),
        ([frame(0x3, b"x")], 1002),
        ([frame(0xB, b"x")], 1002),
        ([frame(TEXT, b"x", masked=False)], 1002),
        ([frame(PING, b"x", fin=False)], 1002),
        ([frame(PING, b"x" * 126)], 1002),
        ([frame(CONTINUATION, b"x")], 1002),
        ([frame(TEXT, b"x", fin=False), frame(TEXT, b"y")], 1002),
        ([frame(BINARY, b"x", fin=False), frame(CONTINUATION, b"y"), frame(CONTINUATION, b"z")], 1002),
        ([frame(TEXT, b"\xff")], 1007),
        ([frame(TEXT, "€".encode()[:2])], 1007),
        ([frame(TEXT, "\ud800".encode(errors="surrogatepass"))], 1007),
        ([frame(TEXT, b"ok", fin=False), frame(CONTINUATION, b"\xc0", fin=False)], 1007),
        ([frame(TEXT, "€".encode()[:1], fin=False), frame(CONTINUATION, b"")], 1007),
        ([frame(BINARY, b"x" * (LIMIT + 1))], 1009),
        ([b"\x82\xff\x7f" + b"\xff" * 7], 1009),  # a frame of 2**63 - 1 bytes
        ([frame(BINARY, b"x" * LIMIT, fin=False), frame(CONTINUATION, b"x")], 1009),
        ([frame(CLOSE, b"x")], 1002),
        *[([frame(CLOSE, code.to_bytes(2))], 1002) for code in (0, 999, 1004, 1005, 1006, 1015, 2999, 5000, 65535)],
        ([frame(CLOSE, b"\x03\xe8\xff")], 1007),
    ],
)
async def test_a_violation_closes_with_its_code_and_tells_the_listener_once(frames: list[bytes], code: int) -> None:
    listening = Listening()
    async with serving(listening, ws_max_size=LIMIT) as served:
        async with await Raw.upgraded(served.port) as raw:
            listener = await listening.listener()
            raw.send(*frames, frame(BINARY, b"too late"))
            assert await raw.close_code() == code
            assert await raw.rest() == b""
        await served.idle()
    assert listener.codes == [code]
    assert b"too late" not in listener.messages


@both_loops
async def test_the_close_frame_arrives_though_the_peer_goes_on_sending() -> None:
    async with serving(Listening()) as served, await Raw.upgraded(served.port) as raw:
        raw.send(frame(0x3), bytes(4 * 1024 * 1024))
        await raw.writer.drain()
        assert await raw.close_code() == 1002
        assert await raw.rest() == b""


@pytest.mark.parametrize("size", [LIMIT - 1, LIMIT])
async def test_a_message_up_to_the_limit_is_taken(size: int) -> None:
    listening = Listening()
    async with serving(listening, ws_max_size=LIMIT) as served, await Raw.upgraded(served.port) as raw:
        listener = await listening.listener()
        raw.send(frame(BINARY, b"x" * size), frame(BINARY, b"y" * (size - 1), fin=False), frame(CONTINUATION, b"z"))
        await wait_until(lambda: len(listener.messages) == 2, description="both messages")
        assert [len(message) for message in listener.messages] == [size, size]


@pytest.mark.parametrize("code", [1000, 1001, 1003, 1007, 1014, 3000, 4999, None])
async def test_a_close_frame_is_answered_with_its_code(code: int | None) -> None:
    listening = Listening()
    async with serving(listening) as served, await Raw.upgraded(served.port) as raw:
        listener = await listening.listener()
        raw.send(frame(CLOSE, code.to_bytes(2) if code else b""))
        assert await raw.close_code() == (code or 1000)
        assert await raw.rest() == b""
    assert listener.codes == [code or 1005]


async def test_garbage_behind_a_close_frame_does_not_change_the_answer() -> None:
    listening = Listening()
    async with serving(listening) as served, await Raw.upgraded(served.port) as raw:
        listener = await listening.listener()
        raw.send(frame(CLOSE, b"\x03\xe8"), frame(0x7, b"garbage"), bytes(100))
        assert await raw.close_code() == 1000
        assert await raw.rest() == b""
    assert listener.codes == [1000]


# -- messages out


@both_loops
async def test_memory_may_be_changed_after_send() -> None:
    listening = Listening()
    async with serving(listening) as served, await Raw.upgraded(served.port) as raw:
        listener = await listening.listener()
        memory = bytearray(65536)
        expected = []
        for n in range(200):  # far more than the socket takes at once
            size = 1 + n * 7919 % len(memory)
            memory[:] = bytes([n]) * len(memory)
            listener.channel.send(memoryview(memory)[:size])
            expected.append(bytes([n]) * size)
        memory[:] = bytes(len(memory))
        for message in expected:
            assert await raw.receive() == (BINARY, message)


@both_loops
async def test_writable_follows_the_transports_buffer() -> None:
    listening = Listening()
    async with serving(listening) as served, await Raw.upgraded(served.port) as raw:
        listener = await listening.listener()
        count = 0
        while listener.channel.writable:
            listener.channel.send(bytes(1000))
            count += 1
        transport: Any = listener.channel._transport  # type: ignore[attr-defined]
        assert 128 * 1024 < transport.get_write_buffer_size() < 132 * 1024
        assert listener.resumed == 0
        for _ in range(count):
            await raw.receive()
        await wait_until(lambda: listener.resumed, description="resume_writing")
        assert listener.resumed == 1
        assert listener.channel.writable


@both_loops
async def test_pings_of_a_peer_that_does_not_read_are_not_hoarded() -> None:
    listening = Listening()
    async with serving(listening) as served, await Raw.upgraded(served.port) as raw:
        listener = await listening.listener()
        transport: Any = listener.channel._transport  # type: ignore[attr-defined]
        while transport.get_write_buffer_size() < MORE_THAN_THE_KERNEL_TAKES:
            listener.channel.send(bytes(65536))
        before = transport.get_write_buffer_size()
        raw.send(*[frame(PING, b"x" * 125)] * 10_000, frame(PING, b"last"), frame(TEXT, b"after"))
        await wait_until(lambda: listener.messages == ["after"], description="the pings to have been read")
        assert transport.get_write_buffer_size() <= before
        opcode = BINARY
        while opcode != PONG:
            opcode, payload = await raw.receive()
        assert payload == b"last"


async def test_a_ping_is_answered_to_the_listener() -> None:
    listening = Listening()
    async with serving(listening) as served, connect(served.url):
        listener = await listening.listener()
        listener.channel.ping()
        await wait_until(lambda: listener.pongs == 1, description="the pong")


async def test_a_client_that_does_not_read_its_echo_is_not_read_either() -> None:
    listening = Listening(Echo)
    async with serving(listening) as served, await Raw.upgraded(served.port) as raw:
        listener = await listening.listener()
        transport: Any = listener.channel._transport  # type: ignore[attr-defined]
        message = frame(BINARY, bytes(65536))
        raw.send(*[message] * 400)
        await wait_until(lambda: not transport.is_reading(), description="backpressure")
        assert transport.get_write_buffer_size() < 512 * 1024
        for _ in range(400):
            assert await raw.receive() == (BINARY, bytes(65536))


# -- ends


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
