"""Port-forwarding over WebSocket: plain channels (`v4.channel.k8s.io`), and SPDY in a tunnel, as kubectl has it."""

from __future__ import annotations

import asyncio
import struct
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from support.kube import spdy
from support.kube.channels import Cut
from support.kube.statuses import bad_request

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from support.kube.channels import Stream
    from support.kube.descriptors import Descriptor

    Dial = Callable[[int], Awaitable[Descriptor]]
    Send = Callable[[bytes], Awaitable[None]]

TUNNEL = "SPDY/3.1+portforward.k8s.io"
MOST_WAITING = 64


@dataclass
class Lane:
    """One connection to a port of the pod."""

    port: int
    send: Send
    """Pass on what the port sends."""
    fail: Send
    """Say what went wrong."""
    waiting: asyncio.Queue[bytes] = field(default_factory=lambda: asyncio.Queue(MOST_WAITING))
    """What the client sends; nothing is the end."""

    async def run(self, dial: Dial) -> None:
        """Connect and move bytes until the port's end."""
        try:
            connection = await dial(self.port)
        except OSError as error:
            problem = f"dial tcp4 127.0.0.1:{self.port}: connect: {(error.strerror or str(error)).lower()}"
            problem = f"failed to connect to localhost:{self.port} inside namespace, IPv4: {problem}"
            await self.fail(f"error forwarding port {self.port} to pod: {problem}".encode())
            return
        writing = asyncio.create_task(self._write(connection), name="port-forward in")
        try:
            while data := await connection.read():
                await self.send(data)
        finally:
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
            connection.close()

    async def _write(self, connection: Descriptor) -> None:
        while data := await self.waiting.get():
            if not await connection.write(data):
                return
        connection.end()


async def serve(stream: Stream, dial: Dial) -> None:
    """Forward until the client is gone, or all ports have ended."""
    with suppress(Cut):
        if stream.socket.ws_protocol == TUNNEL:
            await _serve_tunnel(stream, dial)
        else:
            await _serve_channels(stream, dial, ports_of(stream))


def ports_of(stream: Stream) -> list[int]:
    return [int(port) for each in stream.request.query.getall("ports", []) for port in each.split(",")]


def check_ports(given: list[str]) -> None:
    """Refuse a request of plain channels that names no port."""
    if not given or not all(port.isdecimal() for each in given for port in each.split(",")):
        raise bad_request('query parameter "ports" is required')


async def _serve_channels(stream: Stream, dial: Dial, ports: list[int]) -> None:
    """Serve two channels for each port, the even ones for data, the odd ones for an error."""

    def sender(channel: int) -> Send:
        return lambda data: stream.send(bytes([channel]) + data)

    lanes = [Lane(port, sender(2 * at), sender(2 * at + 1)) for at, port in enumerate(ports)]
    for at, port in enumerate(ports):
        for channel in (2 * at, 2 * at + 1):
            await stream.send(bytes([channel]) + struct.pack("<H", port))

    async def read() -> None:
        while True:
            message = await stream.receive()
            if message[1:] and not message[0] % 2 and message[0] // 2 < len(lanes):
                await lanes[message[0] // 2].waiting.put(message[1:])

    reading = asyncio.create_task(read(), name="port-forward client")
    running = asyncio.gather(*(lane.run(dial) for lane in lanes))
    tasks: list[asyncio.Future[Any]] = [reading, running]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await _end(tasks)
    await stream.close()


class Tunnel:
    """SPDY's streams in a WebSocket: for each connection one for data and one for an error."""

    def __init__(self, stream: Stream, dial: Dial) -> None:
        self._stream = stream
        self._dial = dial
        self._spdy = spdy.Connection()
        self._errors: dict[str, int] = {}
        """The error streams, by the request they are for."""
        self._lanes: dict[int, Lane] = {}
        self._tasks: set[asyncio.Future[None]] = set()

    async def run(self) -> None:
        try:
            while True:
                for event in self._spdy.receive(await self._stream.receive()):
                    await self._meet(event)
                while self._spdy.to_send:
                    await self._stream.send(self._spdy.to_send.pop(0))
        finally:
            await _end([*self._tasks])

    async def _meet(self, event: spdy.Event) -> None:
        if isinstance(event, spdy.Opened):
            await self._stream.send(self._spdy.reply(event.stream))
            self._open(event)
            return
        lane = self._lanes.get(event.stream)
        if lane is None:
            return
        if isinstance(event, spdy.Reset):
            await lane.waiting.put(b"")
            return
        if event.data:
            await lane.waiting.put(event.data)
        if event.is_last:
            await lane.waiting.put(b"")

    def _open(self, event: spdy.Opened) -> None:
        request = event.headers["requestid"]
        if event.headers["streamtype"] == "error":
            self._errors[request] = event.stream
            return
        error = self._errors.pop(request)
        send = self._stream.send
        lane = Lane(
            int(event.headers["port"]),
            lambda data: send(spdy.data(event.stream, data)),
            lambda data: send(spdy.data(error, data)),
        )
        self._lanes[event.stream] = lane
        task = asyncio.create_task(self._run(lane, event.stream, error), name="port-forward")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, lane: Lane, number: int, error: int) -> None:
        with suppress(Cut):
            await lane.run(self._dial)
            for each in (error, number):
                await self._stream.send(spdy.data(each, b"", is_last=True))
        self._lanes.pop(number, None)


async def _serve_tunnel(stream: Stream, dial: Dial) -> None:
    await Tunnel(stream, dial).run()


async def _end(tasks: Iterable[asyncio.Future[Any]]) -> None:
    tasks = [*tasks]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
