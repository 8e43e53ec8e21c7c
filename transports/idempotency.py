"""Mutations that are safe to repeat: the same `Idempotency-Key` gets the same answer, and the work is done once.

After draft-ietf-httpapi-idempotency-key-header-07, with two choices of our own: a repetition that arrives while
the first is still at work waits for its answer; and a refusal does not use a key up, as it changed nothing.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from transports import problems

if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping

    from starlette.types import ASGIApp, Receive, Scope, Send

    from terminal_service.clock import Clock

HEADER = b"idempotency-key"
REPLAYED = (b"idempotency-replayed", b"true")
KEYS_LIMIT = 1000
"""Answers kept per user; the oldest go first."""
BYTES_LIMIT = 4 * 1024 * 1024
"""Bytes of these answers per user; users are as many as the configuration names."""
AGE_LIMIT_SECONDS = 24 * 3600.0
KEY_CHARACTERS = 255

_MUTATIONS = frozenset({"POST", "PUT", "PATCH", "DELETE"})


@dataclass
class _Answer:
    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes

    async def send_to(self, send: Send) -> None:
        await send(
            {"type": "http.response.start", "status": self.status, "headers": [*self.headers, REPLAYED]},
        )
        await send({"type": "http.response.body", "body": self.body})


@dataclass
class _Entry:
    fingerprint: bytes
    settled: asyncio.Event = field(default_factory=asyncio.Event)
    answer: _Answer | None = None
    at: float = 0.0


class Answers:
    """The answers given to one user, by key, bounded in number, bytes and age."""

    def __init__(self) -> None:
        self._pending: dict[bytes, _Entry] = {}
        self._kept: OrderedDict[bytes, _Entry] = OrderedDict()
        self._kept_bytes = 0

    def find(self, key: bytes, now: float) -> _Entry | None:
        """Return what is known of a key, if anything."""
        self._drop_old(now)
        return self._pending.get(key) or self._kept.get(key)

    def begin(self, key: bytes, fingerprint: bytes) -> _Entry:
        """Note that the work for a key has begun. Bounded by the requests that are being served."""
        entry = self._pending[key] = _Entry(fingerprint)
        return entry

    def settle(self, key: bytes, now: float) -> None:
        """Note the end of the work; an answer is kept."""
        entry = self._pending.pop(key)
        if entry.answer is not None:
            entry.at = now
            self._kept[key] = entry
            self._kept_bytes += len(entry.answer.body)
            self._drop_old(now)
        entry.settled.set()

    def _drop_old(self, now: float) -> None:
        while self._kept:
            oldest = next(iter(self._kept.values()))
            is_surplus = len(self._kept) > KEYS_LIMIT or self._kept_bytes > BYTES_LIMIT
            if not is_surplus and now - oldest.at < AGE_LIMIT_SECONDS:
                return
            self._kept.popitem(last=False)
            self._kept_bytes -= len(oldest.answer.body) if oldest.answer else 0


class Idempotency:
    """ASGI middleware for mutations with an `Idempotency-Key`; belongs behind the guard and `BoundedBody`.

    `is_repeatable` tells whether there is an operation for a request that takes a key: it means nothing to others.
    """

    def __init__(self, app: ASGIApp, clock: Clock, is_repeatable: Callable[[Scope], bool]) -> None:
        self._app = app
        self._clock = clock
        self._is_repeatable = is_repeatable
        self._users: dict[str, Answers] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or repeat what was answered to the same one."""
        key = idempotency_key(scope)
        identity = scope.get("state", {}).get("identity")
        if key is None or identity is None or not self._is_repeatable(scope):
            await self._app(scope, receive, send)
            return
        message = await receive()
        fingerprint = _fingerprint(scope, message.get("body", b""))
        answers = self._users.setdefault(identity.user, Answers())
        while (entry := answers.find(key, self._clock.monotonic())) is not None:
            if entry.fingerprint != fingerprint:
                await problems.send_problem(_reused(), send)
                return
            if not entry.settled.is_set():
                await entry.settled.wait()
            if entry.answer is not None:
                await entry.answer.send_to(send)
                return
        entry = answers.begin(key, fingerprint)
        try:
            await self._app(scope, _again(message, receive), _recording(entry, send))
        finally:
            answers.settle(key, self._clock.monotonic())


def idempotency_key(scope: Scope) -> bytes | None:
    """Return the key of a mutation; one that is malformed is left to the route, which refuses it."""
    if scope["type"] != "http" or scope["method"] not in _MUTATIONS:
        return None
    keys = [value for name, value in scope["headers"] if name == HEADER]
    is_whole = len(keys) == 1 and 0 < len(keys[0]) <= KEY_CHARACTERS
    return keys[0] if is_whole else None


def _fingerprint(scope: Scope, body: bytes) -> bytes:
    kind = next((value for name, value in scope["headers"] if name == b"content-type"), b"")
    parts = (scope["method"].encode(), scope["path"].encode(), scope["query_string"], kind, body)
    return hashlib.sha256(b"".join(b"%d:%b" % (len(part), part) for part in parts)).digest()


def _again(message: MutableMapping[str, Any], receive: Receive) -> Receive:
    left = [message]

    async def give() -> MutableMapping[str, Any]:
        return left.pop() if left else await receive()

    return give


def _recording(entry: _Entry, send: Send) -> Send:
    """Return a `send` that keeps the answer if it says that the work was done (2xx)."""
    start: MutableMapping[str, Any] = {}
    body = bytearray()

    async def record(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            start.update(message)
        else:
            body.extend(message.get("body", b""))
            if not message.get("more_body", False) and start["status"] < 300:  # noqa: PLR2004 - the end of 2xx
                entry.answer = _Answer(start["status"], list(start["headers"]), bytes(body))
        await send(message)

    return record


def _reused() -> problems.Problem:
    detail = "this Idempotency-Key was used for a different request; use a new one for each"
    return problems.build(422, "idempotency_key_reused", detail, errors={"Idempotency-Key": "used before"})
