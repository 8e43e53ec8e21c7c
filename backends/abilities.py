"""What environments of some backends can do beside terminals: contracts, one for each capability.

An environment that declares a capability (`backends.base.Capabilities`) has the methods of the protocol named there.
Whoever calls one asks the capability first; `require` does both.

Errors::

    BackendError
    └── FileError   a file operation failed; says on which path and why
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeVar, cast

from backends.errors import BackendError, NotSupported

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Mapping, Sequence

    from backends.base import Backend, Environment, ExitStatus

_Ability = TypeVar("_Ability")


@dataclass(frozen=True)
class Command:
    """A program to run once, without a terminal. None: as for a terminal's program."""

    argv: Sequence[str]
    cwd: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    user: str | None = None


class Channel(enum.IntEnum):
    """Where a command printed something."""

    STDOUT = 1
    STDERR = 2


class Execution(Protocol):
    """A command that runs. It has one reader; what is not read holds the command up and fills no memory here."""

    def __aiter__(self) -> AsyncIterator[tuple[Channel, bytes]]:
        """Yield what it prints, until both its channels are closed. Raises Unreachable: the link is lost."""
        ...

    async def write(self, data: bytes) -> None:
        """Give it input; returns when more may be given. A command that is gone takes everything."""
        ...

    async def close_input(self) -> None:
        """Let it read the end of its input. Raises NotSupported: only ending the command does that here."""
        ...

    async def wait(self) -> ExitStatus:
        """Return how it ended, once its output was read. A lost link is never exit 0."""
        ...

    async def close(self) -> None:
        """End it if it still runs (its processes too, as far as they can be found), and release all. Harmless twice."""
        ...


class Executor(Protocol):
    """Runs commands: capability `exec`."""

    async def execute(self, command: Command) -> Execution:
        """Start a command. One that cannot be executed ends with 127 or 126, and says why on STDERR.

        Raises BackendError.
        """
        ...


class FileKind(enum.Enum):
    """What is at a path."""

    FILE = "file"
    DIRECTORY = "directory"
    LINK = "link"
    OTHER = "other"


class FileTrouble(enum.Enum):
    """Why a file operation failed."""

    MISSING = "missing"
    EXISTS = "exists"
    DENIED = "denied"
    WRONG_KIND = "wrong_kind"
    """A directory where a file was needed, or the reverse."""
    NOT_EMPTY = "not_empty"
    FULL = "full"
    FAILED = "failed"


@dataclass(eq=False)
class FileError(BackendError):
    """A file operation failed; nothing else has changed."""

    path: str
    trouble: FileTrouble
    reason: str

    def __str__(self) -> str:
        """Name the path and the reason."""
        return f"{self.path}: {self.reason}"


@dataclass(frozen=True)
class FileInfo:
    """What is known of a file without reading it."""

    path: str
    kind: FileKind
    size: int
    """In bytes."""
    mode: int
    """Permission bits."""
    modified_at: float
    """Wall-clock seconds of that machine."""
    target: str = ""
    """Where a link points."""


class Files(Protocol):
    """Files where the session runs: capability `files`. Paths are absolute, or begin at the home directory."""

    async def stat(self, path: str) -> FileInfo:
        """Tell what is at a path (of a link: the link). Raises FileError, BackendError; so do the others."""
        ...

    async def list(self, path: str) -> Sequence[FileInfo]:
        """Tell what is in a directory, sorted by name."""
        ...

    def read(self, path: str, *, offset: int = 0) -> AsyncIterator[bytes]:
        """Yield a file's bytes in pieces of at most 256 KiB."""
        ...

    async def write(self, path: str, pieces: AsyncIterable[bytes], *, mode: int = 0o644) -> int:
        """Put these bytes in place of a file, at once when all are there; return how many. Its directory must exist.

        Behind a link it is the file there, and the link stays.
        """
        ...

    async def make_directory(self, path: str, *, parents: bool = False) -> None:
        """Make a directory; with `parents` also those above, and it may exist."""
        ...

    async def remove(self, path: str, *, recursive: bool = False) -> None:
        """Remove a file, a link, an empty directory, or with `recursive` a directory with all in it."""
        ...

    async def rename(self, path: str, target: str) -> None:
        """Move a file or directory; a file at the target is replaced by a file, and a directory by nothing."""
        ...


class FileKeeper(Protocol):
    """Has files: capability `files`."""

    def files(self) -> Files:
        """Return what works on them."""
        ...


class Connection(Protocol):
    """Bytes to and from somewhere; every error of it is an OSError. `backends.durable.wire.Stream` with half-close."""

    async def read(self) -> bytes:
        """Return what has arrived, waiting for at least one byte; b"" at the end."""
        ...

    async def write(self, data: bytes) -> None:
        """Send all of it; return when more may be given."""
        ...

    async def write_eof(self) -> None:
        """Send no more; what comes may still be read. Where that is not known nothing happens."""
        ...

    async def close(self) -> None:
        """Release everything, without waiting for the other side. Harmless twice."""
        ...


class Forwarder(Protocol):
    """Reaches TCP ports as programs of the session do: capability `port_forwarding`."""

    async def connect(self, port: int, host: str = "localhost") -> Connection:
        """Connect to a port there. Raises Unreachable (nothing listens, say), AccessRefused, NotSupported."""
        ...


@dataclass(frozen=True)
class Stats:
    """What an environment uses. None: not known there."""

    cpu_seconds: float | None = None
    """Processor time since it began."""
    cpus: float | None = None
    """Processors in use now, on average over a short time."""
    cpus_limit: float | None = None
    memory_bytes: int | None = None
    memory_limit_bytes: int | None = None
    processes: int | None = None
    received_bytes: int | None = None
    sent_bytes: int | None = None


class Meter(Protocol):
    """Knows what is used: capability `stats`."""

    async def stats(self) -> Stats:
        """Measure now. Raises BackendError."""
        ...


class Snapshooter(Protocol):
    """Keeps the environment's file system as an image: capability `snapshot`."""

    async def snapshot(self, name: str) -> str:
        """Make an image of what is there now; return the name by which sessions ask for it. Raises BackendError."""
        ...


class Pauser(Protocol):
    """Stops all programs of the environment and lets them go on: capability `pause`."""

    async def pause(self) -> None:
        """Stop them all where they are; twice is harmless. Raises BackendError."""
        ...

    async def unpause(self) -> None:
        """Let them go on; twice is harmless. Raises BackendError."""
        ...


_CAPABILITIES = {
    Executor: "exec",
    FileKeeper: "files",
    Forwarder: "port_forwarding",
    Meter: "stats",
    Snapshooter: "snapshot",
    Pauser: "pause",
}


def require(backend: Backend, environment: Environment, ability: type[_Ability]) -> _Ability:
    """Return the environment as one that can do this. Raises NotSupported, naming the capability."""
    capability = _CAPABILITIES[ability]
    if not getattr(backend.capabilities, capability):
        raise NotSupported(backend.name, capability)
    return cast("_Ability", environment)
