"""The HTTP API as it is served, in this process: guard, API, core and echo backend, on a free port of loopback."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount

from backends.echo import EchoBackend
from nodes.base import NodeFacts, NodeState
from nodes.memory_assignments import MemoryAssignments
from nodes.memory_directory import MemoryDirectory
from nodes.memory_mail import MemoryMail
from nodes.memory_registry import MemoryRegistry
from nodes.memory_tickets import MemoryTickets
from replay.memory import MemoryStore
from support.service import POOL
from support.wait import wait_until
from terminal_service.clock import Clock
from terminal_service.counters import Counters
from terminal_service.fleet import Fleet
from terminal_service.metrics import Metrics
from terminal_service.places import Places
from terminal_service.publisher import Publisher
from terminal_service.records import MemoryRecords
from terminal_service.sessions import Sessions
from terminal_service.settings import Settings
from terminal_service.tickets import Tickets
from terminal_service.values import ApiKey
from transports.bundle import Bundle
from transports.forwarding import FORWARD_SECONDS
from transports.guard import Guard
from transports.http import make_api
from transports.views import describe

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from backends.base import Backend
    from nodes.base import Assignments, Directory, Mail, Registry
    from replay.store import Store
    from terminal_service.records import Records
    from transports.access import Find

NAME = "alone"
NO_BUNDLE = Bundle()
KEYS = {"ann": "ann-has-a-key-of-her-own", "bob": "bob-has-a-key-of-his-own"}
"""Users and keys of a service that is started with `keys=True`."""


@dataclass
class Time:
    """A clock that a test can set forward."""

    ahead: float = 0.0
    clock: Clock = field(init=False)

    def __post_init__(self) -> None:
        self.clock = Clock(lambda: time.monotonic() + self.ahead, lambda: time.time() + self.ahead)


@dataclass
class Around:
    """What a node has of the others; by default there are none."""

    registry: Registry = field(default_factory=lambda: MemoryRegistry(facts_of(NAME)))
    directory: Directory = field(default_factory=MemoryDirectory)
    mail: Mail = field(default_factory=lambda: MemoryMail(None, NAME))
    spreads: bool = False
    assignments: Assignments = field(default_factory=MemoryAssignments)
    find: Find | None = None

    def publisher(self, settings: Settings, clock: Clock) -> Publisher:
        node, limit = self.registry.node_id, settings.max_concurrent_sessions_per_user
        return Publisher(
            self.directory, node, describe=lambda session: describe(session, node), user_limit=limit, clock=clock
        )

    def fleet(self, sessions: Sessions) -> Fleet:
        return Fleet(sessions, registry=self.registry, directory=self.directory, mail=self.mail, spreads=self.spreads)


def facts_of(node: str, backends: tuple[str, ...] = ("echo",)) -> NodeFacts:
    """Return what a node says of itself at first."""
    return NodeFacts(node, f"place of {node}", NodeState.ACTIVE, backends, 0)


@dataclass
class HttpService:
    """A running service: what it consists of, and clients of it."""

    sessions: Sessions
    http: httpx.AsyncClient
    url: str
    time: Time
    fleet: Fleet

    async def create(self, **fields: object) -> dict[str, Any]:
        """Open a session; return what is said of it."""
        answer = await self.http.post("/api/v1/sessions", json=fields)
        assert answer.status_code == httpx.codes.CREATED, answer.text
        view: dict[str, Any] = answer.json()
        return view

    def path(self, view: dict[str, Any], rest: str = "") -> str:
        """Return a session's path."""
        return f"/api/v1/sessions/{view['session_id']}{rest}"

    async def type(self, view: dict[str, Any], text: str) -> None:
        """Send input."""
        answer = await self.http.post(self.path(view, "/input"), json={"text": text})
        assert answer.status_code == httpx.codes.ACCEPTED, answer.text

    async def wait_for_head(self, view: dict[str, Any], position: int) -> None:
        """Wait until there is output up to a position."""
        terminal = self.sessions.get(view["session_id"]).terminal
        assert terminal is not None
        await wait_until(lambda: terminal.log.head >= position, description=f"output up to {position}")

    async def wait_for_end(self, view: dict[str, Any]) -> None:
        """Wait until a session is over."""
        async with asyncio.timeout(30):
            await self.sessions.get(view["session_id"]).over.wait()

    @contextlib.asynccontextmanager
    async def client(self, user: str) -> AsyncIterator[httpx.AsyncClient]:
        """Yield a client with the key of a user."""
        headers = {"X-API-Key": KEYS[user]}
        async with httpx.AsyncClient(base_url=self.url, headers=headers, trust_env=False) as client:
            yield client


@contextlib.asynccontextmanager
async def serve(
    *,
    keys: bool = False,
    backends: Mapping[str, Backend] | None = None,
    places: Places | None = None,
    store: Store | None = None,
    records: Records | None = None,
    bundle: Bundle = NO_BUNDLE,
    around: Around | None = None,
    forward_seconds: float = FORWARD_SECONDS,
    **settings: Any,
) -> AsyncIterator[HttpService]:
    """Run a service; without `keys` this user is its administrator. `settings` are fields of Settings.

    `around`: what makes it one of several nodes.
    """
    api_keys = tuple(ApiKey.of(user, key) for user, key in KEYS.items()) if keys else ()
    time_ = Time()
    around = around or Around()
    settings_ = replace(Settings(), api_keys=api_keys, **{"stop_grace_seconds": 1.0, **settings})
    sessions = Sessions(
        settings=settings_,
        places=places or Places.of(backends or {"echo": EchoBackend()}),
        store=store or MemoryStore(),
        records=records or MemoryRecords(),
        publisher=around.publisher(settings_, time_.clock),
        clock=time_.clock,
        counters=Counters(),
    )
    tickets = Tickets(MemoryTickets(time_.clock.monotonic))
    fleet = around.fleet(sessions)
    api = make_api(
        sessions,
        Metrics(sessions).render,
        bundle=bundle,
        tickets=tickets,
        fleet=fleet,
        find=around.find,
        assignments=around.assignments,
        forward_seconds=forward_seconds,
    )
    app = Guard(Starlette(routes=[Mount("/", api)]), keys=api_keys)
    config = uvicorn.Config(
        app, port=0, log_config=None, lifespan="off", ws="none", timeout_graceful_shutdown=2, access_log=False
    )
    server = _Server(config)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(sessions.run(), name="sessions")
        await sessions.ready.wait()
        serving = tasks.create_task(server.serve(), name="server")
        await wait_until(lambda: server.started, description="the server to listen")
        host, port = server.servers[0].sockets[0].getsockname()
        url = f"http://{host}:{port}"
        try:
            async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=30, limits=POOL) as http:
                yield HttpService(sessions, http, url, time_, fleet)
        finally:
            sessions.stop()
            server.should_exit = True
            await serving


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Any:
        yield
