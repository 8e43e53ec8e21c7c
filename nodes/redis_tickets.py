"""Tickets that every node knows, and one of them takes: over Redis."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from nodes.errors import Away
from nodes.redis_link import RedisLink, Run
from nodes.redis_scripts import TICKET, ticket_key, user_key

if TYPE_CHECKING:
    from nodes.base import TicketStore
    from replay.redis_address import RedisAddress


class RedisTickets:
    """What was put by any node, until one takes it or its time is over.

    While Redis is away what is put here is kept by this node alone (`spare`), and can be taken here.
    """

    def __init__(self, address: RedisAddress, *, spare: TicketStore) -> None:
        """Begin unconnected."""
        self._link = RedisLink(address)
        self._spare = spare

    async def close(self) -> None:
        """Close the connections."""
        await self._link.close()

    async def put(self, digest: bytes, data: bytes, *, seconds: float, user: str, limit: int) -> bool:
        """Keep something for a user; False: they have too much."""
        life, count = round(seconds * 1000), user_key(user, "tickets")
        try:
            [is_counted] = await self._link.ask([Run(TICKET, (count,), (digest.hex(), limit, life))])
            if is_counted:
                kept = json.dumps(user).encode() + b"\n" + data
                await self._link.ask([("SET", ticket_key(digest.hex()), kept, "PX", life)])
        except Away:
            return await self._spare.put(digest, data, seconds=seconds, user=user, limit=limit)
        return bool(is_counted)

    async def take(self, digest: bytes) -> bytes | None:
        """Return what was kept, the first time only over all nodes. Raises Away: it may be used up."""
        own = await self._spare.take(digest)
        if own is not None:
            return own
        [kept] = await self._link.ask([("GETDEL", ticket_key(digest.hex()))])
        if kept is None:
            return None
        user, _, data = bytes(kept).partition(b"\n")
        await self._link.try_all([("ZREM", user_key(json.loads(user), "tickets"), digest.hex())])
        return data
