"""Shells and commands on this machine, wherever it is POSIX."""

from __future__ import annotations

import asyncio
import errno
import os
import pwd
import resource
import secrets
import stat
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from backends.base import (
    Capabilities,
    DirectoryNotFound,
    InvalidProgram,
    OutOfResources,
)
from backends.environment import check_text, child_environment, posix_base
from backends.executable import CannotExecute, exec_failed, find_executable, is_text
from backends.failed_pty import tell_failure
from backends.fork import EXHAUSTED, ExecError, Forked, discard, fork
from backends.local_pty import LocalPty, Patience
from backends.process_table import ProcessTable
from backends.process_tree import ProcessTree
from backends.shells import available_shells, shell_command

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from backends.base import Program, Pty, Sink

_MAX_SIZE = 0xFFFF  # struct winsize holds unsigned shorts


@dataclass(frozen=True)
class _Place:
    """What all terminals of a backend share."""

    environment: Mapping[str, str]
    launcher: ThreadPoolExecutor
    processes: ProcessTable
    patience: Patience
    pidfd: bool
    limits: Limits


@dataclass(frozen=True)
class Limits:
    """How many files may be open. None and 0: no matter."""

    inherited: int | None = None
    """The soft limit that children get, where the service has raised its own."""
    reserve: int = 0
    """How many descriptors starting a program leaves free: for viewers, for requests, and to end sessions with."""


class PosixBackend:
    """This machine, as the user the service runs as. Used on one event loop; `close` ends its two threads.

    `environment` is where the allow-listed variables of every child are taken from; nothing below reads the
    process's own. Starting a program (fork, exec, a look at PATH) takes turns in one thread: a file system that
    hangs holds up the starts after it, and nothing else.
    """

    name = "local"
    capabilities = Capabilities(signals=True)

    def __init__(
        self,
        environment: Mapping[str, str],
        *,
        patience: Patience = Patience(),  # noqa: B008 - frozen
        pidfd: bool = True,
        limits: Limits = Limits(),
    ) -> None:
        """Keep what is needed; reads the user database once. `pidfd=False`: watch exits by threads."""
        user = pwd.getpwuid(os.geteuid())
        self._place = _Place(
            environment=posix_base(environment, user=user.pw_name, home=user.pw_dir, shell=user.pw_shell),
            launcher=ThreadPoolExecutor(1, thread_name_prefix="launcher"),
            processes=ProcessTable(),
            patience=patience,
            pidfd=pidfd,
            limits=limits,
        )

    async def shells(self) -> Sequence[str]:
        """Return the known shells on PATH, the user's own first."""
        return await asyncio.to_thread(available_shells, self._place.environment)

    async def open(self, session_id: str) -> PosixEnvironment:
        """Return an environment: nothing is provisioned. Raises OutOfResources (no thread left)."""
        check_text("session_id", session_id)
        try:
            # Now, because `submit` queues the work even when it cannot start the thread; and so that terminals
            # can be ended when there are no threads left to be had.
            await asyncio.wrap_future(self._place.launcher.submit(os.getpid))
            await self._place.processes.start()
        except (RuntimeError, OSError) as error:
            raise OutOfResources(str(error)) from None
        return PosixEnvironment(self._place)

    async def close(self) -> None:
        """Let the threads, idle by now, end."""
        self._place.launcher.shutdown(wait=False)
        self._place.processes.close()


class PosixEnvironment:
    """The terminals of one session on this machine."""

    def __init__(self, place: _Place) -> None:
        """Start with none."""
        self._place = place
        self._open: set[LocalPty] = set()

    async def spawn(self, program: Program, sink: Sink) -> Pty:
        """Start a program; see `Environment.spawn`. argv[0] is the path of the file that is executed."""
        mark = secrets.token_hex(16)
        place = self._place
        launch = place.launcher.submit(_launch, program, place.environment, mark, place.limits)
        try:
            forked = await asyncio.wrap_future(launch)
        except asyncio.CancelledError:
            self._place.launcher.submit(_discard, launch)  # after it, in the one thread
            raise
        except CannotExecute as failure:
            return tell_failure(failure, sink)
        tree = ProcessTree(self._place.processes, forked.pid, mark)
        try:
            pty = LocalPty(forked, sink, tree, self._place.patience, pidfd=self._place.pidfd)
        except OSError as error:
            await asyncio.wrap_future(self._place.launcher.submit(discard, forked))
            if error.errno in EXHAUSTED:
                raise OutOfResources(os.strerror(error.errno)) from None
            raise
        self._open.add(pty)
        pty.when_over(self._open.discard)
        return pty

    async def close(self) -> None:
        """End all terminals that are still open, at the same time."""
        async with asyncio.TaskGroup() as closing:
            for pty in list(self._open):
                closing.create_task(pty.close(self._place.patience.leftover))


