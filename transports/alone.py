"""The fleet of a node that is alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nodes.base import NodeFacts, NodeState
from nodes.memory_directory import MemoryDirectory
from nodes.memory_mail import MemoryMail
from nodes.memory_registry import MemoryRegistry
from terminal_service.fleet import Fleet

if TYPE_CHECKING:
    from terminal_service.sessions import Sessions

NAME = "alone"


def alone(sessions: Sessions) -> Fleet:
    """Return a fleet of this node only, in the memory of this process."""
    facts = NodeFacts(NAME, "this process", NodeState.ACTIVE, (), 0)
    return Fleet(
        sessions,
        registry=MemoryRegistry(facts),
        directory=MemoryDirectory(),
        mail=MemoryMail(None, NAME),
    )
