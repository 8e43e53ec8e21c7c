"""Workstations are started when they are needed, reached through a tunnel, and stopped when nobody is there."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from backends.workstations.api import Api
from backends.workstations.machine import Machine
from backends.workstations.tunnel import Dialer
from support.workstations import Cloud, grpc_opened

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from backends.base import Notice


__all__ = ["grpc_opened"]  # a fixture
pytestmark = pytest.mark.usefixtures("grpc_opened")


@pytest.fixture
async def cloud(tmp_path: Path) -> AsyncIterator[Cloud]:
    async with Cloud(tmp_path / "cloud") as cloud, serving() as port:
        cloud.listening[22] = port
        yield cloud


@asynccontextmanager
async def serving() -> AsyncIterator[int]:
    """Echo what is sent; yields the port."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


class Bench:
    """A machine with all it needs, and what it told."""

    def __init__(self, cloud: Cloud, name: str, **fields: Any) -> None:
        self.profile = cloud.profile(**fields)
        self.api = Api(self.profile)
        context = ssl.create_default_context(cafile=self.profile.ca_file)
        self.dialer = Dialer(context=context, ping_seconds=30, connect_seconds=5)
        self.machine = Machine(
            name, owner="ann@example.org", node_id="node-1", api=self.api, dialer=self.dialer, profile=self.profile
        )
        self.told: list[Notice] = []

    def tell(self, notice: Notice) -> None:
        self.told.append(notice)

    async def close(self) -> None:
        await self.machine.close()
        await self.dialer.close()
        await self.api.close()


@asynccontextmanager
async def benched(cloud: Cloud, name: str = "ws-1", **fields: Any) -> AsyncIterator[Bench]:
    bench = Bench(cloud, name, **fields)
    try:
        yield bench
    finally:
        await bench.close()


async def test_a_stopped_workstation_is_started_and_its_progress_is_told(cloud: Cloud) -> None:
    await cloud.add("ws-1")
    async with benched(cloud) as bench:
        await bench.machine.enter(bench.tell)
        assert [notice.fields["state"] for notice in bench.told] == ["stopped", "starting"]
        tunnel = await bench.machine.connect(22)
        await tunnel.write(b"hello")
        assert await tunnel.read() == b"hello"
        await tunnel.close()
        await bench.machine.leave(bench.tell)
