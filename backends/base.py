"""The contract of every backend: what it opens, what a PTY offers, how it ends. Its errors are in `errors`."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence


class Lost(enum.Enum):
    """Why an exit status could not be learned; never to be mistaken for exit 0."""

    LINK = "link_lost"
    NODE = "node_lost"
    HOLDER = "holder_lost"
    PLACE = "place_lost"
    """What it ran in was removed, evicted or stopped under it."""


@dataclass(frozen=True)
class ExitStatus:
    """How a program ended: an exit code, a signal, or not known because something was lost.

    Exactly one of `code`, `signal` and `lost` is set. `message` is a reason for people, if there is one
    (why a command could not be executed, say).
    """

    code: int | None = None
    signal: int | None = None
    lost: Lost | None = None
    message: str = ""


@dataclass(frozen=True)
class Capabilities:
    """What a backend can do beyond opening terminals; the rest is refused with NotSupported."""

    exec: bool = False
    """`abilities.Executor`."""
    files: bool = False
    """`abilities.Files`."""
    port_forwarding: bool = False
    """`abilities.Forwarder`."""
    stats: bool = False
    """`abilities.Meter`."""
    signals: bool = False
    """Any signal for the foreground programs."""
    reattach: bool = False
    """Programs run on without this process, and a lost link to them is taken up again with nothing lost."""
    snapshot: bool = False
    """`abilities.Snapshooter`."""
    pause: bool = False
    """`abilities.Pauser`."""


@dataclass(frozen=True)
class Notice:
    """Something that people at a session should know of the place where it runs."""

    kind: str
    """For programs: `progress`, `link_lost`, `link_back`, `link_given_up`, `ending_soon`, `warning`."""
    message: str
    """For people; without secrets."""
    fields: Mapping[str, object] = field(default_factory=dict)
    """More for programs, as JSON has it."""


def keep_quiet(_: Notice) -> None:
    """Tell nobody."""


@dataclass(frozen=True)
class Order:
    """What a session needs of the place where it is to run. None: as the backend's profile has it.

    What a backend cannot give, it refuses (InvalidProgram with the name of the field, as a caller knows it).
    """

    session_id: str
    owner: str = ""
    """Whose session it is: for labels, so that operators see whom something belongs to."""
    image: str | None = None
    cpus: float | None = None
    """Processors, 0.5 is half of one."""
    memory_bytes: int | None = None
    gpus: int | None = None
    lifetime_seconds: float | None = None
    """After so long it is over in any case; what was provisioned may remove itself then."""
    tell: Callable[[Notice], None] = keep_quiet
    """Called on the loop's thread while it is provisioned, and as long as the environment is open."""


@dataclass(frozen=True)
class Program:
    """What to run in a terminal: a named shell, or a command's own argv.

    `env` holds additions to the backend's allow-listed environment. In the value of variable NAME, `$NAME`
    and `${NAME}` stand for the value it would have had (`PATH=/opt/bin:$PATH`); nothing else is expanded.
    `session_id` is put into the environment as TERMINAL_SESSION_ID; a backend may add a mark of its own by
    which it knows the terminal's processes again. Neither can be overridden by `env`.

    `shell` None and `command` None: the backend's default shell. `cwd` None: the home directory. `rows` and
    `cols` are 1..65535, in characters. `user` None: the user the backend runs programs as.
    """

    session_id: str
    shell: str | None = None
    command: Sequence[str] | None = None
    cwd: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    rows: int = 24
    cols: int = 80
    user: str | None = None
    """The user of that machine to run as, whose home and shell are then the default ones."""
    note: str = ""
    """Kept with the program where that outlives this process, and given back as `Survivor.note`."""


@dataclass(frozen=True)
class Survivor:
    """A program that was started by an earlier process and runs on (or has ended meanwhile, unheard)."""

    session_id: str
    note: str
    """What was kept with it last; see `Pty.annotate`."""
    handle: object
    """The backend's own."""


