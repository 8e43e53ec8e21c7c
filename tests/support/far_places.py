"""Places that are not this machine, played by a test: they take their time, fail, and keep programs when it dies."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from backends.base import Capabilities, Survivor
from backends.echo import EchoBackend, EchoEnvironment, EchoPty
from backends.profile import Profile
from terminal_service.places import Place, Places

if TYPE_CHECKING:
    from collections.abc import Collection

    from backends.base import ExitStatus, Order, Program, Pty, Sink


class FarProfile(Profile, tag="far", frozen=True, kw_only=True):
    """Of a kind that no service knows."""


class World:
    """What is out there, whichever process of the service looks: programs by session, and how it is."""

    def __init__(self) -> None:
        self.ptys: dict[str, FarPty] = {}
        self.failure: Exception | None = None
        self.gate = asyncio.Event()
        """Nothing is opened, adopted or checked before it is set."""
        self.gate.set()
        self.swept: list[set[str]] = []
        self.orders: dict[str, Order] = {}
        self.provided: set[str] = set()
        """Sessions that something is provided for."""
        self.recalled: list[str] = []

    async def reach(self) -> None:
        """Go there. Raises what is wrong."""
        await self.gate.wait()
        if self.failure is not None:
            raise self.failure


class _Sink:
    """What a program prints into: another sink after each adoption."""

    def __init__(self, sink: Sink) -> None:
        self.sink = sink

    def data_received(self, data: bytes | bytearray | memoryview) -> None:
        self.sink.data_received(data)

    def drained(self) -> None:
        self.sink.drained()

    def resume_writing(self) -> None:
        self.sink.resume_writing()

    def get_buffer(self, sizehint: int) -> memoryview:
        return self.sink.get_buffer(sizehint)

    def buffer_updated(self, nbytes: int) -> None:
        self.sink.buffer_updated(nbytes)


class FarPty(EchoPty):
    """An echo that can be let go of."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.left = asyncio.get_running_loop().create_future()

    async def wait(self) -> ExitStatus:
        left = self.left
        await asyncio.wait([left, self._ended], return_when=asyncio.FIRST_COMPLETED)
        if left.done():
            raise asyncio.CancelledError
        return self._ended.result()

    async def detach(self) -> None:
        self.left.set_result(None)
        self.left = asyncio.get_running_loop().create_future()


class FarBackend(EchoBackend):
    """An echo elsewhere. Its programs go on when this object is forgotten, if it is `durable`."""

    def __init__(self, world: World, *, durable: bool = True, name: str = "far") -> None:
        super().__init__(name=name)
        self.world = world
        self.capabilities = replace(Capabilities(), reattach=durable)

    async def check(self) -> None:
        await self.world.reach()

    async def open(self, order: Order) -> FarEnvironment:
        self.world.orders[order.session_id] = order
        await self.world.reach()
        self.world.provided.add(order.session_id)
        return FarEnvironment(self, order.session_id)

    async def recall(self, session_id: str) -> Survivor | None:
        self.world.recalled.append(session_id)
        return Survivor(session_id, "", None) if session_id in self.world.ptys else None

    async def sweep(self, living: Collection[str]) -> None:
        await self.world.reach()
        self.world.swept.append(set(living))


class FarEnvironment(EchoEnvironment):
    """Its programs are in the world."""

    def __init__(self, backend: FarBackend, session_id: str) -> None:
        super().__init__(backend._open, None)
        self._world = backend.world
        self._session_id = session_id

    async def spawn(self, program: Program, sink: Sink) -> Pty:
        pty = FarPty(_Sink(sink), {}, (program.rows, program.cols), self._forget)
        self._world.ptys[self._session_id] = pty
        self._own.add(pty)
        return pty

    async def adopt(self, survivor: Survivor, sink: Sink, position: int = 0) -> Pty:  # noqa: ARG002
        await self._world.reach()
        pty = self._world.ptys[survivor.session_id]
        assert isinstance(pty._sink, _Sink)
        pty._sink.sink = sink
        self._own.add(pty)
        return pty

    async def close(self) -> None:
        await super().close()
        self._world.provided.discard(self._session_id)


def far_places(world: World, *, durable: bool = True) -> Places:
    """Return one such place, the default."""
    return Places([Place("far", FarBackend(world, durable=durable), FarProfile(name="far"))])
