"""What a session has on a host: terminals, commands, files, ports."""

from __future__ import annotations

import asyncio
import errno
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast

import asyncssh

from backends.base import Notice, Program
from backends.environment import MARK, check_text, child_environment
from backends.errors import (
    AccessRefused,
    BackendError,
    DirectoryNotFound,
    InvalidProgram,
    NotSupported,
    ShellNotFound,
    Unreachable,
    UserRefused,
)
from backends.executable import NOT_EXECUTABLE, NOT_FOUND, CannotExecute, printable
from backends.failed_pty import tell_failure
from backends.ssh.execution import FailedExecution, SshExecution
from backends.ssh.files import SshFiles
from backends.ssh.forward import ForwardedConnection
from backends.ssh.pool import WINDOW_BYTES
from backends.ssh.profile import check_place
from backends.ssh.pty import SshPty
from backends.ssh.script import start_line

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from backends.abilities import Command, Connection, Execution
    from backends.base import Order, Pty, Sink, Survivor
    from backends.ssh.host import Host
    from backends.ssh.link import Link
    from backends.ssh.pool import SshPool
    from backends.ssh.program import ProgramSession, Report

_Streams: TypeAlias = "tuple[asyncssh.SSHReader[bytes], asyncssh.SSHWriter[bytes]]"
_Session = TypeVar("_Session", SshPty, SshExecution)

_GRACE_SECONDS = 1.0

_MAX_SIZE = 0xFFFF
_OWN_NAMES = frozenset({"TERM", "TERMINAL_SESSION_ID", "PATH", MARK})
"""Set otherwise than by being asked for: with the terminal, and by the line that starts a program."""

_MODES = {
    asyncssh.PTY_VINTR: 3,
    asyncssh.PTY_VQUIT: 28,
    asyncssh.PTY_VERASE: 127,
    asyncssh.PTY_VKILL: 21,
    asyncssh.PTY_VEOF: 4,
    asyncssh.PTY_VSUSP: 26,
    asyncssh.PTY_ICRNL: 1,
    asyncssh.PTY_IXON: 1,
    asyncssh.PTY_IUTF8: 1,
    asyncssh.PTY_ISIG: 1,
    asyncssh.PTY_ICANON: 1,
    asyncssh.PTY_ECHO: 1,
    asyncssh.PTY_ECHOE: 1,
    asyncssh.PTY_ECHOK: 1,
    asyncssh.PTY_ECHOCTL: 1,
    asyncssh.PTY_ECHOKE: 1,
    asyncssh.PTY_IEXTEN: 1,
    asyncssh.PTY_OPOST: 1,
    asyncssh.PTY_ONLCR: 1,
    asyncssh.PTY_CS8: 1,
    asyncssh.PTY_OP_ISPEED: 38400,
    asyncssh.PTY_OP_OSPEED: 38400,
}
"""As terminals on Linux begin (RFC 4254, 8; IUTF8: RFC 8160)."""

_LOGIN = "--login"
"""A profile may replace the PATH: not given where one was asked for."""

_SHELL_ARGUMENTS: Mapping[str, Sequence[str]] = {"bash": [_LOGIN], "zsh": [_LOGIN], "pwsh": ["-NoLogo"]}
"""As on the service's own machine (backends/shells.py): those that read no profile otherwise."""


