"""The routes of the API's documentation: Swagger UI, served from here and working without any inline script.

A browser that is sent to /docs cannot send a key along. So the page is for everybody and says nothing; the document
that it shows is not, and where a key is needed for it the page asks for one.
"""

import asyncio
import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from fastapi import Depends, FastAPI
from starlette.responses import FileResponse, HTMLResponse, Response

from terminal_service.policy import Action
from transports.access import OnService

# Swagger UI shows values as images and styles elements it made; everything else is refused to the page.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# Addresses are relative, so that the page also works below a prefix of a proxy.
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Terminal Service: API</title>
<link rel="icon" href="data:,"><link rel="stylesheet" href="docs/swagger-ui.css"></head>
<body><form id="ask" hidden><p id="why"></p>
<p><label>API key: <input id="key" type="password" autocomplete="off" required></label> <button>Show</button></p></form>
<div id="ui"></div>
<script src="docs/swagger-ui-bundle.js"></script><script src="docs/start.js"></script></body></html>
"""
# The key stays in the page's memory; Swagger UI sends it with what is tried out, until "Authorize" says otherwise.
_START = """const element = (id) => document.getElementById(id);

async function show(key) {
  const headers = key ? { "X-API-Key": key } : {};
  const answer = await fetch("openapi.json", { headers });
  element("ask").hidden = answer.status !== 401;
  if (answer.status === 401) {
    element("why").textContent = (await answer.json()).detail;
    element("key").focus();
    return;
  }
  const ui = SwaggerUIBundle({
    url: "openapi.json", dom_id: "#ui", deepLinking: true, validatorUrl: null, tryItOutEnabled: true,
    syntaxHighlight: false, layout: "BaseLayout",
    requestInterceptor: (request) => {
      if (request.loadSpec) Object.assign(request.headers, headers);
      return request;
    },
    onComplete: () => key && ui.preauthorizeApiKey("key", key),
  });
}

element("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  show(element("key").value);
});
show("");
"""
_TYPES = {"swagger-ui.css": "text/css", "swagger-ui-bundle.js": "text/javascript"}
_CACHED = {"Cache-Control": "private, max-age=3600"}


def _assets() -> Path:
    spec = find_spec("fastapi_offline")
    if spec is None or spec.origin is None:
        raise AssertionError("fastapi-offline is a dependency of this project")
    return Path(spec.origin).parent / "static"


_ASSETS = _assets()  # found once, before any event loop runs: it is a look at the disk


class DocsRoutes:
    """The documentation. Swagger UI's files come with the package fastapi-offline, of which no code is used."""

    def add_to(self, api: FastAPI) -> None:
        """Add the routes."""
        self._api = api
        routes: tuple[tuple[str, Any, Action], ...] = (
            ("/openapi.json", self.document, Action.DOCS),
            ("/docs", self.page, Action.DOCS_PAGE),
            ("/docs/start.js", self.start, Action.DOCS_PAGE),
            ("/docs/{asset}", self.asset, Action.DOCS_PAGE),
        )
        for path, endpoint, action in routes:
            access = [Depends(OnService(action))]
            api.add_api_route(path, endpoint, methods=["GET"], include_in_schema=False, dependencies=access)

    async def document(self) -> Response:
        """Give the OpenAPI document."""
        # Making it takes a tenth of a second, the first time.
        document = await asyncio.to_thread(self._api.openapi)
        return Response(json.dumps(document), media_type="application/json")

    async def page(self) -> Response:
        """Give the page."""
        return HTMLResponse(_PAGE, headers={"Content-Security-Policy": _POLICY})

    async def start(self) -> Response:
        """Give the script that starts Swagger UI: inline it would be refused by the page's own policy."""
        return Response(_START, media_type="text/javascript", headers=_CACHED)

    async def asset(self, asset: Literal["swagger-ui.css", "swagger-ui-bundle.js"]) -> Response:
        """Give a file of Swagger UI."""
        return FileResponse(_ASSETS / asset, media_type=_TYPES[asset], headers=_CACHED)
