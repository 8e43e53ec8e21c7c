"""Every route of the API names what it does, and one policy decides about it (A1)."""

from __future__ import annotations

from fastapi.routing import APIRoute

from nodes.memory_tickets import MemoryTickets
from support.http_service import serve
from terminal_service.policy import ON_SERVICE, ON_SESSION, Action
from terminal_service.tickets import Tickets
from transports.access import OnService, OnSession
from transports.bundle import Bundle
from transports.http import make_api


async def test_every_route_asks_the_policy_exactly_once() -> None:
    async with serve() as service:
        api = make_api(
            service.sessions,
            lambda: (b"", "text/plain"),
            bundle=Bundle(),
            tickets=Tickets(MemoryTickets(service.time.clock.monotonic)),
        )
    classified: dict[tuple[str, str], Action] = {}
    for route in api.routes:
        assert isinstance(route, APIRoute), route
        asked = [each.call for each in route.dependant.dependencies if isinstance(each.call, OnService | OnSession)]
        assert len(asked) == 1, route.path
        (access,) = asked
        on_session = "{session_id}" in route.path
        assert isinstance(access, OnSession) == on_session, route.path
        assert access.action in (ON_SESSION if on_session else ON_SERVICE), route.path
        for method in route.methods or ():
            classified[method, route.path] = access.action
    # Attaching is a WebSocket's; who asks for a ticket must at least be allowed to look.
    assert set(classified.values()) == set(Action) - {Action.ATTACH_WRITER}
    changing = {action for (method, _), action in classified.items() if method not in {"GET", "HEAD"}}
    assert changing == {
        Action.CREATE,
        Action.UPDATE,
        Action.END,
        Action.KEEPALIVE,
        Action.RESIZE,
        Action.INPUT,
        Action.SIGNAL,
        Action.ATTACH_READER,
    }
