"""Which node carries out what, known to all: over Redis."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nodes.memory_assignments import REQUESTS_LIMIT
from nodes.redis_link import RedisLink, Run
from nodes.redis_scripts import ASSIGN, user_key

if TYPE_CHECKING:
    from replay.redis_address import RedisAddress

LIFE_SECONDS = 24 * 3600
"""As long as an answer is repeated (`transports.idempotency`)."""


class RedisAssignments:
    """What any node assigned."""

    def __init__(self, address: RedisAddress) -> None:
        """Begin unconnected."""
        self._link = RedisLink(address)

    async def close(self) -> None:
        """Close the connections."""
        await self._link.close()

    async def assign(self, user: str, digest: bytes, node_id: str, *, instead_of: str | None = None) -> str:
        """Return the node that a request belongs to. Raises Away: it may be this one's now."""
        keys = user_key(user, "assigned"), user_key(user, "assigned_at")
        arguments = digest.hex(), node_id, instead_of or "", REQUESTS_LIMIT, LIFE_SECONDS * 1000
        [has] = await self._link.ask([Run(ASSIGN, keys, arguments)])
        return bytes(has).decode()
