"""Whatever bytes come after the handshake (quality A5): the server ends the connection, and keeps nothing of it."""

from __future__ import annotations

import asyncio
import gc
import logging
import weakref
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from websockets.asyncio.client import connect

from support.asgi import Echo, Listening, serving
from support.raw import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, Raw, frame
from transports.picows_protocol import PicowsProtocol

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

FRAMES_PER_CONNECTION = 4  # the first of them usually ends the connection
GROWTH_BYTES = 8 * 1024 * 1024
OPCODES = [CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG]


def malformed(rng: random.Random) -> bytes:
    """Make up a frame: often valid in all but one thing, sometimes not a frame at all."""
    payload = rng.randbytes(rng.choice([0, 1, 2, 5, 125, 126, 300, 70_000]))
    match rng.randrange(6):
        case 0:
            return rng.randbytes(rng.randrange(1, 64))
        case 1:  # any opcode, bits and mask
            fin, masked = rng.random() < 0.7, rng.random() < 0.9
            return frame(rng.randrange(16), payload, fin=fin, rsv=rng.randrange(8), masked=masked)
        case 2:  # cut short
            whole = frame(rng.choice(OPCODES), payload)
            return whole[: rng.randrange(1, len(whole) + 1)]
        case 3:  # some bytes changed
            changed = bytearray(frame(rng.choice(OPCODES), payload, fin=rng.random() < 0.7))
            for _ in range(rng.randrange(1, 4)):
                changed[rng.randrange(min(len(changed), 20))] = rng.randrange(256)
            return bytes(changed)
        case 4:  # a length that never comes
            length = rng.choice([126, 127])
            return bytes([0x80 | rng.choice(OPCODES), 0x80 | length]) + rng.randbytes(8)
        case _:  # well formed, perhaps out of order
            return frame(rng.choice([CONTINUATION, TEXT, BINARY, PING, PONG]), payload, fin=rng.random() < 0.5)


async def assault(port: int, rng: random.Random) -> None:
    """Send malformed frames over one connection, in reads of any size, and wait for the server to end it."""
    async with await Raw.upgraded(port) as raw:
        data = b"".join(malformed(rng) for _ in range(FRAMES_PER_CONNECTION))
        ending = asyncio.create_task(raw.rest())
        try:
            while data and not ending.done():
                count = rng.choice([1, 10, 1000, len(data)])
                raw.send(data[:count])
                data = data[count:]
                await raw.writer.drain()
            if rng.random() < 0.8 and not ending.done():
                raw.writer.write_eof()
            else:
                raw.writer.transport.abort()
        except (ConnectionError, RuntimeError):  # the server was quicker
            pass
        await ending


@pytest.mark.full
async def test_malformed_frames_do_no_harm(
    size: Callable[[int, int], int], rng: random.Random, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    living: weakref.WeakSet[Any] = weakref.WeakSet()

    class Seen(PicowsProtocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            living.add(self)

    connections = size(10_000, 100_000) // FRAMES_PER_CONNECTION
    listening = Listening(Echo)
    process = psutil.Process()
    async with serving(listening, ws=Seen, ws_max_size=65536) as served:
        for number in range(connections):
            if number == connections // 2:
                before = process.memory_info().rss
            await assault(served.port, rng)
            for listener in listening.listeners:
                assert len(listener.codes) <= 1
            listening.listeners = [listener for listener in listening.listeners if not listener.codes]
        await served.idle()
        gc.collect()
        assert not living
        assert not listening.listeners
        assert process.memory_info().rss - before < GROWTH_BYTES
        async with connect(served.url) as client:
            await client.send("still here")
            assert await client.recv() == "still here"
    assert not caplog.records
