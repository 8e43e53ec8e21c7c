"""Single-use tickets: what lets a client attach that can send no header, as a browser's WebSocket.

A ticket is for one session, one role and the page that asked, and is gone once it was shown, fitting or not. Only
its hash is kept, by a store: with many nodes, one that all of them share.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from terminal_service.errors import LimitReached
from terminal_service.policy import Identity, Role

if TYPE_CHECKING:
    from nodes.base import TicketStore

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


class Tickets:
    """The tickets that can still be used, wherever the store keeps them."""

    def __init__(self, store: TicketStore) -> None:
        """Begin with what the store has."""
        self._store = store

    async def issue(self, identity: Identity, use: Use) -> str:
        """Return a new ticket with which its bearer is `identity`, for this use only. Raises LimitReached."""
        secret = secrets.token_urlsafe(_SECRET_BYTES)
        kept = _write(replace(identity, method="ticket", role=use.role), use)
        is_kept = await self._store.put(
            _digest(secret), kept, seconds=LIFE_SECONDS, user=identity.user, limit=USER_LIMIT
        )
        if not is_kept:
            raise LimitReached("unused tickets of a user", USER_LIMIT)
        return secret

    async def redeem(self, secret: str, session_id: str, role: Role | None, origin: str | None) -> Identity | None:
        """Return who shows this ticket, None if it does not fit; it is used up in both cases.

        `role` None: the one it is for. Raises nodes.errors.Away: nobody can tell now.
        """
        # Found by hash: how long that takes tells nothing of the secrets there are.
        kept = await self._store.take(_digest(secret)) if len(secret) <= _CHARACTERS_LIMIT else None
        if kept is None:
            return None
        identity, use = _read(kept)
        fits = session_id == use.session_id and role in {None, use.role} and use.origin in {None, origin}
        return identity if fits else None


def _write(identity: Identity, use: Use) -> bytes:
    return json.dumps([identity.user, identity.is_admin, use.session_id, use.role.value, use.origin]).encode()


def _read(kept: bytes) -> tuple[Identity, Use]:
    user, is_admin, session_id, name, origin = json.loads(kept)
    role = Role(name)
    return Identity(user, "ticket", is_admin=is_admin, role=role), Use(session_id, role, origin)


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
