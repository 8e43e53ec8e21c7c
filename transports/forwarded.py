"""A request that one node forwards to another, and the same application answering it there for the same caller.

The messages are MessagePack maps, so that nodes of neighbouring versions understand each other: what one does not know
it leaves out, what it misses has a default.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from terminal_service.policy import Identity, Role
from transports import problems, refusals
from transports.access import ONLY_HERE

if TYPE_CHECKING:
    from collections.abc import Iterable, MutableMapping

    from starlette.types import ASGIApp, Message, Scope

    from transports.problems import Problem

CALL = "http"
"""The kind of these calls (`nodes.base.Mail`)."""
ANSWER_BYTES = 8 * 1024 * 1024 - 128 * 1024
"""The most a forwarded answer holds; with its head it is what mail carries."""

ASKED_HEADERS = frozenset({b"accept", b"content-length", b"content-type", b"idempotency-key", b"origin"})
"""All that routes of sessions look at. Who asks is told apart from headers, which anybody can send."""
# RFC 9110, 7.6.1: those are of one connection, and the server writes these.
_NOT_ANSWERED = frozenset(
    {
        *(b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade"),
        *(b"date", b"server"),
    }
)

log = structlog.get_logger()


class Asked(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A request, and who asks: all fields of an Identity."""

    method: str
    path: str
    user: str
    proof: str
    is_admin: bool = False
    role: str | None = None
    query: bytes = b""
    root_path: str = ""
    headers: list[tuple[bytes, bytes]] = []
    body: bytes = b""

    @classmethod
    def of(cls, scope: Scope, identity: Identity, body: bytes) -> Asked:
        """Return what is forwarded of a request."""
        return cls(
            method=scope["method"],
            path=scope["path"],
            user=identity.user,
            proof=identity.method,
            is_admin=identity.is_admin,
            role=identity.role.value if identity.role else None,
            query=scope["query_string"],
            root_path=scope.get("root_path", ""),
            headers=[(name, value) for name, value in scope["headers"] if name in ASKED_HEADERS],
            body=body,
        )

    def scope(self) -> Scope:
        """Return the request as the guard would let it through. Raises ValueError for a role that is unknown here."""
        role = None if self.role is None else Role(self.role)
        identity = Identity(self.user, self.proof, is_admin=self.is_admin, role=role)
        return {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "scheme": "http",
            "method": self.method,
            "path": self.path,
            "root_path": self.root_path,
            "query_string": self.query,
            "headers": self.headers,
            "client": None,
            "server": None,
            "state": {"identity": identity, ONLY_HERE: True},
        }


class Answer(msgspec.Struct):
    """What the other node answered."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes

    @classmethod
    def of(cls, problem: Problem) -> Answer:
        """Return a refusal."""
        return cls(problem.status, [(b"content-type", problems.CONTENT_TYPE), *problem.headers], problem.body())


encode = msgspec.msgpack.Encoder().encode
decode_answer = msgspec.msgpack.Decoder(Answer).decode
_decode_asked = msgspec.msgpack.Decoder(Asked).decode


class Answering:
    """Answers what other nodes forward."""

    def __init__(self, app: ASGIApp) -> None:
        """Ask `app`, which stands behind the guard, and forwards nothing that has been forwarded."""
        self._app = app

    async def answer(self, caller: str, body: bytes) -> bytes:
        """Answer the request that a node forwarded; a `nodes.base.CallHandler`."""
        return encode(await self._answer(caller, body))

    async def _answer(self, caller: str, body: bytes) -> Answer:
        collected = _Collected()
        try:
            asked = _decode_asked(body)
            await self._app(asked.scope(), _giving(asked.body), collected.take)
        except Exception as error:  # noqa: BLE001 - the outermost edge: whoever asked waits for an answer
            # A traceback is made from source files: reading them has no place on the event loop.
            await asyncio.to_thread(log.error, "forwarded request failed", caller=caller, exc_info=error)
            return Answer.of(refusals.internal_error())
        return collected.answer()


def _giving(body: bytes) -> Any:
    """Return a `receive` that gives a body, then waits: nobody goes away here."""
    left = [body]

    async def receive() -> MutableMapping[str, Any]:
        if left:
            return {"type": "http.request", "body": left.pop(), "more_body": False}
        await asyncio.Event().wait()
        raise AssertionError("nobody sets it")

    return receive


class _Collected:
    """An answer, kept whole up to ANSWER_BYTES."""

    def __init__(self) -> None:
        self._status = 0
        self._headers: list[tuple[bytes, bytes]] = []
        self._body = bytearray()
        self._is_whole = False
        self._is_too_large = False

    async def take(self, message: Message) -> None:
        """Be the `send` of an application."""
        if message["type"] == "http.response.start":
            self._status, self._headers = message["status"], _kept(message.get("headers", ()))
            return
        part = message.get("body", b"")
        self._is_whole = not message.get("more_body", False)
        self._is_too_large = self._is_too_large or len(self._body) + len(part) > ANSWER_BYTES
        if self._is_too_large:
            self._body.clear()
        else:
            self._body += part

    def answer(self) -> Answer:
        """Return it, or why there is none."""
        if self._is_too_large:
            detail = f"the answer has more than {ANSWER_BYTES} bytes; ask the node that has the session"
            return Answer.of(problems.build(502, "answer_too_large", detail))
        if not self._is_whole:
            return Answer.of(refusals.internal_error())
        return Answer(self._status, self._headers, bytes(self._body))


def _kept(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    return [(name, value) for name, value in headers if name.lower() not in _NOT_ANSWERED]