class SshEnvironment:
    """The programs of one session on one host."""

    def __init__(
        self, pool: SshPool, order: Order, *, term: str = "xterm-256color", allows: Callable[[str], bool] = bool
    ) -> None:
        """Start with none. `allows` tells whether a variable may be asked for."""
        self._pool = pool
        self._order = order
        self._term = term
        self._allows = allows
        self._open: set[SshPty | SshExecution] = set()
        self._forwarded: set[ForwardedConnection] = set()

    async def spawn(self, program: Program, sink: Sink) -> Pty:
        """Start a program at a terminal; see `Environment.spawn`."""
        if not all(1 <= length <= _MAX_SIZE for length in (program.rows, program.cols)):
            raise InvalidProgram("size", f"rows and cols are 1 to {_MAX_SIZE}")
        pty = SshPty(sink, self._pool, self._open.discard)
        start = await self._plan(program, pty.token)
        terminal = {
            "request_pty": "force",
            "term_type": start.environment["TERM"],
            "term_size": (program.cols, program.rows),
            "term_modes": _MODES,
        }
        try:
            await self._start(pty, start, terminal)
        except CannotExecute as failure:
            return tell_failure(failure, sink)
        return pty

    async def execute(self, command: Command) -> Execution:
        """Run a command; see `Executor.execute`."""
        program = Program(
            self._order.session_id, command=command.argv, cwd=command.cwd, env=command.env, user=command.user
        )
        execution = SshExecution(self._pool, self._open.discard)
        start = await self._plan(program, execution.token)
        try:
            await self._start(execution, start, {"request_pty": False})
        except CannotExecute as failure:
            return FailedExecution(failure)
        return execution

    def files(self) -> SshFiles:
        """Return what works on the host's files."""
        return SshFiles(self._pool, self._order.tell)

    async def connect(self, port: int, host: str = "localhost") -> Connection:
        """Connect to a port as the host does; see `Forwarder.connect`."""
        try:
            check_place(host, port)
        except ValueError as error:
            raise InvalidProgram("host", str(error)) from None

        async def make(connection: asyncssh.SSHClientConnection) -> _Streams:
            return await connection.open_connection(host, port, encoding=None, window=WINDOW_BYTES)

        try:
            link, (reader, writer) = await self._pool.forward(make, tell=self._order.tell, discard=_drop)
        except asyncssh.ChannelOpenError as error:
            if error.code == asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED:
                raise AccessRefused(f"{self._pool.place} forwards no connections for us: {error.reason}") from None
            raise Unreachable(f"{host}:{port} cannot be reached from {self._pool.place}: {error.reason}") from None
        forwarded = ForwardedConnection(reader, writer, lambda: self._hang_up(forwarded, link))
        self._forwarded.add(forwarded)
        return forwarded

    async def adopt(self, survivor: Survivor, sink: Sink, position: int = 0) -> Pty:  # noqa: ARG002
        """Refuse: programs end with their connection."""
        raise NotSupported("ssh", "reattach")

    async def close(self) -> None:
        """End all that is still open, at the same time."""
        async with asyncio.TaskGroup() as closing:
            for forwarded in list(self._forwarded):
                closing.create_task(forwarded.close())
            for each in list(self._open):
                closing.create_task(each.close(_GRACE_SECONDS) if isinstance(each, SshPty) else each.close())

    def _hang_up(self, forwarded: ForwardedConnection, link: Link) -> None:
        self._forwarded.discard(forwarded)
        self._pool.release(link, forward=True)

    async def _plan(self, program: Program, token: str) -> _Start:
        """Check what is to be started. Raises ShellNotFound, InvalidProgram, UserRefused, BackendError."""
        if program.user not in (None, self._pool.hop.user):
            raise UserRefused(program.user or "", f"sessions here run as {self._pool.hop.user!r}")
        check_text("cwd", program.cwd or "")
        child_environment({}, program, token)  # before anything is asked over the network
        if program.command is not None:
            _check_command(program.command)
        host = await self._pool.host()
        base = {**host.variables, "TERM": self._term}
        environment = child_environment(base, program, token) | ({} if "TERM" in program.env else {"TERM": self._term})
        argv = list(program.command) if program.command is not None else _shell(program, host)
        return _Start(argv, program.cwd or "", environment, tuple(program.env), host.shell)

    async def _start(self, session: _Session, start: _Start, terminal: Mapping[str, Any]) -> None:
        """Start a program. Raises CannotExecute, DirectoryNotFound, BackendError; then nothing is left of it."""
        tty: bool = bool(terminal["request_pty"])
        wanted = {name for name in (*start.names, *(["COLORTERM"] if tty else [])) if name not in _OWN_NAMES}
        sent = {name: start.environment[name] for name in sorted(wanted) if self._allows(name)}
        line = start_line(
            start.argv,
            nonce=session.nonce,
            mark=session.token,
            session=self._order.session_id,
            cwd=start.cwd,
            names=[name for name in start.names if name not in _OWN_NAMES],
            tty=tty,
            path=start.environment["PATH"] if "PATH" in start.names else "",
            shell=start.shell,
        )
        await self._open_session(session, line, {**terminal, "env": _encoded(sent)})
        self._open.add(session)
        try:
            report = await self._hear(session)
        except asyncio.CancelledError:
            self._pool.start(_discard(session), "ssh: end a program that nobody waits for")
            raise
        _judge(report, start)
        if len(report.words) > 1:
            message = f"{self._pool.place} does not accept these variables: {', '.join(report.words[1:])}"
            self._order.tell(Notice("warning", message, {"variables": report.words[1:]}))

    async def _open_session(self, session: _Session, line: str, options: Mapping[str, Any]) -> None:
        async def make(connection: asyncssh.SSHClientConnection) -> _Session:
            await connection.create_session(
                lambda: session,
                cast("str", line.encode("utf-8", "surrogateescape")),  # it is sent as it is
                encoding=None,
                window=WINDOW_BYTES,
                **options,
            )
            return session

        try:
            link, _ = await self._pool.open(make, tell=self._order.tell, discard=_abort)
        except asyncssh.ChannelOpenError as error:
            raise self._refused(error) from None
        session.hold(link)

    async def _hear(self, session: _Session) -> Report:
        """Wait until the host says what the start came to. Raises BackendError."""
        try:
            async with asyncio.timeout(self._pool.timing.connect):
                return await asyncio.shield(session.report)
        except TimeoutError:
            _abort(session)
            seconds = self._pool.timing.connect
            raise Unreachable(f"{self._pool.place} did not start the program within {seconds:g} s") from None

    def _refused(self, error: asyncssh.ChannelOpenError) -> BackendError:
        place, user = self._pool.place, self._pool.hop.user
        if error.code == asyncssh.OPEN_REQUEST_PTY_FAILED:
            return AccessRefused(f"{place} gives user {user!r} no terminal (PermitTTY in its sshd_config?)")
        return AccessRefused(f"{place} starts no program for user {user!r}: {error.reason}")


