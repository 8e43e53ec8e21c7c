"""The routes a browser comes in by: the console at "/" with its files, and the element that others embed.

Page and files are for everybody and say nothing; what they show they ask the API for, as whoever uses them. For
programs "/" tells what this is, as JSON.
"""

import base64
import hashlib
from html import escape
from typing import Any

from fastapi import Depends, FastAPI, Request
from pydantic import BaseModel, Field
from starlette.responses import HTMLResponse, JSONResponse, Response

from terminal_service.fleet import Fleet
from terminal_service.policy import Action
from terminal_service.sessions import Sessions
from transports import problems
from transports.accepted import takes_gzip
from transports.access import OnService, prefers_page
from transports.bundle import Asset, Bundle
from transports.heads import Head, Refusal
from transports.http_health import health_of
from transports.openapi import refusals

SERVICE = "Terminal Service"

# 'self' is the WebSockets of this origin too (CSP 3, 6.7.2.8). Pictures in terminals are decoded by WebAssembly, which
# needs a word of its own; JavaScript is still not made from text. Of the policies of trusted types Lit's is needed.
_CONSOLE_POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self' data: blob:; "
    "font-src 'self'; connect-src 'self'; worker-src 'self'; manifest-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types lit-html"
)
_PERMISSIONS = (
    "clipboard-read=(self), clipboard-write=(self), fullscreen=(self), "
    "camera=(), display-capture=(), geolocation=(), hid=(), microphone=(), midi=(), payment=(), serial=(), usb=()"
)
_CONSOLE = {
    "Content-Security-Policy": _CONSOLE_POLICY,
    "Permissions-Policy": _PERMISSIONS,
    "Cache-Control": "no-cache",
    "Vary": "Accept, Accept-Encoding",
}

_FOREVER = "public, max-age=31536000, immutable"  # the name has a hash of the content in it
_ASSET = {"Cache-Control": _FOREVER, "Vary": "Accept-Encoding"}
# A page of an allowed origin loads these as modules, so with CORS, for which the guard adds what is missing.
_EMBEDDED = {"Cross-Origin-Resource-Policy": "cross-origin", "Vary": "Accept-Encoding, Origin"}
_EMBED_ENTRY = {**_EMBEDDED, "Cache-Control": "no-cache"}
_EMBED_CHUNK = {**_EMBEDDED, "Cache-Control": _FOREVER}
EMBED_ENTRY = "terminal-session.js"

_STYLE = (
    ":root{color-scheme:light dark}body{font:1rem/1.5 system-ui,sans-serif;max-width:44rem;margin:4rem auto;"
    "padding:0 1rem}pre{font-size:.85rem;padding:1rem;border:1px solid #8888;border-radius:.5rem;"
    "white-space:pre-wrap;overflow-wrap:anywhere}"
)
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_PAGE_POLICY = f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; frame-ancestors 'none'"
_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{service}</title><style>{style}</style>
<h1>{service}</h1>
<p>The service runs; the console that belongs here has not been built. In the checkout,
with Node.js 20.19 or newer:</p>
<pre>make web</pre>
<p>Then start the service again. Everything else works without it. To begin with (where the service has
<code>API_KEYS</code>, add <code>-H "X-API-Key: &lt;key&gt;"</code>):</p>
<pre># open a session, type into it, read what it printed
curl {url}api/v1/sessions \\
  -H "Content-Type: application/json" -d '{{"name": "first"}}'
curl {url}api/v1/sessions/<var>session_id</var>/input \\
  -H "Content-Type: application/json" -d '{{"text": "ls\\r"}}'
