"""One stream to a container: channels over a WebSocket (`v5.channel.k8s.io`, `v4.channel.k8s.io`).

Each message is one byte, the channel, and what is said on it. What the servers do is measured in the project's
notes of a real cluster: the first message is an empty one, payloads have at most 32 KiB, the status comes last.
"""

from __future__ import annotations

import asyncio
import json
import random
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import aiohttp

from backends.errors import NotSupported, Unreachable
from backends.kubernetes.errors import ApiProblem, typed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from backends.kubernetes.api import Api

V5 = "v5.channel.k8s.io"
V4 = "v4.channel.k8s.io"
_CLOSE_CHANNEL = 255
_CLOSE_SECONDS = 2.0
_WINDOW_BYTES = 256 * 1024
"""Of a terminal's input, ahead of what the other end has read."""


class Stream(IntEnum):
    """The channels of an exec."""

    STDIN = 0
    STDOUT = 1
    STDERR = 2
    STATUS = 3
    RESIZE = 4


@dataclass(frozen=True)
class Pulse:
    """How the other side's life is watched."""

    ping_seconds: tuple[float, float] = (20.0, 25.0)
    """Between two pings, at random, so that no proxy takes the stream for an idle one."""
    silence_seconds: float = 60.0
    """Without a sign of life the stream is cut."""


class Cut(Exception):
    """The stream is over without a last word; the message says why."""


@dataclass(frozen=True)
class Outcome:
    """What the server says of a program's end (`meta/v1.Status` on channel 3)."""

    success: bool
    code: int | None = None
    """The exit code, if it was another than 0."""
    message: str = ""

    @classmethod
    def parse(cls, text: bytes) -> Outcome:
        """Read a status; what is none is a failure of the server."""
        try:
            status = json.loads(text)
            if status.get("status") == "Success":
                return cls(success=True, code=0)
            message = str(status.get("message", ""))
            for cause in (status.get("details") or {}).get("causes") or ():
                if status.get("reason") == "NonZeroExitCode" and cause.get("reason") == "ExitCode":
                    return cls(success=False, code=int(cause["message"]), message=message)
        except (ValueError, AttributeError, KeyError, TypeError):
            message = repr(text[:200])
        return cls(success=False, message=message)


