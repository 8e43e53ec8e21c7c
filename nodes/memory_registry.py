"""The registry of a node that is alone: it knows itself, and nobody is ever lost."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nodes.base import LossHandler, NodeFacts, NodeState, OwnLossHandler


class MemoryRegistry:
    """One node, which lives as long as anybody can ask."""

    def __init__(self, facts: NodeFacts) -> None:
        """Begin with what the node says of itself."""
        self.ready = asyncio.Event()
        self.trouble: str | None = None
        self._facts = facts
        self._stopping = asyncio.Event()

    @property
    def node_id(self) -> str:
        """The name of this node."""
        return self._facts.node_id

    def nodes(self) -> Mapping[str, NodeFacts]:
        """Return this node."""
        return {self.node_id: self._facts}

    def is_living(self, node_id: str) -> bool:
        """Whether it is this node."""
        return node_id == self.node_id

    def announce(self, *, sessions: int | None = None, state: NodeState | None = None) -> None:
        """Say something else of this node from now on."""
        facts = self._facts
        self._facts = replace(
            facts, sessions=facts.sessions if sessions is None else sessions, state=state or facts.state
        )

    def on_lost(self, handler: LossHandler) -> None:
        """Have it told when another node is dead: there is none."""

    def on_own_loss(self, handler: OwnLossHandler) -> None:
        """Have it told when others think this one dead: there are none."""

    async def run(self) -> None:
        """Be there until stopped."""
        self.ready.set()
        await self._stopping.wait()

    def stop(self) -> None:
        """Have `run` return."""
        self._stopping.set()

    async def leave(self, away_seconds: float) -> None:  # noqa: ARG002 - the contract's name
        """Stop; nobody waits for this node."""
        self.stop()
