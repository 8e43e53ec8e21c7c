"""The fleet of a node that is alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nodes.base import NodeFacts, NodeState
from nodes.memory_directory import MemoryDirectory
from nodes.memory_mail import MemoryMail
from nodes.memory_registry import MemoryRegistry
from terminal_service.fleet import Fleet

if TYPE_CHECKING:
    from collections.abc import Iterable

    from terminal_service.sessions import Sessions


def alone(sessions: Sessions, *, node_id: str = "this", place: str = "", backends: Iterable[str] = ()) -> Fleet:
    """Return a fleet of this node only, in the memory of this process."""
    facts = NodeFacts(node_id, place, NodeState.ACTIVE, tuple(backends), 0)
    return Fleet(
        sessions,
        registry=MemoryRegistry(facts),
        directory=MemoryDirectory(),
        mail=MemoryMail(None, node_id),
    )
