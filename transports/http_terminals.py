"""The routes that act on a session's terminal: its size, its input, signals."""

from typing import Any
from weakref import WeakKeyDictionary

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from terminal_service.errors import InvalidRequest, LimitReached, SessionOver
from terminal_service.policy import Action
from terminal_service.session import Session
from terminal_service.sessions import Sessions
from terminal_service.sizes import Size
from terminal_service.terminal import Terminal
from transports import problems
from transports.access import Finder, Found, OnSession
from transports.allowance import Allowance
from transports.bodies import LIMIT_BYTES
from transports.heads import Refusal
from transports.http_sessions import PREFIX
from transports.models import Input, Resize, Signal
from transports.openapi import IDEMPOTENT, JSON_ONLY, refusals
from transports.views import InputTaken, Resized, SignalSent

RAW = "application/octet-stream"
JSON = "application/json"

_INPUT_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": f"Bytes as they are, or JSON; at most {LIMIT_BYTES} bytes.",
        "content": {
            RAW: {"schema": {"type": "string", "format": "binary", "minLength": 1}},
            JSON: {"schema": {"$ref": "#/components/schemas/Input"}},
        },
    }
}


class TerminalRoutes:
    """What can be done to a terminal without being attached to it."""

    def __init__(self, sessions: Sessions, finder: Finder) -> None:
        """Serve the terminals of these."""
        self._sessions = sessions
        self._finder = finder
        self._allowances: WeakKeyDictionary[Session, Allowance] = WeakKeyDictionary()

    def add_to(self, api: FastAPI) -> None:
        """Add the routes."""
        one = PREFIX + "/{session_id}"
        api.add_api_route(
            one + "/resize",
            self.resize,
            methods=["PUT"],
            operation_id="resizeSession",
            summary="Set the size",
            tags=["terminals"],
            dependencies=[Depends(OnSession(self._finder, Action.RESIZE)), JSON_ONLY, IDEMPOTENT],
            responses=refusals(404, 409, 422, 503, body=True),
        )
        api.add_api_route(
            one + "/input",
            self.type,
            methods=["POST"],
            status_code=202,
            operation_id="sendInput",
            summary="Send input",
            tags=["terminals"],
            dependencies=[Depends(OnSession(self._finder, Action.INPUT)), IDEMPOTENT],
            responses=refusals(404, 409, 422, 429, 503, body=True),
            openapi_extra=_INPUT_BODY,
        )
        api.add_api_route(
            one + "/signal",
            self.signal,
            methods=["POST"],
            operation_id="sendSignal",
            summary="Send a signal",
            tags=["terminals"],
            dependencies=[Depends(OnSession(self._finder, Action.SIGNAL)), JSON_ONLY, IDEMPOTENT],
            responses=refusals(404, 409, 422, 503, body=True),
        )

    async def resize(self, session: Found, size: Resize) -> Resized:
        """Set the size, whatever the policy, and count as activity; the next size a viewer reports counts again."""
        terminal = living_terminal(session)
        terminal.resize(Size(size.rows, size.cols))
        session.bump("resize")
        return Resized(rows=terminal.size.rows, cols=terminal.size.cols)

    async def type(self, session: Found, request: Request) -> InputTaken:
        """Queue input for the program, behind what others typed before; 429 while it does not read."""
        terminal = living_terminal(session)
        data = await _input(request)
        if not data:
            raise InvalidRequest("body", "there is no input in it")
        allowance = self._allowances.setdefault(session, Allowance(self._sessions.settings, self._sessions.clock))
        if not allowance.spend(len(data)):
            raise LimitReached("bytes of input per second", self._sessions.settings.input_bytes_per_second)
        terminal.write(data)
        return InputTaken(bytes=len(data), waiting_bytes=terminal.keyboard.pending_bytes)

    async def signal(self, session: Found, signal: Signal) -> SignalSent:
        """Send a signal to the foreground process group, ahead of all input."""
        living_terminal(session).signal(signal.name)
        return SignalSent(name=signal.name)


def living_terminal(session: Session) -> Terminal:
    """Return the terminal of a session that has not ended. Raises SessionOver."""
    if not session.is_living or session.terminal is None:
        raise SessionOver(session.session_id, session.end_reason or f"it is {session.state.value}")
    return session.terminal


async def _input(request: Request) -> bytes:
    """Read the body, which may be either of two types; wrong JSON is refused as everywhere."""
    body = await request.body()
    kind = request.headers.get("content-type", RAW).partition(";")[0].strip().lower()
    if kind == RAW:
        return body
    if kind != JSON:
        detail = f"this operation takes {RAW} or {JSON}, not {kind[:80]}"
        raise Refusal(problems.build(415, "content_type_not_supported", detail))
    try:
        return Input.model_validate_json(body).content
    except ValidationError as error:
        errors = [{**each, "loc": ("body", *each["loc"])} for each in error.errors(include_url=False)]
        if errors[0]["type"] == "json_invalid":
            raise Refusal(problems.build(400, "invalid_json", f"the body is not JSON: {errors[0]['msg']}")) from error
        raise RequestValidationError(errors) from error
