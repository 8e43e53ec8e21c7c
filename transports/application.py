"""The whole ASGI application: the guard, behind it the WebSocket endpoint, the HTTP API and the web client."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Mount, Route, WebSocketRoute

from transports.guard import Guard
from transports.http import make_api
from transports.websocket import TerminalSocket

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request
    from starlette.routing import BaseRoute
    from starlette.types import ASGIApp

    from nodes.base import Assignments
    from terminal_service.fleet import Fleet
    from terminal_service.metrics import Metrics
    from terminal_service.session import Session
    from terminal_service.sessions import Sessions
    from terminal_service.settings import Settings
    from terminal_service.shadow import Shadow
    from terminal_service.tickets import Tickets
    from transports.access import Find
    from transports.bundle import Bundle


def make_application(
    settings: Settings,
    sessions: Sessions,
    metrics: Metrics,
    *,
    bundle: Bundle,
    tickets: Tickets,
    fleet: Fleet | None = None,
    find: Find | None = None,
    assignments: Assignments | None = None,
) -> ASGIApp:
    """Return the application that serves `sessions`, those of the other nodes, and the web client that has been built.

    To be called before the fleet's mail runs. `find` finds sessions on any node, and `assignments` are those of all
    nodes. Without these this node is alone.
    """

    async def find_here(session_id: str, _: Callable[[str], bool]) -> Session | Shadow:
        return sessions.get(session_id)

    api = make_api(
        sessions,
        metrics.render,
        bundle=bundle,
        tickets=tickets,
        fleet=fleet,
        find=find,
        assignments=assignments,
    )
    terminals = TerminalSocket(find or find_here, settings, sessions.clock)
    return _guarded(
        [
            WebSocketRoute("/ws/terminal/{session_id}", terminals),
            WebSocketRoute("/ws/terminal/{session_id}/{terminal_id}", terminals),
            Mount("/", api),
        ],
        settings,
        metrics,
        tickets,
    )


def make_metrics_application(settings: Settings, metrics: Metrics) -> ASGIApp:
    """Return an application that serves `/metrics` only, behind the same guard."""

    async def show(_: Request) -> Response:
        body, content_type = metrics.render()
        return Response(body, headers={"content-type": content_type})

    return _guarded([Route("/metrics", show)], settings, metrics)


def _guarded(routes: list[BaseRoute], settings: Settings, metrics: Metrics, tickets: Tickets | None = None) -> ASGIApp:
    app = Starlette(routes=routes)
    return Guard(
        app,
        keys=settings.api_keys,
        tickets=tickets,
        hosts=settings.host_names,
        origins=settings.allowed_origins,
        trusted_proxies=settings.trusted_proxies,
        refused=metrics.count_refusal,
    )
