"""The part of the composition root that is about Redis: what a node that is not alone is made of."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import TYPE_CHECKING

from nodes.base import NodeFacts, NodeState
from nodes.memory_tickets import MemoryTickets
from nodes.redis_assignments import RedisAssignments
from nodes.redis_directory import RedisDirectory
from nodes.redis_mail import RedisMail
from nodes.redis_reaper import Reaper
from nodes.redis_registry import RedisRegistry
from nodes.redis_tickets import RedisTickets
from replay.file import FileStore
from replay.redis_connection import TROUBLE
from replay.redis_copy import State
from replay.redis_followers import Followers
from replay.redis_persister import Durability, Persister, ring_capacity
from replay.redis_seal import seal
from replay.redis_store import RedisStore
from terminal_service.node import Surroundings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from nodes.base import TicketStore
    from replay.redis_address import RedisAddress
    from terminal_service.settings import Settings


class RedisParts:
    """Everything of one process that speaks to Redis; nothing does before it runs."""

    def __init__(self, settings: Settings, address: RedisAddress, node_id: str, directory: Path) -> None:
        """Make it. `directory` is where the logs of this node are."""
        self._settings = settings
        self._address = address
        self._node_id = node_id
        self._on_fenced: Callable[[str], None] = lambda _: None
        durability = Durability(settings.redis_durability, settings.redis_replicas)
        self.persister = Persister(
            address, durability=durability, ttl_seconds=settings.redis_ttl_seconds, on_over=self._hear_of_the_end
        )
        self.store = RedisStore(FileStore(directory, capacity=ring_capacity), self.persister, address)
        self.directory = RedisDirectory(
            address, node_id, ttl_seconds=settings.redis_ttl_seconds, ended_seconds=settings.ended_session_seconds
        )
        self._tickets = RedisTickets(address, spare=MemoryTickets())
        self.assignments = RedisAssignments(address)

    @property
    def tickets(self) -> TicketStore:
        """Where tickets are kept that any node may be shown."""
        return self._tickets

    def surroundings(self, url: str, backends: Iterable[str], *, on_fenced: Callable[[str], None]) -> Surroundings:
        """Return what joins this node to the others. `on_fenced` is called with a session taken from it."""
        settings, address = self._settings, self._address
        self._on_fenced = on_fenced
        facts = NodeFacts(
            self._node_id, f"{socket.gethostname()} {url} pid {os.getpid()}", NodeState.ACTIVE, tuple(backends), 0
        )
        home = f"{socket.gethostname()}:{settings.state_dir.resolve()}"
        registry = RedisRegistry(address, facts, home=home, ttl_seconds=settings.redis_ttl_seconds)
        mail = RedisMail(address, self._node_id)
        reaper = Reaper(
            address,
            seal=seal,
            name_node=registry.place,
            ended_seconds=settings.ended_session_seconds,
            ttl_seconds=settings.redis_ttl_seconds,
        )
        followers = Followers(address)
        return Surroundings(
            registry=registry,
            directory=self.directory,
            mail=mail,
            reaper=reaper,
            follow=followers.follow,
            troubles=TROUBLE,
            mail_figures=mail.figures,
            components=(followers, registry, reaper),
            close=self._close,
        )

    async def _close(self) -> None:
        await asyncio.gather(self.directory.close(), self._tickets.close(), self.assignments.close())

    def _hear_of_the_end(self, name: str, state: State) -> None:
        """End the session of a log that another node has sealed; one that is forked goes on, and says so."""
        if state is State.FENCED:
            self._on_fenced(name.partition("/")[0])
