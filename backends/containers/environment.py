"""One session's container, and what can be done in it."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from backends.base import ExitStatus, Program
from backends.containers import scripts
from backends.containers.box import Start
from backends.containers.execution import ContainerExecution
from backends.containers.forward import connect_from
from backends.containers.pty import ContainerPty
from backends.containers.snapshot import commit
from backends.containers.trouble import told
from backends.containers.usage import Usage
from backends.environment import check_text, child_environment
from backends.errors import BackendError, DirectoryNotFound, InvalidProgram, NotProvided, UserRefused
from backends.executable import NOT_EXECUTABLE, NOT_FOUND, CannotExecute, printable
from backends.failed_pty import tell_failure
from backends.files.by_commands import ExecFiles

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from backends.abilities import Command, Connection, Stats
    from backends.base import Pty, Sink, Survivor
    from backends.containers.box import Box
    from backends.containers.look import Inside
    from backends.containers.preamble import Preamble
    from backends.containers.spec import Share

_MAX_SIZE = 0xFFFF  # struct winsize holds unsigned shorts
_START_SECONDS = 30.0
"""For the script that starts a program to say so; a machine that is overloaded may need seconds."""
_CLOSE_GRACE_SECONDS = 0.3

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Lease:
    """What is known of a session's container when it is made."""

    backend: str
    session_id: str
    user: str
    share: Share
    labels: Mapping[str, str]
    snapshots: str
    """The repository for them; "": none are made."""
    remove: Callable[[], Awaitable[None]]
    """Removes the container; raises nothing."""