class Channels:
    """A stream. One task receives, one sends, `keep_alive` runs in another; `close` in the end."""

    def __init__(self, websocket: aiohttp.ClientWebSocketResponse, pulse: Pulse) -> None:
        """Take over a WebSocket."""
        self._websocket = websocket
        self._pulse = pulse
        self._heard_at = asyncio.get_running_loop().time()
        self._receiving = False
        self._sent = 0
        self._asked = 0
        self._read = 0
        self._room = asyncio.Event()
        self.protocol = websocket.protocol or ""
        self.ended_politely = False
        """Whether the cluster has said that this is the end."""
        self._silent = ""

    async def receive(self) -> tuple[int, bytes]:
        """Return the next message that is not empty. Raises Cut: there are no more."""
        self._receiving = True
        self._heard_at = asyncio.get_running_loop().time()
        try:
            while True:
                message = await self._websocket.receive()
                self._heard_at = asyncio.get_running_loop().time()
                match message.type:
                    case aiohttp.WSMsgType.BINARY:
                        if len(message.data) > 1:
                            return message.data[0], message.data[1:]
                    case aiohttp.WSMsgType.PING:
                        await self._websocket.pong(message.data)
                    case aiohttp.WSMsgType.PONG:
                        self._hear_pong(bytes(message.data))
                    case aiohttp.WSMsgType.CLOSE | aiohttp.WSMsgType.CLOSED | aiohttp.WSMsgType.CLOSING:
                        code = self._websocket.close_code
                        self.ended_politely = code == aiohttp.WSCloseCode.OK and not self._silent
                        raise Cut(self._silent or _closed(code))
                    case aiohttp.WSMsgType.ERROR:
                        raise Cut(f"the connection to the cluster broke: {message.data}")
                    case _:
                        pass
        except (aiohttp.ClientError, OSError) as error:
            raise Cut(f"the connection to the cluster broke: {error}") from None
        finally:
            self._receiving = False

    async def send(self, channel: int, data: bytes | bytearray | memoryview = b"") -> None:
        """Send a message; returns when there is room for more. Raises Cut."""
        try:
            await self._websocket.send_bytes(bytes((channel,)) + data)
        except (aiohttp.ClientError, OSError, RuntimeError) as error:
            raise Cut(f"the connection to the cluster broke: {error}") from None

    async def send_input(self, data: bytes) -> None:
        """Send input, no more ahead of the program than a window. Raises Cut.

        Behind every so many bytes goes a ping. Its answer says that the other end has read so far, and it reads no
        further than it can write; without that, megabytes would be on their way to a program that reads nothing.
        """
        while self.is_stuck:
            self._room.clear()
            await self._room.wait()
        await self.send(Stream.STDIN, data)
        self._sent += len(data)
        if self._sent - self._asked >= _WINDOW_BYTES // 4:
            self._asked = self._sent
            await self._ping(b"%d" % self._sent)

    @property
    def is_stuck(self) -> bool:
        """Whether input waits for a program that does not read."""
        return self._sent - self._read > _WINDOW_BYTES

    def _hear_pong(self, data: bytes) -> None:
        if data.isdigit():
            self._read = max(self._read, int(data))
            self._room.set()

    async def _ping(self, data: bytes = b"") -> None:
        try:
            await self._websocket.ping(data)
        except (aiohttp.ClientError, OSError, RuntimeError) as error:
            raise Cut(f"the connection to the cluster broke: {error}") from None

    async def resize(self, rows: int, cols: int) -> None:
        """Set the terminal's size."""
        await self.send(Stream.RESIZE, json.dumps({"Width": cols, "Height": rows}).encode())

    async def close_input(self) -> None:
        """Let the program read the end of its input. Raises NotSupported."""
        if self.protocol != V5:
            raise NotSupported("kubernetes", "the end of input: the cluster's API server speaks v4.channel.k8s.io only")
        await self.send(_CLOSE_CHANNEL, bytes([Stream.STDIN]))

    async def keep_alive(self) -> None:
        """Ping for ever. Raises Cut: nothing is heard any more, which `receive` says too."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(random.uniform(*self._pulse.ping_seconds))  # noqa: S311
            silence = loop.time() - self._heard_at
            if self._receiving and silence > self._pulse.silence_seconds:
                self._silent = f"nothing is heard from the cluster for {silence:.0f} s"
                await self.close()
                raise Cut(self._silent)
            await self._ping()

    async def close(self) -> None:
        """Close the WebSocket, politely if that is soon done. Harmless twice."""
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self._websocket.close()
        except TimeoutError:
            pass  # aiohttp has released the connection


def _closed(code: int | None) -> str:
    if code in (None, aiohttp.WSCloseCode.ABNORMAL_CLOSURE):
        return "the connection to the cluster was cut"
    return f"the cluster ended the stream (code {code})"


@dataclass(frozen=True)
class Target:
    """A container in a pod."""

    namespace: str
    pod: str
    container: str

    @property
    def path(self) -> str:
        """The pod's path in the API."""
        return f"/api/v1/namespaces/{self.namespace}/pods/{self.pod}"


@asynccontextmanager
async def answered(doing: str, seconds: float) -> AsyncIterator[None]:
    """Bound a conversation in time; what goes wrong in it is raised as a BackendError that says what was tried."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise Unreachable(f"cannot {doing}: there is no answer in time") from None
    except Cut as cut:
        raise Unreachable(f"cannot {doing}: {cut}") from None
    except ApiProblem as problem:
        raise typed(problem, doing) from None


async def open_exec(
    api: Api, target: Target, argv: Sequence[str], *, pulse: Pulse, tty: bool = False, stdin: bool = True
) -> Channels:
    """Start a program in a container. Raises BackendError, ApiProblem."""
    flags: list[tuple[str, Any]] = [("container", target.container), ("stdout", "true")]
    flags += [("stdin", "true")] if stdin else []
    flags += [("tty", "true")] if tty else [("stderr", "true")]
    websocket = await api.connect(
        f"{target.path}/exec",
        f"start a program in pod {target.pod}",
        query=[*flags, *(("command", word) for word in argv)],
        protocols=(V5, V4),
    )
    if websocket.protocol not in (V5, V4):
        await websocket.close()
        raise Unreachable(f"the cluster's API server speaks neither {V5} nor {V4}")
    return Channels(websocket, pulse)
