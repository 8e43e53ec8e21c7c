"""A node that is nothing but its lease, as a process that can be stopped and killed: `python -m support.lone_node`.

Prints one JSON line for each thing it learns: `["ready"]`, `["lost", node]`, `["own", sessions or null]`, `["taken"]`.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import structlog

from nodes.base import NodeFacts, NodeState
from nodes.errors import NameTaken
from nodes.redis_registry import Pace, RedisRegistry
from replay.redis_address import RedisAddress

FAST = Pace(lease=0.6, turn=0.1, retry=0.05, limit=1.0, missing=1.2)


def make_facts(node_id: str, *, sessions: int = 0) -> NodeFacts:
    return NodeFacts(node_id, f"host-of-{node_id}:1", NodeState.ACTIVE, ("local",), sessions)


def say(*words: Any) -> None:
    print(json.dumps(words), flush=True)  # noqa: T201 - what it is for


async def main(url: str, node_id: str, home: str) -> None:
    registry = RedisRegistry(RedisAddress.parse(url), make_facts(node_id), home=home, pace=FAST)
    registry.on_lost(lambda other: say("lost", other))
    registry.on_own_loss(lambda sessions: say("own", sessions))
    async with asyncio.TaskGroup() as group:
        group.create_task(tell_ready(registry))
        try:
            await registry.run()
        except NameTaken:
            say("taken")


async def tell_ready(registry: RedisRegistry) -> None:
    await registry.ready.wait()
    say("ready")


if __name__ == "__main__":
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    asyncio.run(main(*sys.argv[1:]))
