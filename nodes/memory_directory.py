"""The directory of a node that is alone: all sessions there are, in the memory of this process."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import Counter
from typing import TYPE_CHECKING

from nodes.errors import Full

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nodes.base import Entry

FORGOTTEN_LIMIT = 10_000


class MemoryDirectory:
    """As many entries as the node has sessions; each is there until it is forgotten."""

    def __init__(self) -> None:
        """Begin with none."""
        self._entries: dict[str, Entry] = {}
        self._places: list[tuple[float, str]] = []
        self._counted: dict[str, str] = {}
        """The user of each session that counts."""
        self._forgotten: dict[str, None] = {}
        """The last ones: one that is saved late must not come back."""
        self._users: Counter[str] = Counter()

    async def claim(self, session_id: str, user: str, *, limit_all: int, limit_user: int) -> None:
        """Count a session that is about to be made. Raises Full."""
        if session_id in self._counted:
            return
        if self._users[user] >= limit_user:
            raise Full("sessions of a user", limit_user)
        if len(self._counted) >= limit_all:
            raise Full("sessions", limit_all)
        self._count(session_id, user)

    async def save(self, entries: Sequence[Entry]) -> Sequence[str]:
        """Take these as they are now; none is ever lost."""
        for entry in entries:
            if entry.session_id in self._forgotten:
                continue
            if entry.session_id not in self._entries:
                insort(self._places, (entry.created_at, entry.session_id))
            self._entries[entry.session_id] = entry
            self._uncount(entry.session_id)
            if entry.is_living:
                self._count(entry.session_id, entry.user)
        return ()

    async def forget(self, session_id: str, user: str) -> None:  # noqa: ARG002 - the contract's name
        """Remove a session; twice is harmless."""
        entry = self._entries.pop(session_id, None)
        if entry is not None:
            self._places.remove((entry.created_at, session_id))
        self._uncount(session_id)
        self._forgotten[session_id] = None
        if len(self._forgotten) > FORGOTTEN_LIMIT:
            del self._forgotten[next(iter(self._forgotten))]

    async def find(self, session_id: str) -> Entry | None:
        """Return what is known of a session."""
        return self._entries.get(session_id)

    async def page(self, *, after: tuple[float, str] | None, user: str | None, limit: int) -> Sequence[Entry]:
        """Return up to `limit` sessions (of a user) that stand after a place in the list."""
        found: list[Entry] = []
        for index in range(0 if after is None else bisect_right(self._places, after), len(self._places)):
            if len(found) >= limit:
                break
            entry = self._entries[self._places[index][1]]
            if user is None or entry.user == user:
                found.append(entry)
        return found

    def _count(self, session_id: str, user: str) -> None:
        self._counted[session_id] = user
        self._users[user] += 1

    def _uncount(self, session_id: str) -> None:
        user = self._counted.pop(session_id, None)
        if user is not None:
            self._users[user] -= 1
            if not self._users[user]:
                del self._users[user]
