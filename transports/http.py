"""The HTTP API, put together: routes, documentation, refusals, and what stands before every request."""

from collections.abc import Callable
from functools import partial

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import Scope

from nodes.base import Assignments
from nodes.memory_assignments import MemoryAssignments
from terminal_service import __version__
from terminal_service.errors import ServiceError
from terminal_service.fleet import Fleet
from terminal_service.sessions import Sessions
from terminal_service.tickets import Tickets
from transports import refusals
from transports.access import Find, Finder
from transports.alone import alone
from transports.bodies import BoundedBody
from transports.bundle import Bundle
from transports.failsafe import Failsafe
from transports.forwarded import CALL, Answering
from transports.forwarding import FORWARD_SECONDS, Forwarding
from transports.heads import Refusal
from transports.http_backends import BackendRoutes
from transports.http_docs import DocsRoutes
from transports.http_front import FrontRoutes
from transports.http_health import HealthRoutes
from transports.http_nodes import NodeRoutes
from transports.http_options import OptionRoutes
from transports.http_output import OutputRoutes
from transports.http_sessions import SessionRoutes
from transports.http_terminals import TerminalRoutes
from transports.http_tickets import TicketRoutes
from transports.idempotency import Idempotency
from transports.openapi import DESCRIPTION, IDEMPOTENT, Api


def make_api(
    sessions: Sessions,
    render_metrics: Callable[[], tuple[bytes, str]],
    *,
    bundle: Bundle,
    tickets: Tickets,
    fleet: Fleet | None = None,
    find: Find | None = None,
    assignments: Assignments | None = None,
    forward_seconds: float = FORWARD_SECONDS,
) -> FastAPI:
    """Return the API on these sessions and the fleet's, to be mounted at "/" behind the guard (`transports.guard`).

    `render_metrics` gives what `/metrics` answers and its content type, and must not block. `bundle` is the web
    client, empty where none has been built; `tickets` are those that the guard redeems. It answers what
    other nodes of the fleet forward; without a fleet this node is alone. `find` finds sessions on any node, for
    what is not forwarded; `assignments` are those of all nodes, `forward_seconds` is the patience with them.
    """
    fleet = fleet or alone(sessions)
    finder = Finder(sessions, find)
    api = Api(
        title="Terminal Service",
        version=__version__,
        description=DESCRIPTION,
        openapi_url=None,  # these two are routes of our own
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # a path is right or it is not
    )
    api.settings = sessions.settings
    for routes in (
        SessionRoutes(sessions, finder, fleet),
        OptionRoutes(sessions, fleet),
        TerminalRoutes(sessions, finder),
        OutputRoutes(sessions, finder),
        TicketRoutes(finder, tickets),
        HealthRoutes(sessions, fleet, render_metrics),
        FrontRoutes(sessions, fleet, bundle, __version__),
        NodeRoutes(sessions, fleet),
        BackendRoutes(sessions, fleet),
        DocsRoutes(),
    ):
        routes.add_to(api)
    _map_errors(api)
    # The last one added is the first one passed.
    api.add_middleware(Idempotency, clock=sessions.clock, is_repeatable=partial(_is_repeatable, api))
    api.add_middleware(
        Forwarding,
        fleet=fleet,
        assignments=assignments or MemoryAssignments(),
        counters=sessions.counters,
        seconds=forward_seconds + 2 * sessions.settings.stop_grace_seconds,  # after HUP, and after TERM
    )
    api.add_middleware(BoundedBody)
    api.add_middleware(Failsafe)
    fleet.mail.on_call(CALL, Answering(api).answer)
    return api


def _map_errors(api: FastAPI) -> None:
    @api.exception_handler(ServiceError)
    async def refuse(_: Request, error: ServiceError) -> Response:
        return refusals.respond(refusals.of_service_error(error))

    @api.exception_handler(Refusal)
    async def refuse_early(_: Request, refusal: Refusal) -> Response:
        return refusals.respond(refusal.problem)

    @api.exception_handler(RequestValidationError)
    async def refuse_fields(_: Request, error: RequestValidationError) -> Response:
        return refusals.respond(refusals.of_invalid_fields(error))

    @api.exception_handler(HTTPException)
    async def refuse_route(request: Request, error: HTTPException) -> Response:
        if error.status_code == 405:  # noqa: PLR2004 - Method Not Allowed
            error.headers = {"Allow": ", ".join(_allowed(api, request))}
        return refusals.respond(refusals.of_http_exception(error))


def _is_repeatable(api: FastAPI, scope: Scope) -> bool:
    found = (route for route in api.routes if route.matches(scope)[0] is Match.FULL)
    return any(isinstance(route, APIRoute) and IDEMPOTENT in route.dependencies for route in found)


def _allowed(api: FastAPI, request: Request) -> list[str]:
    """Return all methods of a path (RFC 9110, 10.2.1); a route alone knows only its own."""
    matching = [route for route in api.routes if route.matches(request.scope)[0] is not Match.NONE]
    return sorted({method for route in matching for method in getattr(route, "methods", None) or ()})