class Sink(Protocol):
    """Where a PTY's output goes: the shape of `asyncio.BufferedProtocol`, plus `drained`.

    A backend either fills the sink's own memory (`get_buffer`, `buffer_updated`) or pushes (`data_received`).
    It calls `drained` when there is nothing more to read now, so that a batch is delivered once.
    All calls are made on the event loop's thread.
    """

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return writable memory of at least one byte; valid until the next call of this, or `drained`."""
        ...

    def buffer_updated(self, nbytes: int) -> None:
        """Take the next `nbytes` of the memory last returned: several reads may fill it, one behind the other."""
        ...

    def data_received(self, data: bytes | bytearray | memoryview) -> None:
        """Take a copy of `data`."""
        ...

    def drained(self) -> None:
        """Deliver what was taken: nothing more is waiting at the moment."""
        ...

    def resume_writing(self) -> None:
        """Learn that a `write` that was refused or cut short may be tried again.

        Also called, if a write was cut short, when the program has ended: what is left to write is then taken; and
        when less is `Pty.unconfirmed` than was.
        """
        ...


class Pty(Protocol):
    """One running program at a terminal.

    After the program has ended, and its last output (bounded in time) has reached the sink, `wait` returns;
    from then on every other call does nothing. Closing twice is harmless.
    """

    @property
    def pid(self) -> int | None:
        """Process id where it runs, if there is such a thing."""
        ...

    @property
    def written(self) -> int:
        """How many bytes of input it has ever taken by `write`, by whichever process: not one more or less.

        Where programs outlive this process it is exact whenever that one was killed. (Where a system cannot say
        so exactly, the 4 KiB it may have been writing in that moment count as taken.) Not counted is what a
        program that is gone takes, nor the key of `interrupt`.
        """
        ...

    @property
    def unconfirmed(self) -> int:
        """How many of the bytes `written` are on their way to a place where programs outlive this process.

        They are lost if it is killed now. The sink's `resume_writing` is called when they have become fewer.
        """
        ...

    def write(self, data: bytes | memoryview) -> int:
        """Write without blocking; return how many bytes the terminal took (0: full).

        After a return smaller than `len(data)` the sink's `resume_writing` is called once there is room.
        A program that is gone takes everything (nobody will ever read it).
        """
        ...

    def interrupt(self) -> bool:
        """Do what the terminal's interrupt key does, ahead of all queued input, if that is switched on.

        Input the program has not read yet is discarded, as the key does. Return False where the key is an
        ordinary byte now (raw mode): then it must be written instead, in its turn.
        """
        ...

    def resize(self, rows: int, cols: int) -> None:
        """Set the size of the terminal; the program is told."""
        ...

    def signal(self, signum: int) -> None:
        """Send a signal to the terminal's foreground process group.

        Raises ProcessLookupError if there is none, PermissionError if it belongs to another user (sudo), and
        ValueError for a signal that the place it runs does not have.
        """
        ...

    def pause_reading(self) -> None:
        """Stop reading: the program feels a full terminal once the system's buffer is full.

        Has no effect any more once the program has ended: its last output is delivered regardless.
        """
        ...

    def resume_reading(self) -> None:
        """Read again."""
        ...

    async def wait(self) -> ExitStatus:
        """Wait for the end of the program and of its output; may be awaited by many."""
        ...

    def annotate(self, note: str) -> None:
        """Keep a note with the program, in place of the last; nothing where programs end with this process."""
        ...

    async def detach(self) -> None:
        """Let go of the program, which runs on for a later process's `Environment.adopt`, and read no more of it.

        Where it cannot run on (`Capabilities.reattach`) this does nothing. Whoever waits is cancelled.
        """
        ...

    async def close(self, grace_seconds: float) -> None:
        """End the whole process tree: HUP, then TERM, then KILL, each after `grace_seconds`; then release all."""
        ...


class Environment(Protocol):
    """What a backend provisioned for one session."""

    async def spawn(self, program: Program, sink: Sink) -> Pty:
        """Start a program at a new terminal; its output may reach the sink before this returns.

        A command that cannot be executed is no error here: the reason goes to the sink as output and the exit
        code is 127 (not found) or 126 (found, not executable). Raises ShellNotFound, DirectoryNotFound,
        InvalidProgram, UserRefused, OutOfResources; then nothing was started. Cancelled: what was started is ended.
        """
        ...

    async def adopt(self, survivor: Survivor, sink: Sink, position: int = 0) -> Pty:
        """Take over a program of an earlier process; what it has printed since goes to the sink first.

        `position`: how many bytes of its output the sink has had, for backends that are asked for the rest.
        Raises BackendError: it cannot be had.
        """
        ...

    async def close(self) -> None:
        """End the terminals still open and release what was provisioned; closing twice is harmless."""
        ...


class Backend(Protocol):
    """A place where programs can run."""

    @property
    def name(self) -> str:
        """The name clients ask for."""
        ...

    @property
    def capabilities(self) -> Capabilities:
        """What it can do."""
        ...

    async def shells(self, user: str | None = None) -> Sequence[str]:
        """Names of the shells that exist there now, a user's default first (a look at a disk, or over a link).

        Raises UserRefused.
        """
        ...

    async def open(self, order: Order) -> Environment:
        """Provision an environment for a session, or take up the one that an earlier process provisioned for it.

        It may take minutes; how far it is is told. Cancelled, or raising BackendError: nothing of it is left.
        """
        ...

    async def check(self) -> None:
        """See whether sessions could be opened here now (a look over the network). Raises BackendError: why not."""
        ...

    async def survivors(self) -> Sequence[Survivor]:
        """Return what earlier processes left running on this machine; empty where nothing can. Raises BackendError."""
        ...

    async def recall(self, session_id: str) -> Survivor | None:
        """Return what an earlier process left running elsewhere for this session, without looking; None: nothing.

        Whether it is still there `adopt` finds out, which may take as long as the place is out of reach.
        """
        ...

    async def sweep(self, living: Collection[str]) -> None:
        """Remove what this service has provisioned for sessions that are not among the living ones (their ids).

        Nothing of other services or nodes, unless its own time is over. Raises BackendError; may be called again.
        """
        ...

    async def stop(self) -> None:
        """End what would keep programs running beyond this process: all of them have ended. Raises BackendError."""
        ...

    async def close(self) -> None:
        """Release everything; environments have been closed before, or their terminals detached."""
        ...
