"""The door: everything a request must pass before the application sees any of it.

In this order, for HTTP and WebSocket alike: Host, Origin and Sec-Fetch-Site, the path, no credentials in the
query, the type of a body, and who is asking. A WebSocket is refused before it is accepted. Nothing here logs
a header or a query.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import structlog

from terminal_service.policy import Action, Decision, decide
from transports import problems
from transports.accepted import wants_page
from transports.authentication import Authenticator
from transports.heads import Head, Refusal
from transports.origins import PREFLIGHT_HEADERS, Sites, cors_headers, is_preflight
from transports.proxies import seen_through

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, MutableMapping, Sequence

    from starlette.types import ASGIApp, Receive, Scope, Send

    from terminal_service.policy import Identity
    from terminal_service.tickets import Tickets
    from terminal_service.values import ApiKey, Network
    from transports.problems import Problem

IDENTITY = "identity"
"""Key in `scope["state"]` (so `request.state.identity`): the Identity, or None where everybody may ask."""

_HEALTH_PATHS = [prefix + path for prefix in ("", "/api/v1") for path in ("/health", "/health/live", "/health/ready")]
_DOCS_PATHS = ["/docs", "/docs/start.js", "/docs/swagger-ui.css", "/docs/swagger-ui-bundle.js"]
_OPEN_PATHS = dict.fromkeys(_HEALTH_PATHS, Action.HEALTH) | dict.fromkeys(_DOCS_PATHS, Action.DOCS_PAGE)
"""Where nobody is asked who they are, as long as the policy says so."""
_CONSOLE_FILE = re.compile(r"/(assets|embed)/[^/]+")

BODY_TYPES = frozenset({"application/json", "application/merge-patch+json", "application/octet-stream"})
"""Types of body pages of other sites cannot send without a preflight (Fetch standard, CORS-safelisted)."""

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_SECRET_NAMES = frozenset(
    {"token", "access_token", "key", "api_key", "api-key", "apikey", "x-api-key", "authorization"}
)

# Answers are data for programs: no browser may guess a type, run, frame or keep them.
# What the application sets wins.
_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)

# Close codes for servers that cannot deny a handshake with a response.
_CLOSE_CODES = {400: 4400, 401: 4401, 403: 4403}

_log = structlog.get_logger()


class Guard:
    """ASGI middleware that lets a request through to `app` with an identity, or answers it with a problem.

    `tickets` let WebSockets in. `hosts` are names beside those of loopback. `refused` is called with the code of
    every refusal.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        keys: Sequence[ApiKey] = (),
        tickets: Tickets | None = None,
        hosts: Iterable[str] = (),
        origins: Iterable[str] = (),
        trusted_proxies: Sequence[Network] = (),
        refused: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._app = app
        self._authenticator = Authenticator(keys, tickets)
        self._sites = Sites(Sites().hosts | frozenset(hosts), frozenset(origins))
        self._trusted_proxies = tuple(trusted_proxies)
        self._refused = refused

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection; other kinds of scope than requests (lifespan) go through."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        scope = seen_through(scope, Head.of(scope), self._trusted_proxies)
        head = Head.of(scope)
        if scope["type"] == "http":
            send = _adding(_HEADERS, send)
        try:
            origin = self._sites.check(head)
            if origin and scope["type"] == "http":
                send = _adding(cors_headers(origin), send)
            _check_shape(head)
            if origin and is_preflight(head):
                await _answer_preflight(send)
                return
            identity = await self._identity(scope, head)
        except Refusal as refusal:
            self._note(refusal.problem, scope)
            await _refuse(refusal.problem, scope, receive, send)
            return
        await self._app({**scope, "state": {**scope.get("state", {}), IDENTITY: identity}}, receive, send)

    async def _identity(self, scope: Scope, head: Head) -> Identity | None:
        action = _open_action(head) if scope["type"] == "http" and head.method in {"GET", "HEAD"} else None
        if action is not None and decide(None, action, None) is Decision.ALLOW:
            return None
        return await self._authenticator.identify(scope, head)

    def _note(self, problem: Problem, scope: Scope) -> None:
        client = scope.get("client")
        _log.info("request refused", code=problem.code, kind=scope["type"], client=client[0] if client else None)
        self._refused(problem.code)


def _open_action(head: Head) -> Action | None:
    """Return what reading this path is, where that may be for everybody."""
    if head.path == "/" and wants_page(head.listed("accept")):
        return Action.CONSOLE
    return Action.CONSOLE if _CONSOLE_FILE.fullmatch(head.path) else _OPEN_PATHS.get(head.path)


def _check_shape(head: Head) -> None:
    """Refuse what no request may look like, whoever sends it."""
    # Starlette and others build URLs from the path; one without a slash would become part of the host there.
    if not head.path.startswith("/"):
        raise Refusal(problems.build(400, "path_malformed", "the path must begin with a slash"))
    if not _SECRET_NAMES.isdisjoint(head.query_names()):
        detail = "credentials do not belong in a URL, which is logged and shared; send a header"
        raise Refusal(problems.build(400, "credentials_in_query", detail))
    if head.method not in _SAFE_METHODS and _has_body(head):
        kind = (head.one("content-type") or "").partition(";")[0].strip().lower()
        if kind not in BODY_TYPES:
            detail = "a body must be declared as Content-Type: application/json"
            raise Refusal(problems.build(415, "content_type_not_supported", detail))


def _has_body(head: Head) -> bool:
    return "transfer-encoding" in head or (head.one("content-length") or "0").strip() != "0"


def _adding(headers: Sequence[tuple[bytes, bytes]], send: Send) -> Send:
    """Return a `send` that adds to a response those of the headers it does not have."""

    async def send_with_headers(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            given = list(message.get("headers", ()))
            names = {name.lower() for name, _ in given}
            message = {**message, "headers": [*given, *(each for each in headers if each[0] not in names)]}
        await send(message)

    return send_with_headers


async def _answer_preflight(send: Send) -> None:
    await send({"type": "http.response.start", "status": 204, "headers": PREFLIGHT_HEADERS})
    await send({"type": "http.response.body", "body": b""})


async def _refuse(problem: Problem, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "http":
        await problems.send_problem(problem, send)
        return
    await receive()  # websocket.connect
    if "websocket.http.response" in scope.get("extensions", {}):
        await problems.send_problem(problem, send, prefix="websocket.http")
    else:
        await send({"type": "websocket.close", "code": _CLOSE_CODES.get(problem.status, 4403)})
