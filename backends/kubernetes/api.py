"""Asks a cluster's API server: requests, watches and WebSockets, as who the service is there.

Only this module speaks HTTP with the cluster.
"""

from __future__ import annotations

import asyncio
import json
import random
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

import aiohttp
import structlog
from kubernetes.aio.client import ApiClient

from backends.kubernetes.errors import TOO_MANY, UNAUTHORIZED, ApiProblem, read_problem, typed, unreachable
from backends.open_sockets import OpenSockets

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from kubernetes.aio.client import Configuration

    from backends.kubernetes.credentials import Credentials

_REQUEST_SECONDS = 30.0
_WATCH_SECONDS = 240
"""How long the server lets one watch last; then it is begun again."""
_TRIES = 4
_PAUSES = (0.2, 8.0)
"""Seconds before a request is made again: the first time, and at most."""
_LONGEST_LINE = 4 << 20
"""Bytes of one event: objects in a cluster have at most 1.5 MB."""
_WS_MESSAGE_BYTES = 1 << 20
"""Servers send at most 32 KiB at once."""
_CLOSE_SECONDS = 1.0
"""How long the other side may take to say that it closes, too."""
_FAILING = (500, 502, 503, 504)
_HELD_UP = (TOO_MANY, 503)
"""With these nothing was done: everything may be asked again."""

_log = structlog.get_logger(__name__)

Json = dict[str, Any]


class _Door:
    """What asks with one generation of credentials."""

    def __init__(self, configuration: Configuration, generation: int, sockets: OpenSockets) -> None:
        """Read the certificates."""
        self.generation = generation
        self.configuration = configuration
        self.client = ApiClient(configuration)
        self._connector = aiohttp.TCPConnector(
            limit=0, ssl=self.client.rest_client.ssl_context, socket_factory=sockets.open
        )
        configuration.client_session_kwargs = {"connector": self._connector}
        self.requests = 0
        """How many are under way."""

    @property
    def host(self) -> str:
        return str(self.configuration.host)

    async def headers(self) -> dict[str, str]:
        """Return who the service says it is."""
        auth = (await self.configuration.auth_settings()).get("BearerToken")
        return {"Authorization": str(auth["value"])} if auth else {}

    async def close(self) -> None:
        """Close idle connections; there are no others."""
        await self.client.close()
        await self._connector.close()

    def route(self) -> Json:
        """Return how a connection is made, as aiohttp has it."""
        configuration = self.configuration
        more: Json = {"ssl": self.client.rest_client.ssl_context}
        if configuration.tls_server_name and urlsplit(self.host).scheme == "https":
            more["server_hostname"] = configuration.tls_server_name
        if configuration.proxy:
            more["proxy"] = configuration.proxy
        if configuration.proxy_headers:
            more["proxy_headers"] = configuration.proxy_headers
        return more


