"""The end of connections and of the server: nothing is left, nobody is waited for long."""

from __future__ import annotations

import asyncio
import gc
import ssl
import weakref
from typing import TYPE_CHECKING, Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from support.asgi import Listening, Recorder, serving
from support.certificate import client_context, write_certificate
from support.raw import CLOSE, Raw, frame
from support.wait import wait_until
from transports.picows_protocol import PicowsProtocol

if TYPE_CHECKING:
    from pathlib import Path

    from support.asgi import Message, Receive, Send

both_loops = pytest.mark.asyncio(loop_factories=["uvloop", "asyncio"])


class Impatient(PicowsProtocol):
    end_seconds = 0.2


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
