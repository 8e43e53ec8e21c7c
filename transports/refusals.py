"""How every refusal becomes a problem document: the one table of statuses of the HTTP API."""

from __future__ import annotations

from http import HTTPStatus
from types import MappingProxyType
from typing import TYPE_CHECKING

from starlette.responses import Response

from terminal_service.errors import (
    Draining,
    Forbidden,
    InvalidRequest,
    LimitReached,
    Restarting,
    ServiceError,
    SessionOver,
    Unavailable,
    UnknownSession,
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
        UnknownSession: 404,
        SessionOver: 409,
        Forbidden: 403,
        LimitReached: 429,
        Draining: 503,
        Restarting: 503,
        Unavailable: 503,
    }
)
RETRY_AFTER_SECONDS = 1
"""Told with 429 and 503: both pass as soon as something else ends."""

FIELDS_SHOWN = 20
_NAME_CHARACTERS = 100

_HTTP_CODES = {400: "bad_request", 404: "not_found", 405: "method_not_allowed", 413: "body_too_large"}


def of_service_error(error: ServiceError) -> Problem:
    """Return what the core's refusal is over HTTP."""
    status = STATUSES[type(error)]
    retry = ((b"retry-after", b"%d" % RETRY_AFTER_SECONDS),) if status in {429, 503} else ()
    errors = {error.field: error.reason} if isinstance(error, InvalidRequest) else None
    return problems.build(status, error.code, str(error), errors=errors, headers=retry)


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