class Api:
    """One cluster. Used on one event loop; `close` in the end.

    What it raises is a BackendError that says what was being done, or ApiProblem where a caller may know what to do
    about it (404, 409, 410, 422).
    """

    def __init__(self, credentials: Credentials) -> None:
        """Connect to nothing yet."""
        self._credentials = credentials
        self._door: _Door | None = None
        self._old: list[_Door] = []
        self._sockets = OpenSockets(close_seconds=_CLOSE_SECONDS)
        self._opened: aiohttp.ClientSession | None = None

    async def call(self, method: str, path: str, doing: str, *, query: Any = (), body: Any = None) -> Json:
        """Ask, again where that does no harm, and return the answer."""
        data = await self._persistently(lambda door: self._ask(door, method, path, query, body), method, doing)
        return dict(json.loads(data)) if data else {}

    async def text(self, path: str, doing: str, *, query: Any = ()) -> bytes:
        """Return what is there as it is."""
        data: bytes = await self._persistently(lambda door: self._ask(door, "GET", path, query, None), "GET", doing)
        return data

    async def _ask(self, door: _Door, method: str, path: str, query: Any, body: Any) -> bytes:
        headers = {**await door.headers(), "Accept": "application/json, */*"}
        door.requests += 1
        try:
            timeout = aiohttp.ClientTimeout(total=_REQUEST_SECONDS)
            url = _url(door.host, path, query)
            response = await door.client.call_api(method, url, headers, body, _request_timeout=timeout)
            data: bytes = await response.read()
        finally:
            door.requests -= 1
        if not 200 <= response.status < 300:  # noqa: PLR2004 - HTTP
            raise read_problem(response.status, response.headers, data)
        return data

    async def _persistently(self, ask: Any, method: str, doing: str) -> Any:
        """Do what may fail, with new credentials after a 401, and again after a while where nothing was changed."""
        renewed = False
        pause, longest = _PAUSES
        for turn in range(1, _TRIES + 1):
            door = await self._enter()
            try:
                return await ask(door)
            except ApiProblem as problem:
                if problem.status == UNAUTHORIZED and not renewed:
                    renewed = True
                    await self._credentials.current(refused=door.generation)
                    continue
                again = problem.status in _HELD_UP or (method == "GET" and problem.status in _FAILING)
                if not again or turn == _TRIES or (problem.retry_after_seconds or 0) > longest:
                    if problem.status in (404, 409, 410, 422):
                        raise
                    raise typed(problem, doing) from None
                wait = max(problem.retry_after_seconds or 0, pause)
                _log.info("the cluster is asked again", doing=doing, status=problem.status, after_seconds=wait)
            except (aiohttp.ClientError, OSError) as error:  # TimeoutError too
                refused = unreachable(error, door.host, doing)
                if turn == _TRIES or method != "GET" or not isinstance(error, aiohttp.ClientConnectorError):
                    raise refused from error
                wait = pause
            await asyncio.sleep(wait * random.uniform(1.0, 1.3))  # noqa: S311 - so that not all come at once
            pause = min(2 * pause, longest)
        raise AssertionError("the last try returns or raises")

    async def watch(self, path: str, doing: str, *, query: Any, version: str) -> AsyncIterator[Json]:
        """Yield events after a version until the server ends the watch. ApiProblem 410: the version is too old."""
        query = [*query, ("watch", "true"), ("resourceVersion", version), ("timeoutSeconds", str(_WATCH_SECONDS))]
        door = await self._enter()
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_REQUEST_SECONDS, sock_read=_WATCH_SECONDS + 30)
        try:
            async with self._session.get(
                _url(door.host, path, query),
                headers=await door.headers(),
                timeout=timeout,
                read_bufsize=_LONGEST_LINE // 2,
                **door.route(),
            ) as response:
                if response.status != 200:  # noqa: PLR2004 - HTTP
                    problem = read_problem(response.status, response.headers, await response.read())
                    if problem.status == UNAUTHORIZED:
                        await self._credentials.current(refused=door.generation)
                    raise problem
                async for line in response.content:
                    event = json.loads(line)
                    if event["type"] == "ERROR":
                        status = event["object"]
                        raise ApiProblem(status.get("code", 0), status.get("reason", ""), status.get("message", ""))
                    yield event
        except (aiohttp.ClientError, OSError) as error:
            raise unreachable(error, door.host, doing) from error

    async def connect(
        self, path: str, doing: str, *, query: Any, protocols: Sequence[str]
    ) -> aiohttp.ClientWebSocketResponse:
        """Open a WebSocket. Its owner closes it; raises as `call`."""

        async def ask(door: _Door) -> aiohttp.ClientWebSocketResponse:
            return await self._upgrade(door, path, query, protocols)

        # As a GET: a handshake that failed has started nothing.
        websocket: aiohttp.ClientWebSocketResponse = await self._persistently(ask, "GET", doing)
        return websocket

    async def _upgrade(
        self, door: _Door, path: str, query: Any, protocols: Sequence[str]
    ) -> aiohttp.ClientWebSocketResponse:
        url = _url(door.host, path, query)
        try:
            async with asyncio.timeout(_REQUEST_SECONDS):
                return await self._session.ws_connect(
                    url,
                    protocols=protocols,
                    headers=await door.headers(),
                    autoping=False,
                    timeout=aiohttp.ClientWSTimeout(ws_close=_CLOSE_SECONDS),
                    max_msg_size=_WS_MESSAGE_BYTES,
                    **door.route(),
                )
        except aiohttp.WSServerHandshakeError as error:
            problem = read_problem(error.status, error.headers or {}, b"")
        # The words of the refusal are in a body that is not to be had then; a request that is no handshake is
        # refused for the same reason (or, if there is none, for that).
        try:
            await self._ask(door, "POST", path, query, None)
        except ApiProblem as refusal:
            if refusal.status == problem.status:
                problem = refusal
        raise problem

    async def _enter(self) -> _Door:
        """Return what has good credentials. What is open goes on with those it began with."""
        configuration = await self._credentials.current()
        if self._door is None or self._door.generation != self._credentials.generation:
            if self._door is not None:
                self._old.append(self._door)
            self._door = _Door(configuration, self._credentials.generation, self._sockets)
            idle = [door for door in self._old if not door.requests]
            self._old = [door for door in self._old if door.requests]
            for door in idle:
                await door.close()
        return self._door

    async def close(self) -> None:
        """Close everything."""
        doors, self._door, self._old = [*self._old, *([self._door] if self._door else [])], None, []
        for door in doors:
            await door.close()
        if self._opened is not None:
            await self._opened.close()
        await self._sockets.close()

    @property
    def _session(self) -> aiohttp.ClientSession:
        """For what lasts: watches and WebSockets."""
        if self._opened is None:
            self._opened = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, socket_factory=self._sockets.open),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=_REQUEST_SECONDS),
                trust_env=True,
            )
        return self._opened


def _url(host: str, path: str, query: Any) -> str:
    pairs = urlencode(list(query))
    return f"{host}{path}?{pairs}" if pairs else f"{host}{path}"
