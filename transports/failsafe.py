"""What happens when a request meets a fault of ours: it is logged, answered, and harms nobody else."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import structlog

from transports import refusals
from transports.problems import send_problem

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from starlette.types import ASGIApp, Receive, Scope, Send

log = structlog.get_logger()


class Failsafe:
    """ASGI middleware: an unexpected exception becomes a 500 problem that tells nothing of our insides."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request. Raises again only where the response had begun: the server then cuts it off."""
        has_begun = False

        async def watched(message: MutableMapping[str, Any]) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception as error:
            # A traceback is made from source files: reading them has no place on the event loop.
            told = {"method": scope.get("method"), "path": scope.get("path"), "exc_info": error}
            await asyncio.to_thread(log.error, "request failed", **told)
            if has_begun:
                raise
            await send_problem(refusals.internal_error(), send)
