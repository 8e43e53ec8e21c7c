"""Which server has a key: of a cluster the primary of its slot; else there is but one."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from replay.redis_connection import connect, disconnect, slot_of

if TYPE_CHECKING:
    from replay.redis_address import RedisAddress


class Primaries:
    """The primaries as last seen."""

    def __init__(self, address: RedisAddress) -> None:
        """Know nothing of a cluster yet."""
        self._address = address
        self._by_slot: dict[int, RedisAddress] = {}

    @property
    def can_change(self) -> bool:
        """Whether there are several that may change places."""
        return self._address.kind == "cluster"

    @property
    def are_known(self) -> bool:
        """Whether they were found once."""
        return bool(self._by_slot) or not self.can_change

    async def find(self) -> None:
        """Ask which there are. Raises TROUBLE."""
        client: Any = connect(self._address)
        try:
            await client.initialize()
            found: dict[tuple[str, int], RedisAddress] = {}
            self._by_slot.clear()
            for slot, nodes in client.nodes_manager.slots_cache.items():
                place = (str(nodes[0].host), int(nodes[0].port))
                if place not in found:
                    found[place] = replace(self._address, kind="standalone", hosts=(place,))
                self._by_slot[slot] = found[place]
        finally:
            await disconnect(client)

    def of(self, key: str) -> RedisAddress | None:
        """Return the server that has a key; None: none has."""
        if not self.can_change:
            return self._address
        return self._by_slot.get(slot_of(key))
