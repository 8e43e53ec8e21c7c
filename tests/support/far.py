"""A holder somewhere else, as it seems: reached through a bridge that a test may cut."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import socket
import sys
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

from backends.durable.link import RemoteLink
from backends.durable.patience import LinkPatience
from backends.environment import MARK
from backends.held_child import Tag
from backends.holder import SOCKET
from backends.holder.connection import Connection
from backends.holder.fork import Plan
from backends.holder.pack import pack
from backends.pipe_stream import PipeStream
from support.sink import CollectingSink
from support.terminals import Terminal, is_alive, plain_environment
from support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from backends.durable.pty import RemotePty

QUICK = LinkPatience(retry_seconds=(0.01, 0.1), close_seconds=10)


class Far:
    """A place with a packed holder, and the way there."""

    def __init__(self, directory: Path, python: str = sys.executable) -> None:
        self.directory = directory / "far"
        self.is_blocked = False
        """Whether the way is closed: nobody gets there."""
        self.prefix: tuple[str, ...] = ()
        self.streams: list[PipeStream] = []
        self._python = python
        self._packed = directory / "holder.pyz"
        if not self._packed.exists():
            self._packed.write_bytes(pack())

    @property
    def command(self) -> list[str]:
        return [*self.prefix, self._python, str(self._packed), str(self.directory), "--stdio"]

    async def open(self) -> PipeStream:
        if self.is_blocked:
            raise OSError("the way is closed")
        stream = await PipeStream.open(*self.command, environment=plain_environment())
        self.streams.append(stream)
        return stream

    def link(self, *, owner: str = "test", patience: LinkPatience = QUICK, ring_bytes: int = 1 << 20) -> RemoteLink:
        return RemoteLink(self.open, owner=owner, patience=patience, ring_bytes=ring_bytes)

    def cut(self) -> None:
        """Kill the bridge, whatever it is doing."""
        with suppress(ProcessLookupError):
            os.kill(self.streams[-1].pid, signal.SIGKILL)

    async def cut_and_return(self, link: RemoteLink) -> None:
        await self.cut_and_open(link, until_up=True)

    async def cut_and_open(self, link: RemoteLink, *, until_up: bool) -> None:
        """Cut, and wait for the next bridge, which may have done nothing yet."""
        opened = len(self.streams)
        self.cut()
        await wait_until(
            lambda: len(self.streams) > opened and (link.is_up or not until_up), description="another bridge"
        )

    async def ask(self, operation: str, **fields: Any) -> dict[str, Any]:
        """Ask the holder directly, as somebody else on its machine."""
        return await asyncio.to_thread(self._ask, operation, **fields)

    def _ask(self, operation: str, **fields: Any) -> dict[str, Any]:
        with socket.socket(socket.AF_UNIX) as channel:
            channel.settimeout(10)
            channel.connect(str(self.directory / SOCKET))
            connection = Connection(channel)
            connection.send({"op": operation, "id": 1, **fields})
            while True:
                for header, _ in connection.receive():
                    if header.get("id") == 1:
                        return header

    async def pid(self) -> int:
        return int((await self.ask("hello"))["pid"])

    async def stream_of(self, pty: RemotePty) -> dict[str, Any]:
        """Return what the holder tells of a program."""
        programs = (await self.ask("list"))["programs"]
        state: dict[str, Any] = next(each["stream"] for each in programs if each["key"] == pty.key)
        return state

    async def until_full(self, pty: RemotePty, ring_bytes: int) -> None:
        """Wait until a program's ring is full."""

        async def is_full() -> bool:
            state = await self.stream_of(pty)
            return bool(state["head"] - state["first"] == ring_bytes)

        await wait_until(is_full, description="the ring is full")

    async def stop(self) -> None:
        """End the holder, if there is one."""
        try:
            pid = await self.pid()
        except OSError:
            return
        os.kill(pid, signal.SIGTERM)
        await wait_until(lambda: not is_alive(pid), description="the holder has ended")


@asynccontextmanager
async def reached(far: Far, **options: Any) -> AsyncIterator[RemoteLink]:
    """Reach a holder; in the end it is stopped with all it has."""
    link = far.link(**options)
    await link.start()
    try:
        yield link
    finally:
        await link.close()
        await far.stop()


class FarTerminal(Terminal):
    """A terminal there, with its collecting sink."""

    pty: RemotePty


async def run(link: RemoteLink, script: str, *, sink: CollectingSink | None = None, trim: bool = False) -> FarTerminal:
    """Run a script of the shell there."""
    sink = sink or CollectingSink()
    mark = secrets.token_hex(8)
    plan = Plan("/bin/sh", ["-c", script], "/", {**plain_environment(), MARK: mark}, (24, 80))
    return FarTerminal(await link.spawn(plan, sink, tag=Tag("session-1", mark, "a note"), trim=trim), sink)
