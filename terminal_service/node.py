"""This node among the others: what it does for them, and what it has of them, as one component."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import structlog

from nodes.errors import Away
from terminal_service.fleet import Fleet
from terminal_service.guests import Guests
from terminal_service.shadows import Shadows

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from nodes.base import Directory, Mail, MailFigures, NodeState, Registry
    from terminal_service.audience import Audience
    from terminal_service.session import Session
    from terminal_service.sessions import Sessions
    from terminal_service.shadow import Followed, Shadow

TICK_SECONDS = 1.0

log = structlog.get_logger()


class Component(Protocol):
    """Something that runs until it is told to stop."""

    async def run(self) -> None:
        """Do its work until `stop`."""
        ...

    def stop(self) -> None:
        """Have `run` return soon."""
        ...


class Reaper(Protocol):
    """Ends what dead nodes left."""

    def reap(self, node_id: str) -> None:
        """Have what a dead node left ended, by this node or another; twice is harmless."""
        ...


@dataclass(frozen=True)
class Surroundings:
    """What joins a node to the others."""

    registry: Registry
    directory: Directory
    mail: Mail
    reaper: Reaper
    follow: Callable[[str], Awaitable[Followed]]
    """Follow a log of another node by its name; raises LogMissing, or one of `troubles`."""
    troubles: tuple[type[Exception], ...]
    mail_figures: MailFigures
    components: Sequence[Component]
    """What has to run beside the mail."""
    close: Callable[[], Awaitable[None]]
    """Close connections, at the end."""


class Node:
    """One node of several. `run` is single-use."""

    def __init__(self, around: Surroundings, sessions: Sessions, *, spreads: bool) -> None:
        """Join these sessions to the others' once it runs. `spreads`: see `Fleet`."""
        self.fleet = Fleet(
            sessions, registry=around.registry, directory=around.directory, mail=around.mail, spreads=spreads
        )
        self._around = around
        self._sessions = sessions
        self._guests = Guests(sessions, around.mail, clock=sessions.clock)
        self._shadows = Shadows(
            self.fleet,
            sessions,
            around.follow,
            troubles=around.troubles,
            clock=sessions.clock,
            counters=sessions.counters,
        )
        self._carrying: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()
        around.registry.on_lost(self._bury)
        around.registry.on_own_loss(self._lose)

    async def find(self, session_id: str, may_know: Callable[[str], bool]) -> Session | Shadow:
        """Return a session, wherever it is; see `Shadows.find`."""
        return await self._shadows.find(session_id, may_know)

    @property
    def node_id(self) -> str:
        """Its name."""
        return self._around.registry.node_id

    @property
    def mail_figures(self) -> MailFigures:
        """What was counted of what nodes said to each other."""
        return self._around.mail_figures

    @property
    def count(self) -> int:
        """How many nodes there are, this one too."""
        return len(self._around.registry.nodes())

    @property
    def shown(self) -> Sequence[Audience]:
        """The terminals of other nodes that are followed here."""
        return self._shadows.terminals

    @property
    def guests_count(self) -> int:
        """How many viewers at other nodes watch sessions of this one."""
        return self._guests.count

    def announce(self, state: NodeState) -> None:
        """Tell the others what it takes from now on."""
        self._around.registry.announce(state=state)

    # -- life of the component

    async def run(self) -> None:
        """Be one of the nodes until `stop`: not before the sessions are known, or others would find them missing."""
        await self._sessions.ready.wait()
        async with asyncio.TaskGroup() as tasks:
            self._carrying = tasks.create_task(self._around.mail.run(), name="mail")
            for component in self._around.components:
                tasks.create_task(component.run(), name=f"nodes {type(component).__name__}")
            while not self._stopping.is_set():
                self._around.registry.announce(sessions=self._sessions.living_count)
                self._guests.tick()
                self._shadows.tick()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(TICK_SECONDS):
                        await self._stopping.wait()
            self._around.mail.stop()
            for component in self._around.components:
                component.stop()
        await self._around.close()

    def send_away(self) -> None:
        """Have viewers of other nodes' sessions go to another node."""
        self._shadows.close()

    async def leave(self, away_seconds: float) -> None:
        """Tell the others to wait so long for the next process of this node, 0: not to; then stop.

        What they have asked before is answered first: of a node that has gone they expect nothing.
        """
        self._around.mail.stop()
        if self._carrying is not None:
            await asyncio.wait([self._carrying])
        try:
            await self._around.registry.leave(away_seconds)
        except Away as away:
            log.warning("the other nodes could not be told", reason=str(away))
        self.stop()

    def stop(self) -> None:
        """Have `run` return soon; twice is harmless."""
        self._stopping.set()

    # -- what is lost

    def _bury(self, node_id: str) -> None:
        """Another node is dead: end what it left, and let go of what it did here."""
        self._around.mail.peer_lost(node_id)
        self._around.reaper.reap(node_id)

    def _lose(self, session_ids: Sequence[str] | None) -> None:
        """Others have found this node dead: end what they have taken for lost; None: everything."""
        if session_ids is None:
            session_ids = [session.session_id for session in self._sessions.all()]
        for session_id in session_ids:
            self._sessions.lose(session_id)
