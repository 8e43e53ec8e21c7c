"""Every session of all nodes, over Redis: an entry each, indexes of them, and what counts towards the limits.

The entry of a session is the truth about it. Indexes may say more (what they list is looked at) and are written
after it; what they say too much is removed when it is seen.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nodes.base import Entry
from nodes.errors import Full
from nodes.redis_link import RedisLink, Run
from nodes.redis_scripts import (
    CLAIM,
    COUNT,
    LIVING,
    PAGE,
    SAVE,
    SESSIONS,
    UNCOUNT,
    node_key,
    session_key,
    user_key,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nodes.redis_link import Command
    from replay.redis_address import RedisAddress

TTL_SECONDS = 3600.0
ENDED_SECONDS = 600.0
CLAIM_SECONDS = 60.0
"""How long a session counts that was claimed and not saved."""
FIELDS = ("node", "user", "at", "living", "record", "view")
FORGOTTEN_LIMIT = 10_000
WORDS_LIMIT = 500
"""Members in one command."""


@dataclass(slots=True)
class _Known:
    """What the indexes say of a session of this node."""

    is_living: bool
    written_at: float


class RedisDirectory:
    """The directory as this node sees and fills it. Whatever fails may be done again."""

    def __init__(
        self,
        address: RedisAddress,
        node_id: str,
        *,
        ttl_seconds: float = TTL_SECONDS,
        ended_seconds: float = ENDED_SECONDS,
    ) -> None:
        """Begin unconnected.

        An entry lives `ttl_seconds` after it was saved last, `ended_seconds` if it is not living.
        """
        self._link = RedisLink(address)
        self._node_id = node_id
        self._ttl_ms, self._ended_ms = round(ttl_seconds * 1000), round(ended_seconds * 1000)
        self._index_ms = max(self._ttl_ms, self._ended_ms)
        self._refresh_seconds = ttl_seconds / 4
        self._known: dict[str, _Known] = {}
        self._forgotten: dict[str, str] = {}
        """Users of the sessions forgotten last: one that is saved late, or at the same time, must not come back."""
        self._unsaid: set[str] = set()
        """Those of them of which Redis may still have something."""

    async def close(self) -> None:
        """Close the connections."""
        await self._link.close()

    # -- limits

    async def claim(self, session_id: str, user: str, *, limit_all: int, limit_user: int) -> None:
        """Count a session that is about to be made; it counts for CLAIM_SECONDS, or until it ends once it is saved.

        Twice is harmless. Raises Full, Away.
        """
        await self._say_forgotten()
        if not await self._claim(user_key(user, "living"), session_id, limit_user):
            raise Full("sessions of a user", limit_user)
        if not await self._claim(LIVING, session_id, limit_all):
            await self._link.ask([("ZREM", user_key(user, "living"), session_id)])
            raise Full("sessions", limit_all)

    async def _claim(self, key: str, session_id: str, limit: int) -> bool:
        claim = Run(CLAIM, (key,), (session_id, limit, round(CLAIM_SECONDS * 1000), self._index_ms))
        [(is_counted, now)] = await self._link.ask([claim])
        if not is_counted and await self._drop_strays(key, now):
            [(is_counted, _)] = await self._link.ask([claim])
        return bool(is_counted)

    async def _drop_strays(self, key: str, now: int) -> int:
        """Remove what is counted and is no living session; return how many. Fresh claims stay: they are no session yet.

        `now`: milliseconds, of Redis.
        """
        [found] = await self._link.ask([("ZRANGEBYSCORE", key, now + CLAIM_SECONDS * 1000 + 1, "+inf", "WITHSCORES")])
        members = list(zip(found[::2], found[1::2], strict=True))
        living = await self._link.ask([("HGET", session_key(member.decode()), "living") for member, _ in members])
        strays = [member for member, is_living in zip(members, living, strict=True) if is_living != b"1"]
        await self._link.ask(
            [Run(UNCOUNT, (key,), tuple(word for pair in part for word in pair)) for part in _parts(strays)]
        )
        return len(strays)

    # -- the sessions of this node

    async def save(self, entries: Sequence[Entry]) -> Sequence[str]:
        """Write entries, and the indexes where they have to be; return the sessions that were lost. Raises Away.

        One round trip if nothing began or ended. An entry that Redis has lost is new again; one that was forgotten here
        stays so.
        """
        entries = [entry for entry in entries if entry.session_id not in self._forgotten]
        try:
            lost = await self._save(entries)
        finally:
            self._unsaid.update(entry.session_id for entry in entries if entry.session_id in self._forgotten)
        await self._say_forgotten()
        return lost

    async def _save(self, entries: Sequence[Entry]) -> Sequence[str]:
        replies = await self._link.ask([self._entry(entry) for entry in entries])
        now = asyncio.get_running_loop().time()
        lost: list[str] = []
        begun: list[Entry] = []
        ended: list[Entry] = []
        for entry, reply in zip(entries, replies, strict=True):
            if reply == b"lost":
                lost.append(entry.session_id)
                self._known.pop(entry.session_id, None)
            elif reply == b"new" or self._is_due(entry, now):
                (begun if entry.is_living else ended).append(entry)
        if begun or ended:
            await self._link.ask([*self._list([*begun, *ended]), *self._count(begun), *self._uncount(ended)])
            self._known |= {entry.session_id: _Known(entry.is_living, now) for entry in (*begun, *ended)}
        return lost

    def _entry(self, entry: Entry) -> Command:
        life = self._ttl_ms if entry.is_living else self._ended_ms
        words = (self._node_id, entry.user, repr(entry.created_at), int(entry.is_living), entry.record, entry.view)
        return Run(SAVE, (session_key(entry.session_id),), (*words, life))

    def _is_due(self, entry: Entry, now: float) -> bool:
        known = self._known.get(entry.session_id)
        if known is None or known.is_living != entry.is_living:
            return True
        return entry.is_living and now - known.written_at > self._refresh_seconds

    def _list(self, entries: Sequence[Entry]) -> list[Command]:
        lists: dict[str, list[Entry]] = {SESSIONS: list(entries)}
        for entry in entries:
            lists.setdefault(user_key(entry.user, "sessions"), []).append(entry)
        return [
            command
            for key, members in lists.items()
            for command in (
                *(
                    ("ZADD", key, *(word for entry in part for word in (repr(entry.created_at), entry.session_id)))
                    for part in _parts(members)
                ),
                ("PEXPIRE", key, self._index_ms),
            )
        ]

    def _count(self, entries: Sequence[Entry]) -> list[Command]:
        counts: dict[str, list[str]] = {LIVING: [entry.session_id for entry in entries]}
        for entry in entries:
            counts.setdefault(user_key(entry.user, "living"), []).append(entry.session_id)
        own = node_key(self._node_id, "sessions")
        return [
            *(
                Run(COUNT, (key,), (self._ttl_ms, self._index_ms, *part))
                for key, members in counts.items()
                for part in _parts(members)
            ),
            *(("SADD", own, *part) for part in _parts(counts[LIVING])),
            ("PEXPIRE", own, self._index_ms),
        ]

    def _uncount(self, entries: Sequence[Entry]) -> list[Command]:
        return [command for entry in entries for command in self._removal(entry.session_id, entry.user)]

    def _removal(self, session_id: str, user: str) -> list[Command]:
        return [
            ("ZREM", LIVING, session_id),
            ("ZREM", user_key(user, "living"), session_id),
            ("SREM", node_key(self._node_id, "sessions"), session_id),
        ]

    async def forget(self, session_id: str, user: str) -> None:
        """Remove a session, living or not; it is counted no more. Twice is harmless.

        Raises Away: it is tried again with whatever is claimed or saved next.
        """
        self._known.pop(session_id, None)
        self._forgotten[session_id] = user
        self._unsaid.add(session_id)
        if len(self._forgotten) > FORGOTTEN_LIMIT:
            oldest = next(iter(self._forgotten))
            del self._forgotten[oldest]
            self._unsaid.discard(oldest)
        await self._say_forgotten()

    async def _say_forgotten(self) -> None:
        said = {session_id: self._forgotten[session_id] for session_id in self._unsaid}
        await self._link.ask(
            [
                command
                for session_id, user in said.items()
                for command in (
                    ("DEL", session_key(session_id)),
                    ("ZREM", SESSIONS, session_id),
                    ("ZREM", user_key(user, "sessions"), session_id),
                    *self._removal(session_id, user),
                )
            ]
        )
        self._unsaid.difference_update(said)

    # -- all sessions

    async def find(self, session_id: str) -> Entry | None:
        """Return what is known of a session. Raises Away."""
        [found] = await self._link.ask([_read(session_id)])
        return _parse(session_id, found)

    async def page(self, *, after: tuple[float, str] | None, user: str | None, limit: int) -> Sequence[Entry]:
        """Return up to `limit` sessions (of a user) that stand after a place. Two round trips. Raises Away."""
        key = SESSIONS if user is None else user_key(user, "sessions")
        place = ("-inf", "") if after is None else (repr(after[0]), after[1])
        entries: list[Entry] = []
        while len(entries) < limit:
            wanted = limit - len(entries)
            [found] = await self._link.ask([Run(PAGE, (key,), (*place, wanted))])
            ids = [member.decode() for member in found[::2]]
            rows = await self._link.ask([_read(session_id) for session_id in ids])
            read = [_parse(session_id, row) for session_id, row in zip(ids, rows, strict=True)]
            gone = [session_id for session_id, entry in zip(ids, read, strict=True) if entry is None]
            await self._link.ask([("ZREM", key, *part) for part in _parts(gone)])
            entries += [entry for entry in read if entry is not None]
            if len(ids) < wanted:
                break
            place = (found[-1].decode(), ids[-1])
        return entries


def _read(session_id: str) -> Command:
    return ("HMGET", session_key(session_id), *FIELDS)


def _parse(session_id: str, found: Sequence[bytes | None]) -> Entry | None:
    node, user, at, living, record, view = found
    if node is None or user is None or at is None or record is None or view is None:
        return None
    return Entry(session_id, node.decode(), user.decode(), float(at), living == b"1", record, view)


def _parts(members: Sequence[Any]) -> Sequence[Sequence[Any]]:
    """Cut into what one command may carry."""
    return [members[at : at + WORDS_LIMIT] for at in range(0, len(members), WORDS_LIMIT)]
