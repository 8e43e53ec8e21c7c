"""Single-use tickets: what lets a client attach that can send no header, as a browser's WebSocket.

A ticket is for one session, one role and the page that asked, and is gone once it was shown, fitting or not. Only
its hash is kept. What is asked here is awaited, so that another place may keep them where one process is not all.
"""

from __future__ import annotations

import hashlib
import secrets
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from terminal_service.errors import LimitReached

if TYPE_CHECKING:
    from terminal_service.clock import Clock
    from terminal_service.policy import Identity, Role

LIFE_SECONDS = 30.0
USER_LIMIT = 1000
"""Tickets of one user at the same time; one more is refused. So many panes may come back at once."""
_SECRET_BYTES = 32
_CHARACTERS_LIMIT = 128


@dataclass(frozen=True)
class Use:
    """What a ticket is for: attaching to a session in a role; from pages of `origin`, None: from anywhere."""

    session_id: str
    role: Role
    origin: str | None


@dataclass(frozen=True)
class _Ticket:
    identity: Identity
    use: Use
    expires: float


class Tickets:
    """The tickets that can still be used, in the memory of this process."""

    def __init__(self, clock: Clock) -> None:
        """Begin with none."""
        self._clock = clock
        self._tickets: dict[bytes, _Ticket] = {}  # the oldest first, as all live equally long
        self._counts: Counter[str] = Counter()

    async def issue(self, identity: Identity, use: Use) -> str:
        """Return a new ticket with which its bearer is `identity`, for this use only. Raises LimitReached."""
        self._drop_expired()
        if self._counts[identity.user] >= USER_LIMIT:
            raise LimitReached("unused tickets of a user", USER_LIMIT)
        secret = secrets.token_urlsafe(_SECRET_BYTES)
        bearer = replace(identity, method="ticket", role=use.role)
        self._tickets[_digest(secret)] = _Ticket(bearer, use, self._clock.monotonic() + LIFE_SECONDS)
        self._counts[identity.user] += 1
        return secret

    async def redeem(self, secret: str, session_id: str, role: Role | None, origin: str | None) -> Identity | None:
        """Return who shows this ticket, None if it does not fit; it is used up in both cases.

        `role` None: the one it is for.
        """
        self._drop_expired()
        # Found by hash: how long that takes tells nothing of the secrets there are.
        ticket = self._take(_digest(secret)) if len(secret) <= _CHARACTERS_LIMIT else None
        if ticket is None:
            return None
        use = ticket.use
        fits = session_id == use.session_id and role in {None, use.role} and use.origin in {None, origin}
        return ticket.identity if fits else None

    def _take(self, digest: bytes) -> _Ticket | None:
        ticket = self._tickets.pop(digest, None)
        if ticket is not None:
            user = ticket.identity.user
            self._counts[user] -= 1
            if not self._counts[user]:
                del self._counts[user]
        return ticket

    def _drop_expired(self) -> None:
        now = self._clock.monotonic()
        while self._tickets:
            digest, oldest = next(iter(self._tickets.items()))
            if now < oldest.expires:
                return
            self._take(digest)


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
