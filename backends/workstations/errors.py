"""What Google's API and its client say when something fails, in the words and types of `backends.base`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.api_core import exceptions
from google.auth import exceptions as auth_exceptions
from google.rpc import error_details_pb2

from backends.errors import AccessRefused, BackendError, NotProvided, Unreachable

if TYPE_CHECKING:
    from collections.abc import Callable

FAILURES = (exceptions.GoogleAPICallError, exceptions.RetryError, auth_exceptions.GoogleAuthError)
"""What a call of the client raises."""

_RATE = "RATE_LIMIT_EXCEEDED"
_WORDS = 400
"""Characters of the API's own words that are passed on, at most."""


def explain(error: Exception, doing: str) -> BackendError:
    """Return the typed error for one of `FAILURES`; `doing` says what was tried: "start workstation ann"."""
    if isinstance(error, exceptions.RetryError) and isinstance(error.cause, Exception):
        return explain(error.cause, doing)
    if isinstance(error, exceptions.TooManyRequests):
        return _limited(error, doing)
    words = _words(error)
    for kind, meant, message in _MEANINGS:
        if isinstance(error, kind):
            return meant(f"cannot {doing}: {message.format(words)}")
    return Unreachable(f"cannot {doing}: the API fails: {words}", _retry_after(error))


_MEANINGS: tuple[tuple[type[Exception], Callable[[str], BackendError], str], ...] = (
    (auth_exceptions.TransportError, Unreachable, "Google's token service cannot be reached: {}"),
    (
        auth_exceptions.GoogleAuthError,
        AccessRefused,
        "Google refuses the credentials: {}; the operator must look",
    ),
    (
        exceptions.Unauthenticated,
        AccessRefused,
        "the API refuses the credentials (401): {}; the operator must look",
    ),
    (exceptions.Forbidden, AccessRefused, "the account lacks a right (403): {}; the operator must grant it"),
    (exceptions.NotFound, NotProvided, "there is no such thing (404): {}"),
    (exceptions.ClientError, NotProvided, "the API refused it: {}"),
)
"""The first that fits counts."""


def is_passing(error: Exception) -> bool:
    """Tell whether the same call may work in a moment: for the client's own retries."""
    if isinstance(error, exceptions.TooManyRequests):
        return _is_rate(error)
    return isinstance(error, exceptions.ServerError | auth_exceptions.TransportError)


def _limited(error: exceptions.TooManyRequests, doing: str) -> BackendError:
    """Tell a rate, which is a matter of seconds, from a quota, which is the operator's."""
    if _is_rate(error):
        return Unreachable(
            f"cannot {doing}: too many requests at the moment (429): {_words(error)}", _retry_after(error)
        )
    return NotProvided(f"cannot {doing}: a quota is used up (429): {_words(error)}; the operator must raise it")


def _is_rate(error: exceptions.GoogleAPICallError) -> bool:
    return error.reason == _RATE or _retry_after(error) is not None


def _retry_after(error: Exception) -> float | None:
    for detail in getattr(error, "details", ()):
        if isinstance(detail, error_details_pb2.RetryInfo):
            return float(detail.retry_delay.ToTimedelta().total_seconds())
    return None


def _words(error: Exception) -> str:
    """Return what it says on one line, and not more than people read."""
    message = getattr(error, "message", None) or str(error)
    return " ".join(str(message).split())[:_WORDS]
