"""TCP connections to ports in a pod, over WebSockets (`v4.channel.k8s.io` of port-forward).

For each port there are two channels, of bytes and of errors, each begun by the port's number. One end of a connection
cannot be closed alone.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from backends.errors import NotSupported, Unreachable
from backends.kubernetes.channels import V4, Channels, Cut
from backends.kubernetes.errors import ApiProblem, typed

if TYPE_CHECKING:
    from backends.kubernetes.processes import Processes

_DATA, _ERROR = 0, 1
_HEAD_BYTES = 2
_REFUSAL_SECONDS = 0.05
"""A refused connection is told behind the port's number, an accepted one is not told at all."""
_PIECE_BYTES = 32 * 1024
_HERE = ("localhost", "127.0.0.1", "::1", "")


async def forward(processes: Processes, port: int, host: str) -> PodConnection:
    """Connect to a port in a pod. Raises Unreachable, AccessRefused, NotSupported."""
    if host not in _HERE:
        raise NotSupported("kubernetes", f"connections from a pod to other hosts ({host})")
    target = processes.target
    doing = f"connect to port {port} of pod {target.pod}"
    try:
        websocket = await processes.api.connect(
            f"{target.path}/portforward", doing, query=[("ports", str(port))], protocols=(V4,)
        )
    except ApiProblem as problem:
        raise typed(problem, doing) from None
    connection = PodConnection(Channels(websocket, processes.pulse), port)
    try:
        await connection.begin()
    except (OSError, Cut) as error:
        await connection.close()
        raise Unreachable(f"cannot {doing}: {error}") from None
    except BaseException:
        await connection.close()
        raise
    return connection


class PodConnection:
    """An `abilities.Connection`."""

    def __init__(self, channels: Channels, port: int) -> None:
        """Take over a stream that was just opened."""
        self._channels = channels
        self._port = port
        self._early: list[bytes] = []
        self._pending: asyncio.Task[tuple[int, bytes]] | None = None
        self._is_over = False
        loop = asyncio.get_running_loop()
        self._pings = loop.create_task(self._ping(), name=f"pings for port {port}")

    async def _ping(self) -> None:
        with suppress(Cut):  # who reads learns of it
            await self._channels.keep_alive()

    async def begin(self) -> None:
        """Wait for the port's numbers, and a little for a refusal. Raises OSError, Cut."""
        heads = {_DATA: b"", _ERROR: b""}
        while any(len(head) < _HEAD_BYTES for head in heads.values()):
            channel, data = await self._channels.receive()
            if channel not in heads:
                raise OSError(f"channel {channel} is not known")
            head = heads[channel]
            heads[channel] = head + data[: _HEAD_BYTES - len(head)]
            if rest := data[_HEAD_BYTES - len(head) :]:
                self._take(channel, rest)
        if any(int.from_bytes(head, "little") != self._port for head in heads.values()):
            raise OSError("the cluster answered for another port")
        if self._early:
            return
        self._pending = asyncio.get_running_loop().create_task(self._channels.receive(), name=f"port {self._port}")
        done, _ = await asyncio.wait([self._pending], timeout=_REFUSAL_SECONDS)
        if done:
            pending, self._pending = self._pending, None
            self._take(*pending.result())

    def _take(self, channel: int, data: bytes) -> None:
        """Keep bytes. Raises OSError: the pod's end says what is wrong."""
        if channel == _ERROR:
            raise ConnectionResetError(" ".join(data.decode(errors="replace").split()))
        self._early.append(data)

    async def read(self) -> bytes:
        """Return what has arrived; b"" at the end."""
        if self._is_over:
            return b""
        if not self._early:
            try:
                pending, self._pending = self._pending, None
                self._take(*(await pending if pending else await self._channels.receive()))
            except Cut as cut:
                self._is_over = True
                if self._channels.ended_politely:
                    return b""
                raise ConnectionResetError(str(cut)) from None
        return self._early.pop(0)

    async def write(self, data: bytes) -> None:
        """Send all of it."""
        try:
            for start in range(0, len(data), _PIECE_BYTES):
                await self._channels.send(_DATA, data[start : start + _PIECE_BYTES])
        except Cut as cut:
            raise BrokenPipeError(str(cut)) from None

    async def write_eof(self) -> None:
        """Do nothing: the protocol does not know it."""

    async def close(self) -> None:
        """Release everything."""
        self._is_over = True
        tasks = [self._pings, *([self._pending] if self._pending else [])]
        self._pending = None
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await self._channels.close()