curl {url}api/v1/sessions/<var>session_id</var>/output</pre>
<p><a href="docs">Explore the API</a> · <a href="openapi.json">OpenAPI document</a> · <a href="health">health</a></p>
</html>
"""


class Front(BaseModel):
    """What this is, and where to go on."""

    service: str
    version: str
    status: str
    active_sessions: int = Field(description="Of this node.")
    nodes: int = Field(description="How many nodes there are, this one too.")
    endpoints: dict[str, str] = Field(description="Paths by what is found there.")


class FrontRoutes:
    """The front page and the files of the web client."""

    def __init__(self, sessions: Sessions, fleet: Fleet, bundle: Bundle, version: str) -> None:
        """Serve `bundle`; without an index in it the front page says how to build one."""
        self._sessions = sessions
        self._fleet = fleet
        self._bundle = bundle
        self._version = version

    def add_to(self, api: FastAPI) -> None:
        """Add the routes."""
        front: dict[str, Any] = {"dependencies": [Depends(OnService(Action.DOCS, page=Action.CONSOLE))]}
        api.add_api_route(
            "/",
            self.front,
            methods=["GET"],
            operation_id="front",
            summary="What this is",
            tags=["service"],
            response_model=Front,
            responses={200: {"content": {"text/html": {"schema": {"type": "string"}}}}, **refusals()},
            **front,
        )
        api.add_api_route("/", self.front, methods=["HEAD"], include_in_schema=False, **front)
        files: dict[str, Any] = {
            "methods": ["GET", "HEAD"],
            "include_in_schema": False,
            "dependencies": [Depends(OnService(Action.CONSOLE))],
        }
        api.add_api_route("/assets/{name}", self.asset, **files)
        api.add_api_route("/embed/{name}", self.embedded, **files)

    async def front(self, request: Request) -> Response:
        """Tell what this is: the console for a browser, else JSON."""
        if not prefers_page(request):
            return JSONResponse(self._front().model_dump(), headers={"Vary": "Accept"})
        if self._bundle.index is not None:
            return await _respond(request, self._bundle.index, _CONSOLE)
        page = _PAGE.format(service=SERVICE, style=_STYLE, url=escape(str(request.base_url)))
        return HTMLResponse(page, headers={"Content-Security-Policy": _PAGE_POLICY, "Vary": "Accept"})

    async def asset(self, request: Request, name: str) -> Response:
        """Give a file of the console."""
        return await _respond(request, self._find(f"assets/{name}"), _ASSET)

    async def embedded(self, request: Request, name: str) -> Response:
        """Give the element, or a part of it that it loads when it is needed."""
        headers = _EMBED_ENTRY if name == EMBED_ENTRY else _EMBED_CHUNK
        return await _respond(request, self._find(f"embed/{name}"), headers)

    def _find(self, path: str) -> Asset:
        found = self._bundle.files.get(path)
        if found is None:
            raise Refusal(problems.build(404, "not_found", "there is no such file of the web client"))
        return found

    def _front(self) -> Front:
        health = health_of(self._sessions, self._fleet)
        return Front(
            service=SERVICE,
            version=self._version,
            status=health.status,
            active_sessions=health.active_sessions,
            nodes=health.nodes,
            endpoints={
                "rest_api": "/api/v1",
                "websocket": "/ws/terminal/{session_id}",
                "health": "/api/v1/health",
                "metrics": "/metrics",
                "docs": "/docs",
                "openapi": "/openapi.json",
            },
        )


async def _respond(request: Request, asset: Asset, headers: dict[str, str]) -> Response:
    """Give a file as the client takes it, or say that what it has is still right (RFC 9110, 13.1.2)."""
    head = Head.of(request.scope)
    packed = await asset.packed() if takes_gzip(head.listed("accept-encoding")) else None
    tag = f'"{asset.digest}"' if packed is None else f'"{asset.digest}-gzip"'  # other bytes, another strong tag
    headers = {**headers, "ETag": tag}
    if {"*", tag} & {each.removeprefix("W/") for each in head.listed("if-none-match")}:
        return Response(status_code=304, headers=headers)
    if packed is not None:
        headers["Content-Encoding"] = "gzip"
    return Response(asset.content if packed is None else packed, headers={**headers, "Content-Type": asset.media_type})
