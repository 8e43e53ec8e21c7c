"""The route that tells which nodes there are."""

from typing import Literal

from fastapi import Depends, FastAPI
from pydantic import BaseModel, Field

from nodes.base import NodeFacts
from terminal_service.fleet import Fleet
from terminal_service.policy import Action
from terminal_service.sessions import Sessions
from transports.access import OnService
from transports.openapi import refusals


class NodeView(BaseModel):
    """A node of the service, as it said of itself some seconds ago."""

    node: str = Field(description="Its name; the same after a restart.")
    place: str = Field(description="Where it runs, for people.")
    state: Literal["active", "draining", "away"] = Field(
        description="`draining`: takes no new sessions; `away`: stopped for a moment, its programs go on."
    )
    backends: list[str]
    active_sessions: int = Field(description="Its load: sessions that have not ended.")
    answers: bool = Field(description="Whether this is the one that answers you.")


class NodeRoutes:
    """The nodes of the service."""

    def __init__(self, sessions: Sessions, fleet: Fleet) -> None:
        """Tell of these; of this one with what `sessions` are now."""
        self._sessions = sessions
        self._fleet = fleet

    def add_to(self, api: FastAPI) -> None:
        """Add the route."""
        api.add_api_route(
            "/api/v1/nodes",
            self.list,
            methods=["GET"],
            operation_id="listNodes",
            summary="List the nodes",
            tags=["service"],
            dependencies=[Depends(OnService(Action.NODES))],
            responses=refusals(),
        )

    async def list(self) -> list[NodeView]:
        """List the nodes that live, by name. Any of them serves every session."""
        return [self._view_of(facts) for _, facts in sorted(self._fleet.registry.nodes().items())]

    def _view_of(self, facts: NodeFacts) -> NodeView:
        is_own = facts.node_id == self._fleet.registry.node_id
        return NodeView(
            node=facts.node_id,
            place=facts.place,
            state=facts.state.value,
            backends=list(facts.backends),
            active_sessions=self._sessions.living_count if is_own else facts.sessions,
            answers=is_own,
        )
