"""The remote command protocol over WebSocket: `v5.channel.k8s.io` and v4, for exec and attach."""

from __future__ import annotations

import asyncio
import fcntl
import json
import struct
import termios
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from aiohttp import WSMsgType, web

from support.kube.statuses import status

if TYPE_CHECKING:
    from support.kube.containers import Running
    from support.kube.descriptors import Descriptor

V4, V5 = "v4.channel.k8s.io", "v5.channel.k8s.io"
STDIN, STDOUT, STDERR, ERROR, RESIZE, CLOSE = 0, 1, 2, 3, 4, 255
SUCCESS: dict[str, Any] = {"metadata": {}, "status": "Success"}


class Cut(Exception):
    """The client is gone."""


class Stream:
    """One client's WebSocket, with the faults that tests put into it."""

    def __init__(self, request: web.Request, socket: web.WebSocketResponse) -> None:
        self.request = request
        self.socket = socket
        self._flowing = asyncio.Event()
        self._flowing.set()
        self.false_success = asyncio.Event()

    async def send(self, data: bytes) -> None:
        await self._flowing.wait()
        try:
            await self.socket.send_bytes(data)
        except ConnectionError as error:
            raise Cut from error

    async def receive(self) -> bytes:
        """Return the next message; raise Cut at the end."""
        await self._flowing.wait()
        message = await self.socket.receive()
        await self._flowing.wait()
        if message.type is WSMsgType.TEXT:
            return bytes(message.data.encode())
        if message.type is not WSMsgType.BINARY:
            raise Cut
        return bytes(message.data)

    async def close(self) -> None:
        await self._flowing.wait()
        with suppress(ConnectionError):
            await self.socket.close()

    def freeze(self) -> None:
        """Neither read nor write any more, and answer no ping: a half-open connection."""
        self._flowing.clear()
        if transport := self.request.transport:
            transport.pause_reading()

    def thaw(self) -> None:
        self._flowing.set()
        if transport := self.request.transport:
            transport.resume_reading()

    def abort(self) -> None:
        """Cut the connection without a word: 1006 at the client."""
        if transport := self.request.transport:
            transport.abort()


class Session:
    """A process at a client's channels."""

    def __init__(self, stream: Stream, running: Running, wants: dict[str, bool]) -> None:
        self._stream = stream
        self._running = running
        self._wants = wants
        self._is_v5 = stream.socket.ws_protocol == V5

    async def run(self) -> bool:
        """Move data until the process ends; return False if the client was gone before."""
        running = self._running
        await self._stream.send(bytes([STDOUT]))
        outputs = [(STDOUT, running.stdout, "stdout")]
        if running.stderr is not None:
            outputs.append((STDERR, running.stderr, "stderr"))
        copies = [
            asyncio.create_task(self._copy(number, each, is_wanted=self._wants[name]), name=f"channel {name}")
            for number, each, name in outputs
        ]
        typing = asyncio.create_task(self._read_client(), name="channel stdin")
        lying = asyncio.create_task(self._stream.false_success.wait(), name="containerd restart")
        ending = asyncio.create_task(self._end_outputs(), name="process end")
        tasks: set[asyncio.Future[Any]] = {*copies, typing, lying, ending}
        try:
            copied = asyncio.gather(*copies)
            tasks.add(copied)
            first: set[asyncio.Future[Any]] = {copied, typing, lying}
            done, _ = await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
            if lying in done:
                await send_status(self._stream, SUCCESS)
                return False
            if typing in done or copied.exception():
                if not running.is_tty:
                    running.stdin.close()
                return False
            code = await asyncio.shield(running.exited)
            await send_status(self._stream, outcome(code))
        except Cut:
            return False
        else:
            return True
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _end_outputs(self) -> None:
        """Let no background program keep the streams of a process that has ended."""
        await asyncio.shield(self._running.exited)
        for each in (self._running.stdout, self._running.stderr):
            if each is not None:
                each.finish()

    async def _copy(self, number: int, source: Descriptor, *, is_wanted: bool) -> None:
        while data := await source.read():
            if is_wanted:
                await self._stream.send(bytes([number]) + data)

    async def _read_client(self) -> None:
        """Take input and sizes; return when the client is gone."""
        with suppress(Cut):
            while True:
                message = await self._stream.receive()
                await self._take(message[:1], message[1:])

    async def _take(self, channel: bytes, data: bytes) -> None:
        if channel == bytes([STDIN]):
            await self._running.stdin.write(data)
        elif channel == bytes([RESIZE]) and self._running.is_tty:
            set_size(self._running, data)
        elif channel == bytes([CLOSE]) and data == bytes([STDIN]) and self._is_v5 and not self._running.is_tty:
            self._running.stdin.close()


async def send_status(stream: Stream, result: dict[str, Any]) -> None:
    """Say how it ended, and close."""
    await stream.send(bytes([ERROR]) + json.dumps(result).encode())
    await stream.close()


def set_size(running: Running, data: bytes) -> None:
    """Set a terminal's size from `{"Width":80,"Height":24}`; nonsense is ignored."""
    with suppress(ValueError, KeyError, TypeError, struct.error):
        size = json.loads(data)
        words = struct.pack("4H", size["Height"], size["Width"], 0, 0)
        if not running.stdin.is_closed:
            fcntl.ioctl(running.stdin.fileno(), termios.TIOCSWINSZ, words)


def outcome(code: int) -> dict[str, Any]:
    """Say in a status how a program ended."""
    if not code:
        return SUCCESS
    return {
        "metadata": {},
        "status": "Failure",
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
    }


def not_started(reason: str) -> dict[str, Any]:
    """Say in a status that a program could not be started."""
    inner = "error executing command in container: failed to exec in container: failed to start exec: "
    inner += f"OCI runtime exec failed: exec failed: {reason}"
    failure = status(500, "InternalError", f"Internal error occurred: {inner}", {"causes": [{"message": inner}]})
    return {key: value for key, value in failure.items() if key not in ("kind", "apiVersion")}
