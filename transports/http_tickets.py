"""The route that gives out tickets, with which a browser's WebSocket attaches."""

from fastapi import Depends, FastAPI, Request
from pydantic import BaseModel, Field

from terminal_service.errors import Forbidden
from terminal_service.policy import Action, Decision, Role, attach_action, decide
from terminal_service.tickets import LIFE_SECONDS, Tickets, Use
from transports.access import Finder, Found, OnSession, identity_of
from transports.http_sessions import PREFIX
from transports.models import AskTicket, TicketRole
from transports.openapi import JSON_ONLY, refusals


class TicketView(BaseModel):
    """A ticket. It is shown once, here."""

    ticket: str = Field(description="Goes into the query of the WebSocket's address: `?ticket=…`.")
    expires_in_seconds: float
    role: TicketRole


class TicketRoutes:
    """Tickets for the sessions that somebody may attach to."""

    def __init__(self, finder: Finder, tickets: Tickets) -> None:
        """Give out `tickets`; the guard takes them back."""
        self._finder = finder
        self._tickets = tickets

    def add_to(self, api: FastAPI) -> None:
        """Add the route. A key that repeats an answer would keep a ticket, or give an old one: it has none."""
        api.add_api_route(
            PREFIX + "/{session_id}/tickets",
            self.issue,
            methods=["POST"],
            status_code=201,
            operation_id="createTicket",
            summary="Get a ticket to attach with",
            tags=["terminals"],
            dependencies=[Depends(OnSession(self._finder, Action.ATTACH_READER)), JSON_ONLY],
            responses=refusals(404, 422, 429, 503, body=True),
        )

    async def issue(self, session: Found, request: Request, wanted: AskTicket | None = None) -> TicketView:
        """Get a ticket for clients that can send no header with a WebSocket, as browsers.

        It lets its bearer attach once, within 30 seconds, to this session, in this role; if a page asked, from pages
        of the same origin. It is the attach of whoever asked, with their rights at that time.
        """
        name = (wanted or AskTicket()).role
        role, identity = Role(name), identity_of(request)
        if identity is None or decide(identity, attach_action(role), session.owner) is not Decision.ALLOW:
            raise Forbidden(f"attach as {role.value}")
        use = Use(session.session_id, role, request.headers.get("origin"))
        return TicketView(ticket=await self._tickets.issue(identity, use), expires_in_seconds=LIFE_SECONDS, role=name)
