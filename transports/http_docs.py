"""The routes of the API's documentation: Swagger UI, served from here and working without any inline script."""

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
<body><div id="ui"></div>
<script src="docs/swagger-ui-bundle.js"></script><script src="docs/start.js"></script></body></html>
"""
_START = """SwaggerUIBundle({
  url: "openapi.json", dom_id: "#ui", deepLinking: true, validatorUrl: null, tryItOutEnabled: true,
  syntaxHighlight: false, layout: "BaseLayout",
});
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
        options: dict[str, Any] = {
            "methods": ["GET"],
            "include_in_schema": False,
            "dependencies": [Depends(OnService(Action.DOCS))],
        }
        self._api = api
        api.add_api_route("/openapi.json", self.document, **options)
        api.add_api_route("/docs", self.page, **options)
        api.add_api_route("/docs/start.js", self.start, **options)
        api.add_api_route("/docs/{asset}", self.asset, **options)

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
