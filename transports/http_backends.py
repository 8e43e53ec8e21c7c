"""The route that tells where sessions can run: what each place can do, and how it is."""

from typing import Literal

from fastapi import Depends, FastAPI, Request
from pydantic import BaseModel, Field

from nodes.base import NodeState
from terminal_service.choosing import gives_of
from terminal_service.errors import Forbidden
from terminal_service.fleet import Fleet
from terminal_service.places import Place
from terminal_service.policy import Action, Identity
from terminal_service.sessions import Sessions
from transports.access import OnService, identity_of
from transports.openapi import refusals


class Abilities(BaseModel):
    """What can be done there beside opening terminals."""

    exec: bool = Field(description="Run a command once, without a terminal.")
    files: bool
    port_forwarding: bool
    stats: bool
    signals: bool
    reattach: bool = Field(description="Programs go on without the service, and a lost link costs nothing.")
    snapshot: bool
    pause: bool


class HealthView(BaseModel):
    """How it is, as it was seen last, in the background."""

    state: Literal["ok", "failing", "unknown"]
    reason: str = Field(description="Why it is failing, for people.")
    since: float | None = Field(description="When it became so.")
    checked_at: float | None


class PlaceView(BaseModel):
    """Somewhere to run a session. Null: known to another node only."""

    name: str
    kind: str | None
    description: str
    capabilities: Abilities | None
    gives: list[str] | None = Field(description="What of `image`, `cpus`, `memory_bytes`, `gpus` may be asked for.")
    health: HealthView
    shells: list[str] | None = Field(description="The default one first; null: not known.")
    is_default: bool = Field(description="Whether it is used where none is named.")
    nodes: list[str] = Field(description="Those that have it.")


class BackendRoutes:
    """The places where sessions can run."""

    def __init__(self, sessions: Sessions, fleet: Fleet) -> None:
        """Tell of those of this node, and the names of other nodes'."""
        self._sessions = sessions
        self._fleet = fleet

    def add_to(self, api: FastAPI) -> None:
        """Add the route."""
        api.add_api_route(
            "/api/v1/backends",
            self.read,
            methods=["GET"],
            operation_id="listBackends",
            summary="List the backends",
            tags=["service"],
            dependencies=[Depends(OnService(Action.CREATE))],
            responses=refusals(),
        )

    async def read(self, request: Request) -> list[PlaceView]:
        """List where you can open sessions, the default first. Nothing is looked at for this: it answers at once."""
        identity = identity_of(request)
        if identity is None:
            raise Forbidden(Action.CREATE.value)
        own, default = self._sessions.places, self._sessions.places.default_of(identity.user)
        nodes = self._nodes()
        shown = {place.name: place for place in own if _may_see(place, identity)}
        shells = await self._sessions.shells(identity.user)
        views = [_view_of(place, shells.get(name), nodes, default) for name, place in shown.items()]
        views += [_view_of_other(name, nodes) for name in sorted(nodes.keys() - set(own.names))]
        return sorted(views, key=lambda view: not view.is_default)

    def _nodes(self) -> dict[str, list[str]]:
        """Return the nodes that have each backend."""
        found: dict[str, list[str]] = {name: [self._fleet.registry.node_id] for name in self._sessions.places.names}
        for node_id, node in sorted(self._fleet.registry.nodes().items()):
            if node.state is NodeState.ACTIVE and node_id != self._fleet.registry.node_id:
                for name in node.backends:
                    found.setdefault(name, []).append(node_id)
        return found


def _may_see(place: Place, identity: Identity) -> bool:
    return identity.is_admin or place.admits(identity.user)


def _view_of(place: Place, shells: list[str] | None, nodes: dict[str, list[str]], default: str) -> PlaceView:
    health, capabilities = place.health, place.backend.capabilities
    return PlaceView(
        name=place.name,
        kind=place.kind,
        description=place.profile.description,
        capabilities=Abilities.model_validate(vars(capabilities)),
        gives=sorted(gives_of(place)),
        health=HealthView(
            state=health.state.value, reason=health.reason, since=health.since, checked_at=health.checked_at
        ),
        shells=shells or None,
        is_default=place.name == default,
        nodes=nodes[place.name],
    )


def _view_of_other(name: str, nodes: dict[str, list[str]]) -> PlaceView:
    return PlaceView(
        name=name,
        kind=None,
        description="",
        capabilities=None,
        gives=None,
        health=HealthView(state="unknown", reason="", since=None, checked_at=None),
        shells=None,
        is_default=False,
        nodes=nodes[name],
    )
