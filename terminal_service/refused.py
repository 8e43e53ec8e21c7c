"""What a caller is told when a backend could not open a session: the one table from its errors to the core's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from backends.errors import (
    AccessRefused,
    BackendError,
    DirectoryNotFound,
    InvalidProgram,
    NotProvided,
    NotSupported,
    OutOfResources,
    ShellNotFound,
    Unreachable,
    UserRefused,
)
from terminal_service.errors import (
    BackendRefused,
    BackendUnreachable,
    Forbidden,
    InvalidRequest,
    NotToBeHad,
    ServiceError,
    Unavailable,
    Unsupported,
)

_Refuse = Callable[[Any, str], ServiceError]

_REFUSALS: Mapping[type[BackendError], tuple[str, _Refuse]] = {
    ShellNotFound: ("ShellNotFound", lambda error, _: InvalidRequest("shell", str(error))),
    DirectoryNotFound: ("DirectoryNotFound", lambda error, _: InvalidRequest("cwd", str(error))),
    InvalidProgram: ("InvalidProgram", lambda error, _: InvalidRequest(error.field, error.reason)),
    UserRefused: ("UserRefused", lambda error, _: Forbidden(str(error))),
    OutOfResources: ("resources", lambda error, _: Unavailable(str(error))),
    NotSupported: ("NotSupported", lambda error, _: Unsupported("backend", str(error))),
    Unreachable: (
        "Unreachable",
        lambda error, backend: BackendUnreachable(backend, str(error), error.retry_after_seconds),
    ),
    AccessRefused: ("AccessRefused", lambda error, backend: BackendRefused(backend, str(error))),
    NotProvided: ("NotProvided", lambda error, backend: NotToBeHad(backend, str(error))),
    BackendError: ("other", lambda error, _: InvalidRequest("backend", str(error))),
}
"""By kind of error, the base class last: its name in metrics, and what the caller is told."""


def kind_of(error: BackendError) -> str:
    """Return the kind of an error, of which there are few: a label of metrics."""
    return _entry(error)[0]


def refusal_of(error: BackendError, backend: str) -> ServiceError:
    """Return what the caller is told of an error of this backend."""
    return _entry(error)[1](error, backend)


def _entry(error: BackendError) -> tuple[str, _Refuse]:
    return next(entry for kind, entry in _REFUSALS.items() if isinstance(error, kind))