@dataclass(frozen=True)
class _Start:
    """A program that is ready to be started."""

    argv: Sequence[str]
    cwd: str
    environment: Mapping[str, str]
    names: Sequence[str]
    """The variables that were asked for."""
    shell: str


def _judge(report: Report, start: _Start) -> None:
    """Raise what a start came to, unless it has started."""
    number = getattr(errno, report.word, None)
    if report.kind == "directory":
        raise DirectoryNotFound(start.cwd, os.strerror(number or errno.ENOENT))
    if report.kind == "command":
        word = printable(start.argv[0])
        if number is None:
            raise CannotExecute(NOT_FOUND, f"{word}: command not found")
        raise CannotExecute(NOT_FOUND if number == errno.ENOENT else NOT_EXECUTABLE, f"{word}: {os.strerror(number)}")


def _check_command(command: Sequence[str]) -> None:
    if not command or not command[0]:
        raise InvalidProgram("command", "has no program to execute")
    for index, word in enumerate(command):
        check_text(f"command[{index}]", word)


def _shell(program: Program, host: Host) -> list[str]:
    """Return the argv of a shell, the user's own for None. Raises ShellNotFound."""
    name = program.shell or next(iter(host.shells), "sh")
    path = host.shells.get(name)
    if path is None:
        raise ShellNotFound(name, list(host.shells))
    arguments = _SHELL_ARGUMENTS.get(name, ())
    return [path, *(each for each in arguments if not (each == _LOGIN and "PATH" in program.env))]


def _encoded(variables: Mapping[str, str]) -> dict[bytes, bytes]:
    return {
        name.encode("utf-8", "surrogateescape"): value.encode("utf-8", "surrogateescape")
        for name, value in variables.items()
    }


def _abort(session: ProgramSession) -> None:
    if session.channel is not None:
        session.channel.abort()


def _drop(streams: _Streams) -> None:
    streams[1].channel.abort()


async def _discard(session: SshPty | SshExecution) -> None:
    """End a program once it has started."""
    try:
        await session.report
    except BackendError:
        return
    await (session.close(0.0) if isinstance(session, SshPty) else session.close())
