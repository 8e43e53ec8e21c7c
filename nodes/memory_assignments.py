"""Which node carries out what: in the memory of this process, for a node that is alone, and for tests."""

from __future__ import annotations

from collections import OrderedDict

REQUESTS_LIMIT = 1000
"""So many requests of a user are known; the oldest go first."""


class MemoryAssignments:
    """What was assigned, until there is too much of a user. Users are as many as the configuration names."""

    def __init__(self) -> None:
        """Begin with none."""
        self._users: dict[str, OrderedDict[bytes, str]] = {}

    async def assign(self, user: str, digest: bytes, node_id: str, *, instead_of: str | None = None) -> str:
        """Return the node that a request belongs to."""
        assigned = self._users.setdefault(user, OrderedDict())
        has = assigned.get(digest)
        if has is not None and has != instead_of:
            return has
        assigned[digest] = node_id
        assigned.move_to_end(digest)
        while len(assigned) > REQUESTS_LIMIT:
            assigned.popitem(last=False)
        return node_id
