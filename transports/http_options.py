"""The route that tells what a new session can be: for who offers a choice before a mistake is made."""

from fastapi import Depends, FastAPI, Request
from pydantic import BaseModel, Field

from nodes.base import NodeState
from terminal_service.errors import Forbidden
from terminal_service.fleet import Fleet
from terminal_service.policy import Action
from terminal_service.sessions import Sessions
from transports.access import OnService, identity_of
from transports.models import SizePolicyName
from transports.openapi import refusals


class BackendView(BaseModel):
    """Somewhere to run a session."""

    name: str
    shells: list[str] = Field(
        description="Those that are installed there; the first is used where none is named. None: they are not known "
        "to the node that is asked."
    )


class Options(BaseModel):
    """What there is to choose from, and what is used where nothing is chosen. Seconds and bytes."""

    backends: list[BackendView] = Field(description="Those that you may use; `GET /api/v1/backends` says more of them.")
    default_backend: str = Field(
        description="What is used where none is named: the first, or `auto`; empty: you may use none."
    )
    ttl_seconds: float
    max_ttl_seconds: float | None = Field(description="Null: as long as one likes.")
    size_policy: SizePolicyName
    retention_bytes: int
    max_retention_bytes: int


class OptionRoutes:
    """What can be asked for."""

    def __init__(self, sessions: Sessions, fleet: Fleet) -> None:
        """Tell what these can be, here and at other nodes."""
        self._sessions = sessions
        self._fleet = fleet

    def add_to(self, api: FastAPI) -> None:
        """Add the route."""
        api.add_api_route(
            "/api/v1/options",
            self.read,
            methods=["GET"],
            operation_id="readOptions",
            summary="What a new session can be",
            tags=["sessions"],
            dependencies=[Depends(OnService(Action.CREATE))],
            response_model=Options,
            responses=refusals(),
        )

    async def read(self, request: Request) -> Options:
        """Tell where you can open sessions, with which shells, and the defaults and bounds of the other fields."""
        identity, settings = identity_of(request), self._sessions.settings
        if identity is None:
            raise Forbidden(Action.CREATE.value)
        shells = await self._sessions.shells(identity.user)
        for _, node in sorted(self._fleet.registry.nodes().items()):
            if node.state is NodeState.ACTIVE:
                elsewhere = set(node.backends) - set(self._sessions.places.names)
                shells |= {backend: [] for backend in sorted(elsewhere) if backend not in shells}
        return Options.model_validate(
            {
                "backends": [{"name": name, "shells": found} for name, found in shells.items()],
                "default_backend": self._sessions.places.default_of(identity.user),
                "ttl_seconds": settings.session_ttl_seconds,
                "max_ttl_seconds": settings.session_max_lifetime_seconds or None,
                "size_policy": settings.size_policy,
                "retention_bytes": settings.retention_bytes,
                "max_retention_bytes": settings.max_retention_bytes,
            }
        )