def _discard(launch: Future[Forked]) -> None:
    """End what a cancelled spawn has started."""
    if not launch.cancelled() and launch.exception() is None:
        discard(launch.result())


def _launch(program: Program, base: Mapping[str, str], mark: str, limits: Limits) -> Forked:
    """Check and start a program, in the launcher's thread.

    Raises CannotExecute, ShellNotFound, DirectoryNotFound, InvalidProgram, OutOfResources.
    """
    environment = child_environment(base, program, mark)
    if program.command is None:
        command = shell_command(program.shell, environment, keeps_path="PATH" in program.env)
    else:
        command = list(program.command)
        _check_command(command)
    size = (program.rows, program.cols)
    if not all(1 <= length <= _MAX_SIZE for length in size):
        raise InvalidProgram("size", f"rows and cols are 1 to {_MAX_SIZE}")
    cwd = _directory(program.cwd, environment["HOME"])
    _check_reserve(limits.reserve)
    word, *arguments = command
    file = find_executable(word, path=environment["PATH"], cwd=cwd)
    try:
        return fork(file, arguments, cwd=cwd, env=environment, size=size, descriptors=limits.inherited)
    except ExecError as error:
        if error.number in EXHAUSTED:
            raise OutOfResources(str(error)) from None
        if error.number != errno.ENOEXEC or not is_text(file):
            raise exec_failed(word, file, error.number) from None
    try:
        return fork(
            "/bin/sh", [file, *arguments], cwd=cwd, env=environment, size=size, descriptors=limits.inherited
        )  # as execvp(3) does
    except ExecError as error:
        raise exec_failed(word, "/bin/sh", error.number) from None


def _check_reserve(reserve: int) -> None:
    """Raise OutOfResources if fewer descriptors than that would be left."""
    if not reserve:
        return
    try:
        lowest = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise OutOfResources(os.strerror(error.errno or errno.EMFILE)) from None
    os.close(lowest)  # POSIX gives the lowest that is free: all below are in use
    if lowest > resource.getrlimit(resource.RLIMIT_NOFILE)[0] - reserve:
        raise OutOfResources(f"{os.strerror(errno.EMFILE)}: the last {reserve} descriptors are for what is there")


def _check_command(command: Sequence[str]) -> None:
    if not command or not command[0]:
        raise InvalidProgram("command", "has no program to execute")
    for index, word in enumerate(command):
        check_text(f"command[{index}]", word)


def _directory(cwd: str | None, home: str) -> str:
    """Return the absolute working directory; raises DirectoryNotFound. A relative one starts at home.

    Without a home that can be entered the default is the root directory, as for login(1).
    """
    try:
        return _enterable(home if cwd is None else os.path.join(home, cwd))  # noqa: PTH118 - keeps `..` for the kernel
    except DirectoryNotFound:
        if cwd is not None:
            raise
        return "/"


def _enterable(directory: str) -> str:
    check_text("cwd", directory)
    try:
        mode = os.stat(directory).st_mode  # noqa: PTH116 - a path as it was written
    except OSError as error:
        raise DirectoryNotFound(directory, os.strerror(error.errno or errno.ENOENT)) from None
    if not stat.S_ISDIR(mode):
        raise DirectoryNotFound(directory, os.strerror(errno.ENOTDIR))
    if not os.access(directory, os.X_OK):
        raise DirectoryNotFound(directory, os.strerror(errno.EACCES))
    return directory
