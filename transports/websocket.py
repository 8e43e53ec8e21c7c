"""The WebSocket endpoint of terminals: from an accepted handshake to an attached viewer."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl
from weakref import WeakKeyDictionary

from terminal_service import wire
from terminal_service.errors import (
    Forbidden,
    InvalidRequest,
    Restarting,
    ServiceError,
    SessionOver,
    Unavailable,
    UnknownSession,
)
from terminal_service.policy import Decision, Role, attach_action, decide
from terminal_service.recovery import TERMINAL_ID
from terminal_service.wish import Wish
from transports import problems
from transports.access import knows
from transports.channel import EXTENSION
from transports.codecs import SUBPROTOCOLS, SharedFrame, make_codec
from transports.connection import Connection

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.types import Receive, Scope, Send

    from terminal_service.audience import Audience
    from terminal_service.clock import Clock
    from terminal_service.policy import Identity
    from terminal_service.session import Session
    from terminal_service.settings import Settings
    from terminal_service.shadow import Shadow
    from transports.access import Find
    from transports.channel import Channel
    from transports.codecs import Codec
    from transports.problems import Problem

CLIENT_ID_LIMIT = 128
POLICY_VIOLATION = 1008

CLOSE_CODES: dict[type[ServiceError], int] = {
    Restarting: 1012,
    Unavailable: 1013,
    InvalidRequest: 4400,
    Forbidden: 4403,
    UnknownSession: 4404,
    SessionOver: 4410,
}
OTHERWISE_CLOSE_CODE = 4429
"""LimitReached."""


@dataclass(frozen=True)
class Request:
    """The query of an attach, checked."""

    recover_from: int | str | None
    epoch: str | None
    role: Role | None
    mode: str
    client_id: str
    tail_bytes: int


def read_request(fields: Mapping[str, str], default_tail_bytes: int) -> Request:
    """Check the fields of a query. Raises InvalidRequest naming the field; unknown fields are ignored."""
    recover_from = fields.get("recover_from")
    role = fields.get("role")
    client_id = fields.get("client_id") or secrets.token_urlsafe(12)
    if len(client_id) > CLIENT_ID_LIMIT or not client_id.isprintable():
        raise InvalidRequest("client_id", f"at most {CLIENT_ID_LIMIT} printable characters")
    _one_of("control", fields.get("control", "0"), ["0", "1"])  # what it means was needed before: see `make_codec`
    tail_bytes = _number("tail_bytes", fields.get("tail_bytes"))
    return Request(
        recover_from=recover_from if recover_from == "last_sequence" else _number("recover_from", recover_from),
        epoch=fields.get("epoch"),
        role=None if role is None else Role(_one_of("role", role, [known.value for known in Role])),
        mode=_one_of("mode", fields.get("mode", "exact"), ["exact", "live", "frozen"]),
        client_id=client_id,
        tail_bytes=default_tail_bytes if tail_bytes is None else tail_bytes,
    )


def _number(field: str, text: str | None) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdigit()) or len(text) > len(str(2**64)):
        raise InvalidRequest(field, f"expected a whole number from 0, got {text[:40]!r}")
    return int(text)


def _one_of(field: str, text: str, allowed: list[str]) -> str:
    if text not in allowed:
        raise InvalidRequest(field, f"expected one of {', '.join(allowed)}, got {text[:40]!r}")
    return text


class TerminalSocket:
    """ASGI application for `/ws/terminal/{session_id}[/{terminal_id}]`.

    Host, Origin and credentials were checked before (`transports.guard`); `scope["state"]["identity"]` says who
    it is. What is refused here is refused after the handshake, with an `error` message and a close code, because
    a browser shows its page neither the status nor the body of a failed handshake.
    """

    def __init__(self, find: Find, settings: Settings, clock: Clock) -> None:
        """Serve the terminals of the sessions that `find` finds, on this node or another."""
        self._find_session = find
        self._settings = settings
        self._clock = clock
        self._frames: WeakKeyDictionary[Audience, dict[str, SharedFrame]] = WeakKeyDictionary()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one viewer until its connection ends."""
        await receive()  # websocket.connect
        subprotocol = next((name for name in scope["subprotocols"] if name in SUBPROTOCOLS), None)
        if subprotocol is None and scope["subprotocols"]:  # RFC 6455, section 4.1: a client would fail this handshake
            await problems.send_problem(_unknown_subprotocol(), send, prefix="websocket.http")
            return
        await send({"type": "websocket.accept", "subprotocol": subprotocol})
        channel: Channel = scope["extensions"][EXTENSION]
        fields = dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
        codec = make_codec(subprotocol, control=fields.get("control") == "1")
        try:
            request = read_request(fields, self._settings.tail_bytes)
            await self._attach(channel, scope, codec, request, is_plain=subprotocol is None)
        except ServiceError as error:
            self._refuse(channel, codec, error, is_plain=subprotocol is None)
        await receive()  # websocket.disconnect: the connection has ended, and was detached by its own callback

    async def _attach(self, channel: Channel, scope: Scope, codec: Codec, request: Request, *, is_plain: bool) -> None:
        identity: Identity = scope["state"]["identity"]
        session, terminal = await self._find(scope["path_params"], identity)
        role = self._role(identity, session, request.role)
        connection = Connection(
            channel,
            codec,
            self._frames.setdefault(terminal, {}).setdefault(codec.name, SharedFrame(codec)),
            is_plain=is_plain,
            session=session,
            terminal=terminal,
            settings=self._settings,
            clock=self._clock,
            loop=asyncio.get_running_loop(),
        )
        wish = Wish(
            session_id=session.session_id,
            client_id=request.client_id,
            user=identity.user,
            role=role.value,
            is_owner=role is Role.OWNER or identity.user == session.owner,
            mode=request.mode,
            recover_from=request.recover_from,
            epoch=request.epoch,
            tail_bytes=request.tail_bytes,
            window=self._settings.flow_control_window_size,
            heartbeat_interval=self._settings.heartbeat_interval,
        )
        connection.start(await session.attach(connection, wish))

    async def _find(self, params: dict[str, str], identity: Identity) -> tuple[Session | Shadow, Audience]:
        session = await self._find_session(params["session_id"], knows(identity))
        if params.get("terminal_id", TERMINAL_ID) != TERMINAL_ID:
            raise UnknownSession(session.session_id)
        if session.terminal is None:
            raise SessionOver(session.session_id, session.end_reason or "not started")
        return session, session.terminal

    def _role(self, identity: Identity, session: Session | Shadow, wanted: Role | None) -> Role:
        role = wanted or identity.role or Role.WRITER
        decision = decide(identity, attach_action(role), session.owner)
        if decision is Decision.HIDE:
            raise UnknownSession(session.session_id)
        if decision is Decision.DENY:
            raise Forbidden(f"attach as {role.value}")
        return role

    def _refuse(self, channel: Channel, codec: Codec, error: ServiceError, *, is_plain: bool) -> None:
        message = codec.message(wire.Error(code=error.code, error=str(error), timestamp=self._clock.wall()))
        if message is not None:
            channel.send(message, text=codec.messages_are_text)
        code = CLOSE_CODES.get(type(error), OTHERWISE_CLOSE_CODE)
        if isinstance(error, UnknownSession) and is_plain:
            code = POLICY_VIOLATION  # what the first clients expect
        channel.close(code, str(error))


def _unknown_subprotocol() -> Problem:
    detail = f"none of the subprotocols offered is known; known: {', '.join(SUBPROTOCOLS)}, or none"
    return problems.build(400, "unknown_subprotocol", detail)
