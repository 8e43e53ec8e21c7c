"""The routes that tell how the service is: health and metrics."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Literal

from fastapi import Depends, FastAPI
from pydantic import BaseModel, Field
from starlette.responses import Response

from terminal_service.fleet import Fleet
from terminal_service.policy import Action
from terminal_service.sessions import Sessions
from transports.access import OnService
from transports.openapi import refusals


class Check(BaseModel):
    """The outcome of one check."""

    status: Literal["ok", "degraded", "failed"]
    detail: str


class Health(BaseModel):
    """Whether the service can serve."""

    status: Literal["healthy", "unhealthy"]
    state: Literal["active", "draining"]
    active_sessions: int = Field(description="Of this node.")
    nodes: int = Field(description="How many nodes there are, this one too.")
    timestamp: float
    checks: dict[str, Check]


class Live(BaseModel):
    """The process answers."""

    status: str = "alive"


class HealthRoutes:
    """What is told about the service itself."""

    def __init__(self, sessions: Sessions, fleet: Fleet, render_metrics: Callable[[], tuple[bytes, str]]) -> None:
        """Tell about these; `render_metrics` gives the exposition and its content type, without blocking."""
        self._sessions = sessions
        self._fleet = fleet
        self._render_metrics = render_metrics

    def add_to(self, api: FastAPI) -> None:
        """Add the routes; the health of the first clients' paths is also found without prefix."""
        for prefix, name in (("", ""), ("/api/v1", "V1")):
            self._add_health(api, prefix + "/health", self.health, f"health{name}", unhealthy=True)
            self._add_health(api, prefix + "/health/live", self.live, f"live{name}", unhealthy=False)
            self._add_health(api, prefix + "/health/ready", self.ready, f"ready{name}", unhealthy=True)
        api.add_api_route(
            "/metrics",
            self.metrics,
            methods=["GET"],
            operation_id="metrics",
            summary="Metrics",
            tags=["service"],
            response_class=Response,
            dependencies=[Depends(OnService(Action.METRICS))],
            responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **refusals()},
        )

    def _add_health(self, api: FastAPI, path: str, endpoint: Callable[..., Any], name: str, *, unhealthy: bool) -> None:
        common: dict[str, Any] = {"dependencies": [Depends(OnService(Action.HEALTH))]}
        # Its 503 is a report, not a refusal: it has the shape of the 200.
        answers: dict[int | str, dict[str, Any]] = {503: {"model": Health, "description": "Cannot serve"}}
        api.add_api_route(
            path,
            endpoint,
            methods=["GET"],
            operation_id=name,
            summary="Alive?" if endpoint == self.live else "Healthy?",
            tags=["service"],
            responses={**(answers if unhealthy else {}), **refusals(identity=False)},
            **common,
        )
        api.add_api_route(path, endpoint, methods=["HEAD"], include_in_schema=False, **common)

    async def health(self, response: Response) -> Health:
        """Tell whether the service can serve: 200, or 503 with the checks that failed."""
        health = health_of(self._sessions, self._fleet)
        if health.status == "unhealthy":
            response.status_code = 503
        return health

    async def ready(self, response: Response) -> Health:
        """Tell whether the service takes new sessions: 200, or 503 with the checks that failed.

        What drains does not, and serves those it has.
        """
        health = await self.health(response)
        if health.state == "draining":
            response.status_code = 503
        return health

    async def live(self) -> Live:
        """Tell that the process answers; whether it can serve is what `ready` tells."""
        return Live()

    async def metrics(self) -> Response:
        """Give the metrics in Prometheus' text format."""
        body, content_type = self._render_metrics()
        return Response(body, headers={"Content-Type": content_type})


def health_of(sessions: Sessions, fleet: Fleet) -> Health:
    """Return how the service is now."""
    checks = {"sessions": _check_sessions(sessions), "storage": _check_storage(sessions), "nodes": _check_nodes(fleet)}
    checks["backends"] = _check_backends(sessions)
    can_serve = all(check.status != "failed" for check in checks.values())
    return Health(
        status="healthy" if can_serve else "unhealthy",
        state="draining" if sessions.draining.is_on else "active",
        active_sessions=sessions.living_count,
        nodes=len(fleet.registry.nodes()),
        timestamp=sessions.clock.wall(),
        checks=checks,
    )


def _check_sessions(sessions: Sessions) -> Check:
    if sessions.is_stopping:
        return Check(status="failed", detail="the service is shutting down")
    if not sessions.ready.is_set():
        return Check(status="failed", detail="the service is starting")
    if sessions.draining.is_on:
        return Check(status="degraded", detail=f"draining: no new sessions, {sessions.living_count} left")
    living, limit = sessions.living_count, sessions.settings.max_sessions
    # Full is no failure: those that exist are served, and taking the service away would harm them.
    return Check(status="degraded" if living >= limit else "ok", detail=f"{living} of {limit}")


def _check_nodes(fleet: Fleet) -> Check:
    if fleet.registry.trouble is not None:  # what this node has is served all the same; why is in the log, not for all
        return Check(status="degraded", detail="other nodes cannot be seen at the moment")
    return Check(status="ok", detail=str(len(fleet.registry.nodes())))


def _check_backends(sessions: Sessions) -> Check:
    """Tell how many can be used; which cannot, and why, those are told who may use them."""
    places = list(sessions.places)
    failing = sum(place.health.is_failing for place in places)
    if failing:
        return Check(status="degraded", detail=f"{failing} of {len(places)} cannot be used at the moment")
    return Check(status="ok", detail=str(len(places)))


def _check_storage(sessions: Sessions) -> Check:
    unstored = sessions.unstored_count
    if unstored:
        since = sessions.unstored_since
        begun = "" if since is None else f" since {datetime.fromtimestamp(since, UTC):%Y-%m-%dT%H:%M:%SZ}"
        return Check(status="degraded", detail=f"{unstored} sessions are not kept as they should be{begun}")
    return Check(status="ok", detail="output is kept")
