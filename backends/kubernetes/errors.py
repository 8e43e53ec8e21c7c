"""From what an API server answers to errors that a user can act on."""

from __future__ import annotations

import json
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING

import aiohttp

from backends.errors import AccessRefused, BackendError, NotProvided, Unreachable

if TYPE_CHECKING:
    from collections.abc import Mapping

_LONGEST_MESSAGE = 600
UNAUTHORIZED, FORBIDDEN, NOT_FOUND, CONFLICT, GONE, INVALID, TOO_MANY = 401, 403, 404, 409, 410, 422, 429
_SERVER_ERRORS = 500


@dataclass(eq=False)
class ApiProblem(Exception):
    """An API server answered something else than what was asked for (`meta/v1.Status`)."""

    status: int
    reason: str
    message: str
    retry_after_seconds: float | None = None

    def __str__(self) -> str:
        """Give the server's words."""
        return self.message or self.reason or f"HTTP status {self.status}"


def read_problem(status: int, headers: Mapping[str, str], body: bytes) -> ApiProblem:
    """Make what a server answered an error; its body is a Status object, or anything that a proxy says."""
    reason, message = "", ""
    try:
        answer = json.loads(body)
    except ValueError:
        message = body.decode(errors="replace").strip()
    else:
        if isinstance(answer, dict):
            reason, message = str(answer.get("reason", "")), str(answer.get("message", ""))
    return ApiProblem(status, reason, message[:_LONGEST_MESSAGE], _retry_after(headers))


def _retry_after(headers: Mapping[str, str]) -> float | None:
    value = headers.get("Retry-After", "")
    return float(value) if value.isdecimal() else None  # the API servers send seconds, not dates


def typed(problem: ApiProblem, doing: str) -> BackendError:
    """Return the backend's error for a problem; `doing` says what was tried, as `create a pod in dev`."""
    if problem.status == UNAUTHORIZED:
        return AccessRefused(
            f"cannot {doing}: the cluster does not accept the credentials (401: {problem}); "
            "they are expired or revoked, the operator must renew them"
        )
    if problem.status == FORBIDDEN and "exceeded quota" in problem.message:
        return NotProvided(f"cannot {doing}: {problem}")
    if problem.status == FORBIDDEN:
        return AccessRefused(f"cannot {doing}: the service lacks a right in the cluster (403: {problem})")
    if problem.status == TOO_MANY:
        wait = problem.retry_after_seconds
        return Unreachable(f"cannot {doing}: the cluster has too much to do (429: {problem})", wait)
    if problem.status < _SERVER_ERRORS:
        return NotProvided(f"cannot {doing}: {problem} ({problem.status})")
    what = f"the cluster's API server fails ({problem.status}: {problem})"
    return Unreachable(f"cannot {doing}: {what}", problem.retry_after_seconds)


def unreachable(error: Exception, host: str, doing: str) -> BackendError:
    """Return the backend's error for a connection that was not to be had."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError | ssl.SSLCertVerificationError):
        return AccessRefused(
            f"cannot {doing}: {host} is not the cluster it should be, its certificate is not valid here: {error}"
        )
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return Unreachable(f"cannot {doing}: the name of the cluster's API server is not known: {error}")
    if isinstance(error, TimeoutError):
        return Unreachable(f"cannot {doing}: the cluster's API server {host} does not answer in time")
    return Unreachable(f"cannot {doing}: no connection to the cluster's API server {host}: {error}")
