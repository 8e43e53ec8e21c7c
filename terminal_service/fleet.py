"""The sessions of all nodes, as one node sees them: whose a session is, and where a new one belongs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nodes.base import NodeState
from nodes.errors import Away
from terminal_service.errors import Unavailable

if TYPE_CHECKING:
    from nodes.base import Directory, Entry, Mail, Registry
    from terminal_service.sessions import Sessions


class Fleet:
    """All nodes, this one among them. A node that is alone has a fleet of one."""

    def __init__(
        self, sessions: Sessions, *, registry: Registry, directory: Directory, mail: Mail, spreads: bool = False
    ) -> None:
        """See the others through these. `spreads`: new sessions go to the node with the least of them."""
        self.directory = directory
        self.mail = mail
        self.registry = registry
        self._sessions = sessions
        self._spreads = spreads

    async def find_elsewhere(self, session_id: str) -> Entry | None:
        """Return what is known of a session that this node does not have; None: it has it, or nobody does.

        Raises Unavailable: it cannot be asked.
        """
        if self._sessions.has(session_id):
            return None
        try:
            entry = await self.directory.find(session_id)
        except Away as away:
            raise Unavailable(str(away)) from away
        return None if entry is None or self._sessions.has(session_id) else entry

    def lives(self, entry: Entry) -> bool:
        """Whether the node that has a session can be asked for it."""
        return entry.node_id != self.registry.node_id and self.registry.is_living(entry.node_id)

    def answers(self, node_id: str) -> bool:
        """Whether another node can be asked now: it lives, and is not being restarted."""
        facts = self.registry.nodes().get(node_id)
        return node_id != self.registry.node_id and facts is not None and facts.state is not NodeState.AWAY

    def place(self, backend: str | None) -> str | None:
        """Return the node that a new session belongs to; None: this one.

        That is the node that was asked, if it takes new ones and has the backend (None: any), else the one with the
        least sessions; where sessions are spread it is always that one.
        """
        own = self.registry.node_id
        fitting = [
            node
            for node in self.registry.nodes().values()
            if node.state is NodeState.ACTIVE and (backend is None or backend in node.backends)
        ]
        if not fitting or (not self._spreads and any(node.node_id == own for node in fitting)):
            return None
        least = min(fitting, key=lambda node: (node.sessions, node.node_id != own, node.node_id))
        return None if least.node_id == own else least.node_id
