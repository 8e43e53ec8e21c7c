"""What backends refuse, and why; every message is fit for users.

::

    BackendError
    ├── ShellNotFound      the named shell is not here; lists those that are
    ├── DirectoryNotFound  the working directory cannot be entered
    ├── InvalidProgram     the program's description cannot be passed to a system at all (a NUL byte, say)
    ├── UserRefused        the program may not run as the user it is to run as
    ├── OutOfResources     no PTY, descriptor, process or memory left: try again later
    ├── NotSupported       this backend cannot do that at all
    ├── Unreachable        the place is not to be had now: host down, name unknown, server failing; try again later
    ├── AccessRefused      the place does not let this service in, or is not the one it should be: its operator must act
    ├── NotProvided        what the session needs could not be provided: image missing, cannot be scheduled, quota
    └── PlaceGone          what it ran in was removed, evicted or stopped
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class BackendError(Exception):
    """A backend could not do what was asked; the message is fit for the user."""


@dataclass(eq=False)
class ShellNotFound(BackendError):
    """The shell asked for does not exist where the backend runs."""

    shell: str
    available: Sequence[str]

    def __str__(self) -> str:
        """Name the shell and those that could be asked for instead."""
        return f"shell {self.shell!r} is not available here; available: {', '.join(self.available) or 'none'}"


@dataclass(eq=False)
class DirectoryNotFound(BackendError):
    """The working directory does not exist, is no directory, or may not be entered."""

    cwd: str
    reason: str

    def __str__(self) -> str:
        """Name the directory and the system's reason."""
        return f"cannot enter directory {self.cwd!r}: {self.reason}"


@dataclass(eq=False)
class InvalidProgram(BackendError):
    """A field of the program can be handed to no system: a NUL byte, `=` in a name, no words at all."""

    field: str
    reason: str

    def __str__(self) -> str:
        """Name the field and what is wrong with it."""
        return f"{self.field}: {self.reason}"


@dataclass(eq=False)
class UserRefused(BackendError):
    """A program cannot run as this user: there is none, or what starts programs may not become them."""

    user: str
    reason: str

    def __str__(self) -> str:
        """Name the user and why."""
        return f"cannot run as user {self.user!r}: {self.reason}"


@dataclass(eq=False)
class OutOfResources(BackendError):
    """The system has no PTY, descriptor, process or memory left; nothing was started."""

    reason: str

    def __str__(self) -> str:
        """Give the system's reason."""
        return f"out of resources: {self.reason}"


@dataclass(eq=False)
class NotSupported(BackendError):
    """This backend cannot do what was asked, now or ever."""

    backend: str
    what: str
    """As a capability is called where they are listed: `files`, `snapshot`."""

    def __str__(self) -> str:
        """Name the backend and what it cannot do."""
        return f"backend {self.backend!r} does not support {self.what}"


@dataclass(eq=False)
class Unreachable(BackendError):
    """The place where it would run cannot be reached, or fails; nothing was started, and later it may work."""

    reason: str
    retry_after_seconds: float | None = None
    """When to try again, if that is known."""

    def __str__(self) -> str:
        """Give the reason."""
        return self.reason


@dataclass(eq=False)
class AccessRefused(BackendError):
    """The place refused this service (key, password, token, rights), or is not what it should be (host key)."""

    reason: str

    def __str__(self) -> str:
        """Give the reason, without secrets."""
        return self.reason


@dataclass(eq=False)
class NotProvided(BackendError):
    """What a session was to run in could not be had; what there was of it has been removed."""

    reason: str

    def __str__(self) -> str:
        """Give the reason."""
        return self.reason


class PlaceGone(BackendError):
    """What programs ran in was removed, evicted or stopped; the message is why."""
