"""What may go wrong between nodes.

::

    NodesError
    ├── Away          where nodes meet (Redis) does not answer, or does not do now what it is asked
    ├── Unreachable   that node has not answered in time; what was asked may have been done, or not
    ├── CallFailed    that node tried what it was asked and could not; its own log says why
    ├── Full          a limit over all nodes is reached
    └── NameTaken     another living process has this node's name
"""

from __future__ import annotations

from dataclasses import dataclass


class NodesError(Exception):
    """Base of all trouble between nodes."""


@dataclass(eq=False)
class Away(NodesError):
    """Where nodes meet does not answer; tried again later it will."""

    reason: str

    def __str__(self) -> str:
        """Give the reason."""
        return f"the other nodes cannot be asked: {self.reason}"


@dataclass(eq=False)
class Unreachable(NodesError):
    """A node has not answered in time."""

    node_id: str

    def __str__(self) -> str:
        """Name the node."""
        return f"node {self.node_id} does not answer"


@dataclass(eq=False)
class CallFailed(NodesError):
    """A node was asked and has failed to answer; what was asked may be done in part."""

    node_id: str
    kind: str
    reason: str

    def __str__(self) -> str:
        """Name the node and what it was asked."""
        return f"node {self.node_id} has failed at {self.kind}: {self.reason}"


@dataclass(eq=False)
class Full(NodesError):
    """A limit over all nodes is reached; nothing was counted."""

    what: str
    limit: int

    def __str__(self) -> str:
        """Name the limit."""
        return f"at most {self.limit} {self.what}"


@dataclass(eq=False)
class NameTaken(NodesError):
    """Another living process has this node's name: two state directories are copies of one another, say."""

    node_id: str

    def __str__(self) -> str:
        """Name it."""
        return f"another process is node {self.node_id}"
