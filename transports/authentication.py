"""How a request proves who is asking: a static key, being the same user of this machine, or a ticket of theirs."""

from __future__ import annotations

import hashlib
import hmac
import re
import sys
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from nodes.errors import Away
from terminal_service.policy import Identity, Role
from transports import peers, problems
from transports.connections import PEER_UID
from transports.heads import Refusal
from transports.peers import Endpoint, SocketTable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.types import Scope

    from terminal_service.tickets import Tickets
    from terminal_service.values import ApiKey
    from transports.heads import Head

# RFC 9110, 7.6.3: every proxy adds Via; the others are what proxies really add.
_FORWARDING = (b"forwarded", b"via", b"x-real-ip")
_RETRY = ((b"retry-after", b"1"),)
_TICKET = "ticket"
_TERMINAL = re.compile(r"/ws/terminal/([^/]+)(?:/[^/]+)?")
_ROLES = frozenset({None, *(role.value for role in Role)})
_CHALLENGE = ((b"www-authenticate", b'Bearer realm="terminal-service"'),)


class Authenticator:
    """Finds out who asks. With keys every request needs one; without, only the local user gets in."""

    def __init__(self, keys: Sequence[ApiKey], tickets: Tickets | None = None) -> None:
        self._keys = tuple(keys)
        self._tickets = tickets
        self._uid = peers.own_uid()
        self._local = Identity(peers.own_name(), "local", is_admin=True)
        self._table = peers.SocketTable() if sys.platform == "linux" and not keys else None

    async def identify(self, scope: Scope, head: Head) -> Identity:
        """Return who asks. Raises Refusal.

        A WebSocket that shows a ticket is judged by that alone: its browser may send along what others ask for.
        """
        if scope["type"] == "websocket" and _TICKET in head.query_names():
            return await self._bearer(head)
        if self._keys:
            return self._holder(_presented(head))
        return await self._same_user(scope, head)

    def _holder(self, key: str) -> Identity:
        digest = hashlib.sha256(key.encode("latin-1")).digest()
        # All keys are compared, each in constant time: how long it takes tells nothing.
        matches = [each for each in self._keys if hmac.compare_digest(each.digest, digest)]
        if not matches:
            raise _unauthenticated("credentials_wrong", "the key is not known")
        return Identity(matches[0].user, "api_key")

    async def _bearer(self, head: Head) -> Identity:
        fields = dict(parse_qsl(head.query.decode("latin-1"), keep_blank_values=True))
        place, role = _TERMINAL.fullmatch(head.path), fields.get("role")
        identity = None
        if self._tickets is not None and place is not None and role in _ROLES:
            wanted = None if role is None else Role(role)
            try:
                identity = await self._tickets.redeem(fields.get(_TICKET, ""), place[1], wanted, head.one("origin"))
            except Away as away:
                raise Refusal(problems.build(503, "unavailable", str(away), headers=_RETRY)) from away
        if identity is None:
            raise _unauthenticated("ticket_invalid", "the ticket is used, too old or for something else; ask for one")
        return identity

    async def _same_user(self, scope: Scope, head: Head) -> Identity:
        if any(name in _FORWARDING or name.startswith(b"x-forwarded-") for name in head.headers):
            detail = "a proxy is in front, so it cannot be seen whose request this is; set API_KEYS"
            raise Refusal(problems.build(403, "proxied", detail))
        try:
            uid = await _peer_uid(scope, self._table)
        except OSError as error:
            detail = f"it cannot be seen whose request this is: {error.strerror}"
            raise Refusal(problems.build(503, "unavailable", detail, headers=_RETRY)) from error
        if uid != self._uid:
            detail = "only the user the service runs as may use it without a key; set API_KEYS"
            raise Refusal(problems.build(403, "not_local_user", detail))
        return self._local


async def _peer_uid(scope: Scope, table: SocketTable | None) -> int | None:
    state = scope.get("state", {})
    if PEER_UID in state:
        uid: int | None = state[PEER_UID]
        return uid
    if not scope.get("client") or not scope.get("server"):
        return None
    peer, local = (Endpoint.parse(*scope[end]) for end in ("client", "server"))
    return await peers.tcp_uid(peer, local, table) if peer and local else None


def _presented(head: Head) -> str:
    bearer, key = head.one("authorization"), head.one("x-api-key")
    if bearer is not None and key is not None:
        detail = "give either Authorization or X-API-Key, not both"
        raise Refusal(problems.build(400, "credentials_ambiguous", detail))
    if key is not None:
        return key.strip()
    if bearer is None:
        raise _unauthenticated("credentials_missing", "a key is needed: Authorization: Bearer <key>")
    scheme, _, token = bearer.strip().partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise _unauthenticated("credentials_malformed", "expected Authorization: Bearer <key>")
    return token.strip()


def _unauthenticated(code: str, detail: str) -> Refusal:
    return Refusal(problems.build(401, code, detail, headers=_CHALLENGE))
