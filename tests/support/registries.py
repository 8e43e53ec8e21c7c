"""Registries that run, and what they have told."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from nodes.redis_directory import RedisDirectory
from nodes.redis_reaper import Reaper
from nodes.redis_registry import Pace, RedisRegistry
from replay.redis_address import RedisAddress
from replay.redis_seal import seal
from support.lone_node import FAST, make_facts
from support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from nodes.base import Entry


class Node:
    """A registry that runs, and what it has told."""

    def __init__(self, url: str, node_id: str, *, home: str = "", pace: Pace = FAST) -> None:
        self.registry = RedisRegistry(RedisAddress.parse(url), make_facts(node_id), home=home, pace=pace)
        self.lost: list[str] = []
        self.own: list[list[str] | None] = []
        self.registry.on_lost(self.lost.append)
        self.registry.on_own_loss(lambda sessions: self.own.append(None if sessions is None else list(sessions)))

    def sees(self, *node_ids: str) -> bool:
        return self.registry.nodes().keys() == set(node_ids)


@asynccontextmanager
async def running(*nodes: Node) -> AsyncIterator[Node]:
    async with asyncio.TaskGroup() as group:
        for node in nodes:
            group.create_task(node.registry.run())
        try:
            yield nodes[0]
        finally:
            for node in nodes:
                node.registry.stop()


@asynccontextmanager
async def living(url: str, *node_ids: str, pace: Pace = FAST) -> AsyncIterator[list[Node]]:
    nodes = [Node(url, node_id, pace=pace) for node_id in node_ids]
    async with running(*nodes):
        for node in nodes:
            await wait_until(node.registry.ready.is_set, description="it to be known")
        await wait_until(lambda: all(node.sees(*node_ids) for node in nodes), description="all to see each other")
        yield nodes


class Member(Node):
    """A node with a directory and a reaper."""

    def __init__(self, url: str, node_id: str, *, pace: Pace = FAST, seal: Any = seal) -> None:
        super().__init__(url, node_id, pace=pace)
        address = RedisAddress.parse(url)
        self.directory = RedisDirectory(address, node_id)
        self.reaper = Reaper(address, seal=seal, name_node=self.registry.place)
        self.registry.on_lost(self.reaper.reap)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self.registry.run())
            group.create_task(self.reaper.run())

    def stop(self) -> None:
        self.registry.stop()
        self.reaper.stop()

    async def find(self, session_id: str) -> Entry:
        found = await self.directory.find(session_id)
        assert found is not None
        return found


@asynccontextmanager
async def members(url: str, *node_ids: str, pace: Pace = FAST) -> AsyncIterator[list[Member]]:
    made = [Member(url, node_id, pace=pace) for node_id in node_ids]
    async with asyncio.TaskGroup() as group:
        for member in made:
            group.create_task(member.run())
        try:
            await wait_until(
                lambda: all(member.sees(*node_ids) for member in made), description="all to see each other"
            )
            yield made
        finally:
            for member in made:
                member.stop()
                await member.directory.close()
