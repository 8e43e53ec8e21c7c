"""Requests for what another node has: they are forwarded there, and its answer is given.

Not forwarded are WebSockets and output: these any node serves itself, from a copy of the log that follows the owner's.
Nor is a request for a session whose node is gone: what is left of it every node can show. And nothing is forwarded
twice.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from nodes.base import NodeState
from nodes.errors import Away, NodesError
from terminal_service.choosing import AUTO
from terminal_service.errors import Restarting, Unavailable
from transports import problems, refusals
from transports.access import ONLY_HERE, knows
from transports.forwarded import CALL, Answer, Asked, decode_answer, encode
from transports.idempotency import idempotency_key

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from starlette.types import ASGIApp, Receive, Scope, Send

    from nodes.base import Assignments
    from terminal_service.counters import Counters
    from terminal_service.fleet import Fleet
    from terminal_service.policy import Identity
    from transports.problems import Problem

FORWARD_SECONDS = 30.0
"""Patience with another node, beside the time that ending a session may take."""
BACKLOG_BYTES = 32 * 1024 * 1024
"""So much may be under way to a node before requests for it are refused here."""

_SESSIONS = "/api/v1/sessions"
_SESSION = re.compile(rf"{_SESSIONS}/([^/]+)(?:/.+)?")
_BODILESS = frozenset({"GET", "HEAD", "OPTIONS"})
_RETRY = ((b"retry-after", b"%d" % refusals.RETRY_AFTER_SECONDS),)

log = structlog.get_logger()


class _Wish(msgspec.Struct):
    """What of a new session says where it belongs."""

    backend: str | None = None


_read_wish = msgspec.json.Decoder(_Wish).decode


class Forwarding:
    """ASGI middleware: what belongs to another node is answered by it. Stands behind the guard and `BoundedBody`."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        fleet: Fleet,
        assignments: Assignments,
        counters: Counters,
        seconds: float = FORWARD_SECONDS,
    ) -> None:
        """Ask `app` what this node answers itself; a node that has not answered after `seconds` is unreachable.

        `assignments`: where all nodes agree on who carries out a creation with an Idempotency-Key.
        """
        self._app = app
        self._fleet = fleet
        self._assignments = assignments
        self._counters = counters
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        state = scope.get("state", {})
        identity: Identity | None = state.get("identity")
        if scope["type"] != "http" or identity is None or ONLY_HERE in state:
            await self._app(scope, receive, send)
        elif (scope["method"], scope["path"]) == ("POST", _SESSIONS):
            await self._create(scope, identity, receive, send)
        elif (session_id := _session_id(scope)) is not None:
            await self._serve(session_id, scope, identity, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _serve(self, session_id: str, scope: Scope, identity: Identity, receive: Receive, send: Send) -> None:
        """Serve a request about a session, wherever that is."""
        try:
            entry = await self._fleet.find_elsewhere(session_id)
        except Unavailable as error:
            await problems.send_problem(refusals.of_service_error(error), send)
            return
        if entry is None or not knows(identity)(entry.user):
            # It is not here, and that is all that is told: nobody learns by an error or a delay that it is elsewhere.
            await self._app({**scope, "state": {**scope["state"], ONLY_HERE: True}}, receive, send)
        elif _is_forwarded(scope) and self._fleet.lives(entry):
            body = b"" if scope["method"] in _BODILESS else (await _read(receive))[0]
            await self._give(entry.node_id, Asked.of(scope, identity, body), send)
        else:
            await self._app(scope, receive, send)

    async def _create(self, scope: Scope, identity: Identity, receive: Receive, send: Send) -> None:
        """Have a session created by the node that it belongs to."""
        body, receive = await _read(receive)
        own = self._fleet.registry.node_id
        node = self._fleet.place(_backend(body)) or own
        key = idempotency_key(scope)
        if key is not None and len(self._fleet.registry.nodes()) > 1:
            node = await self._assign(identity.user, key, node)
        if node == own:
            await self._app(scope, receive, send)
            return
        await self._give(node, Asked.of(scope, identity, body), send)

    async def _assign(self, user: str, key: bytes, node: str) -> str:
        """Return the node that has got a request of this key, `node` if none has: it knows what became of it."""
        digest = hashlib.sha256(key).digest()
        try:
            has = await self._assignments.assign(user, digest, node)
            if not self._fleet.registry.is_living(has):  # what it made is lost
                has = await self._assignments.assign(user, digest, node, instead_of=has)
        except Away as away:
            log.warning("a repetition at another node will not be known", reason=str(away))
            return node
        return has

    async def _give(self, node: str, asked: Asked, send: Send) -> None:
        """Give a node's answer, or say why there is none."""
        answer = await self._ask(node, asked)
        if isinstance(answer, Answer):
            self._counters.requests_forwarded["answered"] += 1
            await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
            await send({"type": "http.response.body", "body": answer.body})
        else:
            self._counters.requests_forwarded["failed"] += 1
            await problems.send_problem(answer, send)

    async def _ask(self, node: str, asked: Asked) -> Answer | Problem:
        """Return a node's answer, or why there is none."""
        facts = self._fleet.registry.nodes().get(node)
        if facts is not None and facts.state is NodeState.AWAY:
            return refusals.of_service_error(Restarting())
        mail = self._fleet.mail
        if mail.backlog_bytes(node) > BACKLOG_BYTES:
            return _unreachable(f"node {node} has too much to do already; nothing has been done")
        try:
            return decode_answer(await mail.call(node, CALL, encode(asked), seconds=self._seconds))
        except NodesError as error:
            log.warning("request not forwarded", node=node, reason=str(error))
            return _unreachable(f"{error}; {_outcome(asked)}")
        except msgspec.DecodeError as error:  # a node of a version that is too far from this one's
            log.error("answer not understood", node=node, reason=str(error))  # noqa: TRY400 - no bug of ours to trace
            return _unreachable(f"node {node} does not speak as this one; {_outcome(asked)}")


def _session_id(scope: Scope) -> str | None:
    found = _SESSION.fullmatch(scope["path"])
    return found[1] if found else None


def _is_forwarded(scope: Scope) -> bool:
    """Whether the node that has the session answers: for output, which any node has a copy of, it does not."""
    return scope["method"] != "GET" or not scope["path"].endswith("/output")


def _backend(body: bytes) -> str | None:
    """Return the backend that is asked for, None: any; this node's own routes say what is wrong with a body."""
    try:
        backend = _read_wish(body).backend
    except (msgspec.DecodeError, RecursionError):
        return None
    return None if backend == AUTO else backend


async def _read(receive: Receive) -> tuple[bytes, Receive]:
    """Return a body that has been read whole (`BoundedBody`), and a `receive` that gives it again."""
    message = await receive()
    left = [message]

    async def again() -> MutableMapping[str, Any]:
        return left.pop() if left else await receive()

    return message.get("body", b""), again


def _outcome(asked: Asked) -> str:
    if asked.method in _BODILESS:
        return "ask again"
    if any(name == b"idempotency-key" for name, _ in asked.headers):
        return "what was asked may have been done or not: repeat it with the same Idempotency-Key"
    return "what was asked may have been done or not; an Idempotency-Key makes it safe to repeat"


def _unreachable(detail: str) -> Problem:
    return problems.build(503, "node_unreachable", detail, headers=_RETRY)
