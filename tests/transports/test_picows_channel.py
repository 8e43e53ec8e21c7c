"""What a channel's user may rely on while it is open, and what a peer may not do."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from picows.picows import WSProtocol  # type: ignore[attr-defined] # missing from the stubs
from websockets.asyncio.client import connect

from support.asgi import Echo, Late, Listening, serving
from support.raw import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, Raw, frame
from support.wait import wait_until

both_loops = pytest.mark.asyncio(loop_factories=["uvloop", "asyncio"])

LIMIT = 1000
MORE_THAN_THE_KERNEL_TAKES = 32 * 1024 * 1024  # into both sockets' buffers, on loopback


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
