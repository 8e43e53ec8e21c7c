"""All sessions of a process in a directory of their own, on a clock that is moved by hand."""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backends.echo import EchoBackend
from replay.file import FileStore
from support.alone import publisher_of_one
from support.manual import CollectingOutlet, ManualTime
from support.wait import poll_until
from terminal_service.counters import Counters
from terminal_service.places import Places
from terminal_service.records import FileRecords
from terminal_service.session import Session, SessionSpec
from terminal_service.sessions import Sessions
from terminal_service.settings import Settings
from terminal_service.wish import Wish

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from backends.base import Backend
    from terminal_service.terminal import Terminal


class House:
    """The component with its clocks, its directory and its backend."""

    def __init__(
        self,
        directory: Path,
        backend: Backend | None = None,
        make_store: type[FileStore] = FileStore,
        places: Places | None = None,
        **settings: Any,
    ) -> None:
        self.time = ManualTime()
        self.directory = directory
        self.store = make_store(directory)
        self.records = FileRecords(directory)
        self.backend: Backend = backend or EchoBackend()
        self.sessions = Sessions(
            settings=Settings(state_dir=directory.parent, retention_bytes=65536, **settings),
            places=places or Places.of({self.backend.name: self.backend}),
            store=self.store,
            records=self.records,
            publisher=publisher_of_one(self.time.clock),
            clock=self.time.clock,
            counters=Counters(),
        )

    async def create(self, owner: str = "ann", **spec: Any) -> Session:
        return await self.sessions.create(SessionSpec(**spec), owner)

    def files(self) -> list[str]:
        walked = os.walk(self.directory)  # unlike rglob it bears what is deleted meanwhile
        paths = [Path(folder) / name for folder, folders, files in walked for name in (*folders, *files)]
        return sorted(str(path.relative_to(self.directory)) for path in paths)


@asynccontextmanager
async def running(
    directory: Path, backend: Backend | None = None, *, ends_all: bool = True, **options: Any
) -> AsyncIterator[House]:
    house = await asyncio.to_thread(House, directory, backend, **options)
    async with asyncio.TaskGroup() as tasks:
        work = tasks.create_task(house.sessions.run(), name="sessions")
        await house.sessions.ready.wait()
        try:
            yield house
        finally:
            house.sessions.stop(end_all=ends_all)
            async with asyncio.timeout(30):
                await work


def terminal_of(session: Session) -> Terminal:
    assert session.terminal is not None
    return session.terminal


def watch(session: Session, outlet: CollectingOutlet | None = None, **options: Any) -> CollectingOutlet:
    outlet = outlet or CollectingOutlet()
    settings = {"client_id": "c", "user": "ann", "role": "writer", "is_owner": True, "mode": "exact"}
    settings |= {"recover_from": 0, "epoch": None, "tail_bytes": 0, "window": 65536, "heartbeat_interval": 60.0}
    attachment = terminal_of(session).attach(outlet, Wish(session_id=session.session_id, **{**settings, **options}))
    outlet.attachment = attachment
    attachment.pump()
    return outlet


async def over(session: Session) -> None:
    async with asyncio.timeout(30):
        await session.over.wait()


async def files_gone(house: House) -> None:
    await asyncio.to_thread(poll_until, lambda: not house.files(), description="nothing is left in the directory")
