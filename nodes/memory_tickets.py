"""The tickets of a node that is alone, in the memory of this process."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class _Kept:
    data: bytes
    user: str
    expires: float


class MemoryTickets:
    """What was put, until it is taken or its time is over."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Begin with none."""
        self._monotonic = monotonic
        self._kept: dict[bytes, _Kept] = {}  # the oldest first, as all live equally long
        self._counts: Counter[str] = Counter()

    async def put(self, digest: bytes, data: bytes, *, seconds: float, user: str, limit: int) -> bool:
        """Keep something for a user; False: they have too much."""
        self._drop_expired()
        if self._counts[user] >= limit:
            return False
        self._kept[digest] = _Kept(data, user, self._monotonic() + seconds)
        self._counts[user] += 1
        return True

    async def take(self, digest: bytes) -> bytes | None:
        """Return what was kept, the first time only."""
        self._drop_expired()
        return self._take(digest)

    def _take(self, digest: bytes) -> bytes | None:
        kept = self._kept.pop(digest, None)
        if kept is None:
            return None
        self._counts[kept.user] -= 1
        if not self._counts[kept.user]:
            del self._counts[kept.user]
        return kept.data

    def _drop_expired(self) -> None:
        now = self._monotonic()
        while self._kept:
            digest, oldest = next(iter(self._kept.items()))
            if now < oldest.expires:
                return
            self._take(digest)
