"""What the core refuses, and why. Each way in maps these to its own codes in one table.

::

    ServiceError
    ├── InvalidRequest   a field of the request cannot be right (HTTP 422, WebSocket 4400)
    │   └── Unsupported  the backend cannot do that, now or ever (422)
    ├── UnknownSession   no such session, or none that the caller may know of (404, 4404)
    ├── SessionOver      the session has ended and this needs a living one (409, 4410)
    ├── Forbidden        known, but not allowed (403, 4403)
    ├── LimitReached     a quota of the caller is used up (429, 4429)
    ├── Draining         this process takes no new sessions; another node does (503)
    ├── Restarting       another process of the service goes on with this session in a moment (503, 1012)
    ├── Preparing        the session has no program yet, and this needs one (409)
    ├── BackendUnreachable  the place where it would run cannot be reached now (503)
    ├── BackendRefused   the place does not let the service in: its operator must act (502)
    ├── NotToBeHad       what the session needs could not be provided there: image, capacity, quota (503)
    └── Unavailable      the service cannot do it now; others are unharmed (503, 1013)
"""

from __future__ import annotations

from dataclasses import dataclass

RETRY_AFTER_MS = 250
"""When clients may expect a session back that goes on after a restart; they add jitter of their own."""


class ServiceError(Exception):
    """Base of all refusals. `code` is stable and meant for programs."""

    code = "error"


@dataclass(eq=False)
class InvalidRequest(ServiceError):
    """A field of the request is wrong."""

    field: str
    reason: str
    code = "invalid_request"

    def __str__(self) -> str:
        """Name the field."""
        return f"{self.field}: {self.reason}"


class Unsupported(InvalidRequest):
    """What the field asks for, the backend cannot do."""

    code = "not_supported"


@dataclass(eq=False)
class UnknownSession(ServiceError):
    """There is no session of that id for the caller."""

    session_id: str
    code = "unknown_session"

    def __str__(self) -> str:
        """Say so, in the words the first clients know."""
        return "Session not found"


@dataclass(eq=False)
class SessionOver(ServiceError):
    """The session has ended."""

    session_id: str
    reason: str
    code = "session_over"

    def __str__(self) -> str:
        """Give the reason of its end."""
        return f"the session has ended: {self.reason}"


@dataclass(eq=False)
class Forbidden(ServiceError):
    """The caller may not do this."""

    action: str
    code = "forbidden"

    def __str__(self) -> str:
        """Name the action."""
        return f"not allowed: {self.action}"


@dataclass(eq=False)
class LimitReached(ServiceError):
    """A limit is reached; what exists is unharmed."""

    what: str
    limit: int
    code = "limit_reached"

    def __str__(self) -> str:
        """Name the limit."""
        return f"limit reached: at most {self.limit} {self.what}"


@dataclass(eq=False)
class Unavailable(ServiceError):
    """Nothing is wrong with the request; the service or the system cannot do it now."""

    reason: str
    code = "unavailable"

    def __str__(self) -> str:
        """Give the reason."""
        return self.reason


@dataclass(eq=False)
class Preparing(ServiceError):
    """The session is being prepared: there is no program yet."""

    session_id: str
    code = "preparing"

    def __str__(self) -> str:
        """Say what to do."""
        return "the session is still being prepared; try again when it runs"


@dataclass(eq=False)
class BackendUnreachable(ServiceError):
    """The place where a session would run cannot be reached; nothing was started."""

    backend: str
    reason: str
    retry_after_seconds: float | None = None
    code = "backend_unreachable"

    def __str__(self) -> str:
        """Name the place, and why."""
        return f"backend {self.backend!r} cannot be reached: {self.reason}"


@dataclass(eq=False)
class BackendRefused(ServiceError):
    """The place where a session would run refuses the service; who is to use it can do nothing about that."""

    backend: str
    reason: str
    code = "backend_refused"

    def __str__(self) -> str:
        """Name the place, and why."""
        return f"backend {self.backend!r} refuses the service: {self.reason}"


@dataclass(eq=False)
class NotToBeHad(ServiceError):
    """What the session was to run in could not be provided; nothing of it is left."""

    backend: str
    reason: str
    code = "not_provided"

    def __str__(self) -> str:
        """Name the place, and why."""
        return f"backend {self.backend!r} could not provide it: {self.reason}"


@dataclass(eq=False)
class Draining(ServiceError):
    """This process takes no new sessions: it ends when those that it has have ended."""

    code = "draining"

    def __str__(self) -> str:
        """Say what to do."""
        return "this node is draining and takes no new sessions; try again, another one answers"


@dataclass(eq=False)
class Restarting(ServiceError):
    """This process of the service has let go of its sessions; the next one goes on with them."""

    retry_after_ms: int = RETRY_AFTER_MS
    code = "restarting"

    def __str__(self) -> str:
        """Say when to come back."""
        return f"service restart; retry_after_ms={self.retry_after_ms}"