class ContainerEnvironment:
    """The terminals and commands of one session, and its container, which goes when this is closed."""

    def __init__(self, lease: Lease, box: Box, inside: Inside) -> None:
        """Take a container that runs."""
        self._lease = lease
        self._backend = lease.backend
        self._session_id = lease.session_id
        self._user = lease.user
        self._box = box
        self._inside = inside
        self._usage = Usage(box, lease.share)
        self._open: set[ContainerPty | ContainerExecution] = set()
        self._closing = asyncio.Lock()
        self._is_closed = False
        self._is_paused = False

    async def spawn(self, program: Program, sink: Sink) -> Pty:
        """Start a program; see `Environment.spawn`. Raises NotProvided, too: the container is gone."""
        self._check(program)
        if program.command is None:
            command = self._inside.shell_command(program.shell, keeps_path="PATH" in program.env)
        else:
            command = _checked(program.command)
        token, mark = secrets.token_hex(8), secrets.token_hex(16)
        env = child_environment(self._inside.env, program, mark)
        pty = ContainerPty(self._box, sink, token=token, mark=mark, user=self._user)
        arguments = [token, str(program.rows), str(program.cols), program.cwd or ""]
        try:
            preamble = await self._launch(pty, Start(_launch(arguments, command), env, self._user, tty=True))
            if preamble.letter == "W":
                await pty.set_size(program.rows, program.cols)
                pty.go_on()
            pty.begin(_pid_of(preamble, command[0], program.cwd))
        except CannotExecute as failure:
            await pty.abandon()
            return tell_failure(failure, sink)
        except BaseException:
            await asyncio.shield(pty.abandon())
            raise
        self._open.add(pty)
        pty.when_over(self._open.discard)
        return pty

    async def execute(self, command: Command) -> ContainerExecution:
        """Start a command; see `Executor.execute`."""
        program = Program(self._session_id, command=command.argv, cwd=command.cwd, env=command.env, user=command.user)
        self._check(program)
        words = _checked(command.argv)
        token, mark = secrets.token_hex(8), secrets.token_hex(16)
        env = child_environment(self._inside.env, program, mark)
        del env["TERM"], env["COLORTERM"]
        execution = ContainerExecution(self._box, self._backend, token=token, mark=mark, user=self._user)
        start = Start(_launch([token, "0", "0", command.cwd or ""], words), env, self._user, tty=False)
        try:
            execution.begin(_pid_of(await self._launch(execution, start), words[0], command.cwd))
        except CannotExecute as failure:
            execution.fail(ExitStatus(code=failure.code, message=str(failure)))
            return execution
        except BaseException:
            await asyncio.shield(execution.abandon())
            raise
        self._open.add(execution)
        return execution

    async def _launch(self, started: ContainerPty | ContainerExecution, start: Start) -> Preamble:
        """Start an exec and return what its script says. Raises BackendError."""
        if self._is_closed:
            raise NotProvided("the session's container is gone: it was closed")
        started.connect(*await self._box.start(start, started))
        try:
            async with asyncio.timeout(_START_SECONDS):
                return await asyncio.shield(started.preamble)
        except TimeoutError:
            raise NotProvided(f"nothing was started in the container within {_START_SECONDS:g} s") from None
        except ValueError as error:
            reason = await self._box.find_end()
            raise NotProvided(
                reason or f"nothing can be started in the container: {str(error).strip()[:300]}"
            ) from None

    def _check(self, program: Program) -> None:
        if program.user not in (None, self._user, self._inside.user):
            raise UserRefused(program.user or "", f"programs run as {self._inside.user!r} here")
        if not all(1 <= length <= _MAX_SIZE for length in (program.rows, program.cols)):
            raise InvalidProgram("size", f"rows and cols are 1 to {_MAX_SIZE}")
        check_text("cwd", program.cwd or "")

    def files(self) -> ExecFiles:
        """Return what works on the container's files: by commands, because archives do not see what is on tmpfs."""
        return ExecFiles(self)

    async def connect(self, port: int, host: str = "localhost") -> Connection:
        """Connect to a port as the container's programs do; see `Forwarder.connect`."""
        return await connect_from(self, self._backend, host, port)

    async def stats(self) -> Stats:
        """Measure; see `Meter.stats`."""
        return await self._usage.measure()

    async def snapshot(self, name: str) -> str:
        """Make an image of the container's file system, without what is mounted there."""
        lease = self._lease
        return await commit(self._box, lease.snapshots, name, lease.labels, backend=self._backend)

    async def pause(self) -> None:
        """Freeze all programs."""
        if not self._is_paused:
            with told(self._box.daemon.address, "pause the container"):
                await self._box.container.pause()
            self._is_paused = True

    async def unpause(self) -> None:
        """Let them go on."""
        if self._is_paused:
            with told(self._box.daemon.address, "unpause the container"):
                await self._box.container.unpause()
            self._is_paused = False

    async def adopt(self, survivor: Survivor, sink: Sink, position: int = 0) -> Pty:  # noqa: ARG002
        """Never called: there are no survivors."""
        raise AssertionError("an exec cannot be attached to again")

    async def close(self) -> None:
        """End what runs and remove the container."""
        async with self._closing:
            if self._is_closed:
                return
            self._is_closed = True
            if self._is_paused:
                with contextlib.suppress(BackendError):
                    await self.unpause()
            await asyncio.gather(*(self._end(each) for each in list(self._open)))
            await self._lease.remove()

    async def _end(self, program: ContainerPty | ContainerExecution) -> None:
        try:
            if isinstance(program, ContainerPty):
                await program.close(_CLOSE_GRACE_SECONDS)
            else:
                await program.close()
        except BackendError as error:  # it ends with the container
            _log.info("a program was not ended", container=self._box.id[:12], error=str(error))


def _launch(arguments: Sequence[str], command: Sequence[str]) -> list[str]:
    return ["/bin/sh", "-c", scripts.LAUNCH, "sh", *arguments, *command]


def _checked(command: Sequence[str]) -> list[str]:
    if not command or not command[0]:
        raise InvalidProgram("command", "has no program to execute")
    for index, word in enumerate(command):
        check_text(f"command[{index}]", word)
    return list(command)


def _pid_of(preamble: Preamble, word: str, cwd: str | None) -> int:
    """Return the process id of what was started. Raises CannotExecute, DirectoryNotFound."""
    match preamble.letter:
        case "S" | "W":
            return int(preamble.text)
        case "N":
            raise CannotExecute(NOT_FOUND, f"{printable(word)}: {preamble.text}")
        case "X":
            raise CannotExecute(NOT_EXECUTABLE, f"{printable(word)}: {preamble.text}")
    raise DirectoryNotFound(cwd or "", preamble.text)
