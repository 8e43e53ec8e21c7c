"""Several nodes of the service in one process, each as `support.http_service` serves it, that meet in its memory."""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nodes.base import Entry, NodeFacts, NodeState
from nodes.errors import Away
from nodes.memory_assignments import MemoryAssignments
from nodes.memory_directory import MemoryDirectory
from nodes.memory_mail import MemoryMail, MemoryPost
from nodes.memory_registry import MemoryRegistry
from support.http_service import Around, HttpService, facts_of, serve
from terminal_service.recovery import make_record
from transports.views import describe

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from terminal_service.session import Session
    from transports.access import Find


class Directory(MemoryDirectory):
    """One for all nodes, that can be away."""

    is_away = False

    async def save(self, entries: Sequence[Entry]) -> Sequence[str]:
        self._check()
        return await super().save(entries)

    async def claim(self, session_id: str, user: str, *, limit_all: int, limit_user: int) -> None:
        self._check()
        await super().claim(session_id, user, limit_all=limit_all, limit_user=limit_user)

    async def find(self, session_id: str) -> Entry | None:
        self._check()
        return await super().find(session_id)

    async def page(self, *, after: tuple[float, str] | None, user: str | None, limit: int) -> Sequence[Entry]:
        self._check()
        return await super().page(after=after, user=user, limit=limit)

    def _check(self) -> None:
        if self.is_away:
            raise Away("the test took it away")


class Registry(MemoryRegistry):
    """A node's view of the facts that all tell."""

    def __init__(self, facts: NodeFacts, told: dict[str, NodeFacts]) -> None:
        super().__init__(facts)
        self._told = told

    def nodes(self) -> Mapping[str, NodeFacts]:
        return {**self._told, **super().nodes()}

    def is_living(self, node_id: str) -> bool:
        return node_id in self.nodes()

    def announce(self, *, sessions: int | None = None, state: NodeState | None = None) -> None:
        super().announce(sessions=sessions, state=state)
        self._told[self.node_id] = super().nodes()[self.node_id]


@dataclass
class Company:
    """Where the nodes meet."""

    post: MemoryPost = field(default_factory=MemoryPost)
    directory: Directory = field(default_factory=Directory)
    assignments: MemoryAssignments = field(default_factory=MemoryAssignments)
    told: dict[str, NodeFacts] = field(default_factory=dict)

    @contextlib.asynccontextmanager
    async def node(
        self, tasks: asyncio.TaskGroup, name: str, *, spreads: bool = False, find: Find | None = None, **options: Any
    ) -> AsyncIterator[HttpService]:
        """Run a node."""
        mail = MemoryMail(self.post, name)
        backends = tuple(options.get("backends") or {"echo": None})
        registry = Registry(facts_of(name, backends), self.told)
        around = Around(registry, self.directory, mail, spreads, self.assignments, find)
        async with serve(around=around, **options) as service:
            registry.announce()
            running = tasks.create_task(mail.run(), name=f"mail of {name}")
            try:
                yield service
            finally:
                self.told.pop(name, None)
                mail.stop()
                await running

    async def tell(self, service: HttpService) -> None:
        """Make the sessions of a node known to all, as they are now."""
        node = service.fleet.registry.node_id
        await self.directory.save([entry_of(session, node) for session in service.sessions.all()])


def entry_of(session: Session, node: str) -> Entry:
    """Return what a node tells of a session."""
    return Entry(
        session.session_id,
        node,
        session.owner,
        session.created_at,
        session.is_living,
        json.dumps(make_record(session)).encode(),
        describe(session, node),
    )


@contextlib.asynccontextmanager
async def two_nodes(**options: Any) -> AsyncIterator[tuple[HttpService, HttpService, Company]]:
    """Run two nodes, `one` and `two`."""
    company = Company()
    async with (
        asyncio.TaskGroup() as tasks,
        company.node(tasks, "one", **options) as one,
        company.node(tasks, "two", **options) as two,
    ):
        yield one, two, company
