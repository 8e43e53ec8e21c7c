"""Two nodes in one process: one with a session, and one that shows it, with mail between them and nothing else real."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from nodes.base import NodeFacts, NodeState
from nodes.memory_directory import MemoryDirectory
from nodes.memory_mail import MemoryMail, MemoryPost
from nodes.memory_registry import MemoryRegistry
from replay.errors import LogMissing
from support.house import House, running, terminal_of
from support.manual import CollectingOutlet
from terminal_service.counters import Counters
from terminal_service.fleet import Fleet
from terminal_service.guests import Guests
from terminal_service.shadows import Shadows
from terminal_service.wish import Wish

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from nodes.base import Entry
    from replay.log import Log
    from terminal_service.session import Session
    from terminal_service.shadow import Shadow

HOST, GUEST = "host", "guest"


class HostsLog:
    """The host's own log, in place of a copy that follows it."""

    trouble: str | None = None

    def __init__(self, log: Log) -> None:
        self.log = log
        self.is_released = False
        self.changed = lambda: None

    def release(self) -> None:
        self.is_released = True


class Living(MemoryRegistry):
    """A guest's view: the host lives until it is said that it does not."""

    host_lives = True

    def nodes(self) -> Mapping[str, NodeFacts]:
        host = {HOST: NodeFacts(HOST, "there", NodeState.ACTIVE, (), 1)} if self.host_lives else {}
        return {**super().nodes(), **host}

    def is_living(self, node_id: str) -> bool:
        return node_id in self.nodes()


class Elsewhere(MemoryDirectory):
    """What the guest finds: the host's sessions."""

    def __init__(self, house: House) -> None:
        super().__init__()
        self._house = house

    async def find(self, session_id: str) -> Entry | None:
        if not self._house.sessions.has(session_id):
            return None
        entry = self._house.sessions._publisher._entry(self._house.sessions.get(session_id))
        return replace(entry, node_id=HOST)


class TwoNodes:
    """The host is a House, the guest its shadows."""

    def __init__(self, host: House, guest: House) -> None:
        self.host, self.guest = host, guest
        self.post = MemoryPost()
        self.mails = MemoryMail(self.post, HOST), MemoryMail(self.post, GUEST)
        self.guests = Guests(host.sessions, self.mails[0], clock=host.time.clock)
        self.registry = Living(NodeFacts(GUEST, "here", NodeState.ACTIVE, (), 0))
        fleet = Fleet(guest.sessions, registry=self.registry, directory=Elsewhere(host), mail=self.mails[1])
        self.followed: list[HostsLog] = []
        self.shadows = Shadows(
            fleet, guest.sessions, self._follow, troubles=(OSError,), clock=guest.time.clock, counters=Counters()
        )

    async def _follow(self, name: str) -> HostsLog:
        session_id = name.partition("/")[0]
        if not self.host.sessions.has(session_id):
            raise LogMissing(name)
        self.followed.append(HostsLog(terminal_of(self.host.sessions.get(session_id)).log))
        return self.followed[-1]

    async def find(self, session: Session) -> Session | Shadow:
        return await self.shadows.find(session.session_id, lambda _: True)

    async def watch(self, session: Session, **options: Any) -> CollectingOutlet:
        """Attach a viewer at the guest."""
        outlet = CollectingOutlet()
        wish: dict[str, Any] = {"client_id": "far", "user": "ann", "role": "writer", "is_owner": True, "mode": "exact"}
        wish |= {"recover_from": 0, "epoch": None, "tail_bytes": 0, "window": 65536, "heartbeat_interval": 60.0}
        found = await self.find(session)
        attachment = await found.attach(outlet, Wish(session_id=session.session_id, **(wish | options)))
        outlet.attachment = attachment
        attachment.pump()
        return outlet


@asynccontextmanager
async def two_nodes(directory: Path, **settings: Any) -> AsyncIterator[TwoNodes]:
    async with running(directory / "host", **settings) as host, running(directory / "guest") as guest:
        nodes = TwoNodes(host, guest)
        async with asyncio.TaskGroup() as tasks:
            for mail in nodes.mails:
                tasks.create_task(mail.run())
            try:
                yield nodes
            finally:
                for mail in nodes.mails:
                    mail.stop()
