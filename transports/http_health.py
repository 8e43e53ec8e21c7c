"""The routes that tell how the service is: health, the front page, metrics."""

import base64
import hashlib
from collections.abc import Callable
from html import escape
from typing import Annotated, Any, Literal

from fastapi import Depends, FastAPI, Header
from pydantic import BaseModel, Field
from starlette.responses import HTMLResponse, JSONResponse, Response

from terminal_service.policy import Action
from terminal_service.sessions import Sessions
from transports.access import OnService
from transports.openapi import refusals

SERVICE = "Terminal Service"

_STYLE = "body{font:1rem/1.5 system-ui,sans-serif;max-width:40rem;margin:4rem auto;padding:0 1rem}"
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_PAGE_POLICY = f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; frame-ancestors 'none'"
_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{service}</title><style>{style}</style>
<h1>{service}</h1>
<p>Terminals that survive any disconnect, over WebSocket. Version {version}, {status}, active sessions: {active}.</p>
<p><a href="docs">Explore the API</a> · <a href="openapi.json">OpenAPI document</a> · <a href="health">health</a></p>
</html>
"""


class Check(BaseModel):
    """The outcome of one check."""

    status: Literal["ok", "degraded", "failed"]
    detail: str


class Health(BaseModel):
    """Whether the service can serve."""

    status: Literal["healthy", "unhealthy"]
    active_sessions: int
    timestamp: float
    checks: dict[str, Check]


class Live(BaseModel):
    """The process answers."""

    status: str = "alive"


class Front(BaseModel):
    """What this is, and where to go on."""

    service: str
    version: str
    status: str
    active_sessions: int
    endpoints: dict[str, str] = Field(description="Paths by what is found there.")


class HealthRoutes:
    """What is told about the service itself."""

    def __init__(self, sessions: Sessions, render_metrics: Callable[[], tuple[bytes, str]], version: str) -> None:
        """Tell about these; `render_metrics` gives the exposition and its content type, without blocking."""
        self._sessions = sessions
        self._render_metrics = render_metrics
        self._version = version

    def add_to(self, api: FastAPI) -> None:
        """Add the routes; the health of the first clients' paths is also found without prefix."""
        for prefix, name in (("", ""), ("/api/v1", "V1")):
            self._add_health(api, prefix + "/health", self.health, f"health{name}", unhealthy=True)
            self._add_health(api, prefix + "/health/live", self.live, f"live{name}", unhealthy=False)
            self._add_health(api, prefix + "/health/ready", self.health, f"ready{name}", unhealthy=True)
        api.add_api_route(
            "/",
            self.front,
            methods=["GET"],
            operation_id="front",
            summary="What this is",
            tags=["service"],
            response_model=Front,
            dependencies=[Depends(OnService(Action.DOCS))],
            responses={200: {"content": {"text/html": {"schema": {"type": "string"}}}}, **refusals(422)},
        )
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
        health = self._health()
        if health.status == "unhealthy":
            response.status_code = 503
        return health

    async def live(self) -> Live:
        """Tell that the process answers; whether it can serve is what `ready` tells."""
        return Live()

    async def front(self, accept: Annotated[str, Header(max_length=4096)] = "*/*") -> Response:
        """Tell what this is: a page for a browser, else JSON."""
        health = self._health()
        front = Front(
            service=SERVICE,
            version=self._version,
            status=health.status,
            active_sessions=health.active_sessions,
            endpoints={
                "rest_api": "/api/v1",
                "websocket": "/ws/terminal/{session_id}",
                "health": "/api/v1/health",
                "metrics": "/metrics",
                "docs": "/docs",
                "openapi": "/openapi.json",
            },
        )
        if _wants_page(accept):
            page = _PAGE.format(
                service=SERVICE,
                style=_STYLE,
                version=escape(self._version),
                status=front.status,
                active=front.active_sessions,
            )
            return HTMLResponse(page, headers={"Content-Security-Policy": _PAGE_POLICY, "Vary": "Accept"})
        return JSONResponse(front.model_dump(), headers={"Vary": "Accept"})

    async def metrics(self) -> Response:
        """Give the metrics in Prometheus' text format."""
        body, content_type = self._render_metrics()
        return Response(body, headers={"Content-Type": content_type})

    def _health(self) -> Health:
        sessions = self._sessions
        checks = {"sessions": self._check_sessions(), "storage": self._check_storage()}
        can_serve = all(check.status != "failed" for check in checks.values())
        return Health(
            status="healthy" if can_serve else "unhealthy",
            active_sessions=sessions.living_count,
            timestamp=sessions.clock.wall(),
            checks=checks,
        )

    def _check_sessions(self) -> Check:
        sessions = self._sessions
        if sessions.is_stopping:
            return Check(status="failed", detail="the service is shutting down")
        if not sessions.ready.is_set():
            return Check(status="failed", detail="the service is starting")
        living, limit = sessions.living_count, sessions.settings.max_sessions
        # Full is no failure: those that exist are served, and taking the service away would harm them.
        return Check(status="degraded" if living >= limit else "ok", detail=f"{living} of {limit}")

    def _check_storage(self) -> Check:
        unstored = self._sessions.unstored_count
        if unstored:
            return Check(status="degraded", detail=f"{unstored} sessions have output or records in memory only")
        return Check(status="ok", detail="output is kept")


def _wants_page(accept: str) -> bool:
    """Tell a browser, which names text/html first, from a client that takes anything."""
    types = [part.partition(";")[0].strip().lower() for part in accept.split(",")]
    return "text/html" in types and "application/json" not in types[: types.index("text/html")]
