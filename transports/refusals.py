"""How every refusal becomes a problem document: the one table of statuses of the HTTP API."""

from __future__ import annotations

import math
from http import HTTPStatus
from types import MappingProxyType
from typing import TYPE_CHECKING

from starlette.responses import Response

from terminal_service.errors import (
    BackendRefused,
    BackendUnreachable,
    Draining,
    Forbidden,
    InvalidRequest,
    LimitReached,
    NotToBeHad,
    Preparing,
    Restarting,
    ServiceError,
    SessionOver,
    Unavailable,
    UnknownSession,
    Unsupported,
)
from transports import problems

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from fastapi.exceptions import RequestValidationError
    from starlette.exceptions import HTTPException

    from transports.problems import Problem

STATUSES: Mapping[type[ServiceError], int] = MappingProxyType(
    {
        InvalidRequest: 422,
        Unsupported: 422,
        UnknownSession: 404,
        SessionOver: 409,
        Forbidden: 403,
        LimitReached: 429,
        Preparing: 409,
        BackendRefused: 502,
        BackendUnreachable: 503,
        NotToBeHad: 503,
        Draining: 503,
        Restarting: 503,
        Unavailable: 503,
    }
)
RETRY_AFTER_SECONDS = 1
"""Told with 429 and 503: both pass as soon as something else ends."""
RETRY_BACKEND_SECONDS = 10

FIELDS_SHOWN = 20
_NAME_CHARACTERS = 100

_HTTP_CODES = {400: "bad_request", 404: "not_found", 405: "method_not_allowed", 413: "body_too_large"}


def of_service_error(error: ServiceError) -> Problem:
    """Return what the core's refusal is over HTTP."""
    status = STATUSES[type(error)]
    retry = ((b"retry-after", b"%d" % _retry_after(error)),) if status in {429, 503} else ()
    errors = {error.field: error.reason} if isinstance(error, InvalidRequest) else None
    return problems.build(status, error.code, str(error), errors=errors, headers=retry)


def _retry_after(error: ServiceError) -> int:
    """Return seconds: what the backend says, else one, or some where a place must come back by itself."""
    if isinstance(error, BackendUnreachable):
        return max(1, math.ceil(error.retry_after_seconds or RETRY_BACKEND_SECONDS))
    return RETRY_BACKEND_SECONDS if isinstance(error, NotToBeHad) else RETRY_AFTER_SECONDS


def of_invalid_fields(error: RequestValidationError) -> Problem:
    """Return a problem that names each wrong field; nothing of the values is repeated."""
    found: Sequence[Mapping[str, Any]] = error.errors()
    first = found[0] if found else {}
    if first.get("type") == "json_invalid":
        detail = f"the body is not JSON: {first['ctx']['error']} at character {first['loc'][-1]}"
        return problems.build(400, "invalid_json", detail)
    errors: dict[str, str] = {}
    for each in found[:FIELDS_SHOWN]:
        field, reason = _field(each["loc"]), _reason(each)
        errors[field] = f"{errors[field]}; {reason}" if field in errors else reason
    detail = "; ".join(f"{field}: {reason}" for field, reason in errors.items())
    if len(found) > FIELDS_SHOWN:
        detail += f"; and {len(found) - FIELDS_SHOWN} more"
    return problems.build(422, InvalidRequest.code, detail, errors=errors)


def of_http_exception(error: HTTPException) -> Problem:
    """Return a problem for what the router or a library refused."""
    code = _HTTP_CODES.get(error.status_code, HTTPStatus(error.status_code).phrase.lower().replace(" ", "_"))
    headers = [(name.lower().encode(), value.encode("latin-1")) for name, value in (error.headers or {}).items()]
    return problems.build(error.status_code, code, str(error.detail), headers=headers)


def internal_error() -> Problem:
    """Return what is said of a fault of ours: that it is one, and nothing of its insides."""
    return problems.build(500, "internal_error", "the service made a mistake; its log says more")


def respond(problem: Problem) -> Response:
    """Return a problem as a response."""
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in problem.headers}
    return Response(problem.body(), problem.status, headers, problems.CONTENT_TYPE.decode())


def _field(location: Sequence[int | str]) -> str:
    """Return `env.PATH` for `("body", "env", "PATH", "[key]")`; names come from the client, so they are cut."""
    parts = [str(part) for part in location if part != "[key]"]
    path = ".".join(parts[1:]) or parts[0] if parts else "body"
    return path.encode("utf-8", "replace").decode()[:_NAME_CHARACTERS]


def _reason(error: Mapping[str, Any]) -> str:
    if error["type"] == "extra_forbidden":
        return "there is no such field"
    if error["type"] == "value_error":
        return str(error["ctx"]["error"])  # our own words, without pydantic's prefix
    if error["type"] == "string_pattern_mismatch":
        where = "its name" if error["loc"][-1] == "[key]" else "it"
        return f"{where} does not match {error['ctx']['pattern']}"
    return str(error["msg"])
