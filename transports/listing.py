"""Lists of the sessions of all nodes: this node's own as they are now, the others' as their nodes described them.

What another node's session looks like is JSON that its node has made; it goes into the answer as it is.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from nodes.base import Entry
from nodes.errors import Away
from terminal_service.policy import Action, Decision, decide, readable_user
from transports.views import describe

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TypeAlias

    from terminal_service.fleet import Fleet
    from terminal_service.policy import Identity
    from terminal_service.session import Session
    from terminal_service.sessions import Sessions

    Place: TypeAlias = tuple[float, str]

BATCH = 500
"""How many sessions the directory is asked for at once while many do not fit."""
TURN_SECONDS = 0.002
"""How long a list is made before others get their turn."""


class _Seen(msgspec.Struct):
    """What a filter looks at in a session's JSON."""

    state: str = ""
    labels: dict[str, str] = {}


_see = msgspec.json.Decoder(_Seen).decode


@dataclass(frozen=True)
class Wanted:
    """Which sessions a list is of: those that `identity` may know of, and that all filters fit.

    `labels`: name and value, None: any; `states` as in the query: any of them, `living` and `all` too.
    """

    identity: Identity | None
    user: str | None
    labels: Sequence[tuple[str, str | None]]
    states: Sequence[str]

    @property
    def only_user(self) -> str | None:
        """The only user whose sessions can fit; None: any."""
        return self.user if self.user is not None else readable_user(self.identity)

    def takes(self, session: Session) -> bool:
        """Whether a session of this node fits."""
        return (
            self._takes_user(session.owner)
            and self._takes_state(session.state.value, is_living=session.is_living)
            and self._takes_labels(session.labels)
        )

    def takes_entry(self, entry: Entry) -> bool:
        """Whether another node's session fits, as far as it is known."""
        if not self._takes_user(entry.user):
            return False
        if not self.labels and ("all" in self.states or ("living" in self.states and entry.is_living)):
            return True
        seen = _see(entry.view)
        return self._takes_state(seen.state, is_living=entry.is_living) and self._takes_labels(seen.labels)

    def _takes_user(self, user: str) -> bool:
        if self.user is not None and user != self.user:
            return False
        return decide(self.identity, Action.READ, user) is Decision.ALLOW

    def _takes_state(self, state: str, *, is_living: bool) -> bool:
        return "all" in self.states or state in self.states or ("living" in self.states and is_living)

    def _takes_labels(self, labels: dict[str, str]) -> bool:
        return all(name in labels and value in {None, labels[name]} for name, value in self.labels)


@dataclass
class Page:
    """A part of a list: JSON of each session."""

    views: list[bytes] = field(default_factory=list)
    next: Place | None = None
    """Where the next page begins: after this; None: there is no more."""
    is_complete: bool = True
    """False: other nodes' sessions are missing, as they cannot be asked for now."""

    def body(self) -> bytes:
        """Return a JSON array."""
        return b"[%b]" % b",".join(self.views)


class Listing:
    """Makes pages, oldest session first."""

    def __init__(self, sessions: Sessions, fleet: Fleet) -> None:
        """List `sessions` of this node, and those that the fleet's directory knows of other nodes."""
        self._sessions = sessions
        self._fleet = fleet

    async def page(self, wanted: Wanted, *, after: Place | None, limit: int) -> Page:
        """Return up to `limit` sessions that stand after a place."""
        own = deque(sorted((each for each in self._sessions.all() if wanted.takes(each)), key=place_of))
        while after is not None and own and place_of(own[0]) <= after:
            own.popleft()
        page = Page()
        found: list[Session | Entry] = []
        try:
            await self._merge(found, own, wanted, after=after, enough=limit + 1)
        except Away:
            page.is_complete = False
        found.extend(own)
        if len(found) > limit:
            page.next = place_of(found[limit - 1])
        page.views = await self._describe(found[:limit])
        return page

    async def _merge(
        self, found: list[Session | Entry], own: deque[Session], wanted: Wanted, *, after: Place | None, enough: int
    ) -> None:
        """Find other nodes' sessions, and move into their order what stands before them. Raises Away."""
        batch = min(enough, BATCH)
        while True:
            entries = await self._fleet.directory.page(after=after, user=wanted.only_user, limit=batch)
            for entry in entries:
                after = place_of(entry)
                while own and place_of(own[0]) < after:
                    found.append(own.popleft())
                if not self._sessions.has(entry.session_id) and wanted.takes_entry(entry):
                    found.append(entry)
                if len(found) >= enough:
                    return
            if len(entries) < batch:
                return
            batch = BATCH

    async def _describe(self, found: Sequence[Session | Entry]) -> list[bytes]:
        clock, node = self._sessions.clock, self._fleet.registry.node_id
        views, turn_began = [], clock.monotonic()
        for each in found:
            views.append(each.view if isinstance(each, Entry) else describe(each, node))
            if clock.monotonic() - turn_began > TURN_SECONDS:
                await asyncio.sleep(0)
                turn_began = clock.monotonic()
        return views


def place_of(session: Session | Entry) -> Place:
    """Return where a session stands in every list; it never changes."""
    return session.created_at, session.session_id
