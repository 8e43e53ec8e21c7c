"""Shells and commands on this machine, wherever it is POSIX."""

from __future__ import annotations

import asyncio
import errno
import os
import pwd
import resource
import secrets
import stat
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from backends.base import Capabilities, Survivor
from backends.child import close_descriptors
from backends.environment import check_program, check_text, child_environment, posix_base
from backends.errors import DirectoryNotFound, OutOfResources, UserRefused
from backends.executable import CannotExecute, exec_failed, find_executable
from backends.failed_pty import tell_failure
from backends.forkers import Held
from backends.held_child import Tag
from backends.holder.fork import EXHAUSTED, ExecFailed, Exhausted, Plan, PrepareFailed
from backends.holder.users import NotAllowed, is_text, own_name
from backends.holder_link import HolderError
from backends.local_pty import LocalPty, Patience
from backends.login import find_login, login_environment
from backends.process_table import ProcessTable
from backends.process_tree import ProcessTree
from backends.shells import available_shells, shell_command

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from backends.base import Order, Program, Pty, Sink
    from backends.child import Child
    from backends.forkers import Forker


@dataclass(frozen=True)
class _Place:
    """What all terminals of a backend share."""

    environment: Mapping[str, str]
    checker: ThreadPoolExecutor
    forker: Forker
    processes: ProcessTable
    patience: Patience
    limits: Limits


@dataclass(frozen=True)
class Limits:
    """How many files may be open. None and 0: no matter."""

    inherited: int | None = None
    """The soft limit that children get, where the service has raised its own."""
    reserve: int = 0
    """How many descriptors starting a program leaves free: for viewers, for requests, and to end sessions with."""


class PosixBackend:
    """This machine, as the user the service runs as, or as those that a holder may become.

    Used on one event loop; `close` ends its threads. `environment` is where the allow-listed variables of every child
    are taken from; nothing below reads the process's own. Checks before a start (a look at PATH and at directories)
    take turns in one thread: a file system that hangs holds up the starts after it, and nothing else.
    """

    name = "local"

    def __init__(
        self,
        environment: Mapping[str, str],
        forker: Forker,
        *,
        patience: Patience = Patience(),  # noqa: B008 - frozen
        limits: Limits = Limits(),
    ) -> None:
        """Keep what is needed; reads the user database once."""
        user = pwd.getpwuid(os.geteuid())
        self.capabilities = Capabilities(signals=True, reattach=forker.outlives)
        self._place = _Place(
            environment=posix_base(environment, user=user.pw_name, home=user.pw_dir, shell=user.pw_shell),
            checker=ThreadPoolExecutor(1, thread_name_prefix="checker"),
            forker=forker,
            processes=ProcessTable(),
            patience=patience,
            limits=limits,
        )

    async def shells(self, user: str | None = None) -> Sequence[str]:
        """Return the known shells on PATH, the user's own first. Raises UserRefused."""
        return await asyncio.to_thread(_available_shells, self._place.environment, user)

    async def open(self, order: Order) -> PosixEnvironment:
        """Return an environment: nothing is provisioned. Raises OutOfResources (no thread left, no holder)."""
        check_text("session_id", order.session_id)
        try:
            # Now, because `submit` queues the work even when it cannot start the thread; and so that terminals
            # can be ended when there are no threads left to be had.
            await asyncio.wrap_future(self._place.checker.submit(os.getpid))
            await self._place.forker.start()
            await self._place.processes.start()
        except (RuntimeError, OSError, HolderError) as error:
            raise OutOfResources(str(error)) from None
        return PosixEnvironment(self._place)

    async def survivors(self) -> Sequence[Survivor]:
        """Return what the holder has."""
        return [Survivor(held.tag.session_id, held.tag.note, held) for held in await self._place.forker.survivors()]

    async def check(self) -> None:
        """Do nothing: this machine is there."""

    async def recall(self, session_id: str) -> Survivor | None:  # noqa: ARG002 - nothing runs elsewhere
        """Return none: what it has `survivors` tells."""
        return None

    async def sweep(self, living: Collection[str]) -> None:
        """Do nothing: nothing is provisioned."""

    async def stop(self) -> None:
        """End the holder."""
        await self._place.forker.stop()

    async def close(self) -> None:
        """Let the threads, idle by now, end."""
        await self._place.forker.close()
        self._place.checker.shutdown(wait=False)
        self._place.processes.close()


class PosixEnvironment:
    """The terminals of one session on this machine."""

    def __init__(self, place: _Place) -> None:
        """Start with none."""
        self._place = place
        self._open: set[LocalPty] = set()

    async def spawn(self, program: Program, sink: Sink) -> Pty:
        """Start a program; see `Environment.spawn`. argv[0] is the path of the file that is executed."""
        place = self._place
        tag = Tag(program.session_id, secrets.token_hex(16), program.note, program.user or "")
        checking = place.checker.submit(_make_plan, program, place.environment, tag.mark, place.limits)
        try:
            plan, word = await asyncio.wrap_future(checking)
            child = await self._fork_at_home(plan, word, tag, has_cwd=program.cwd is not None)
        except CannotExecute as failure:
            return tell_failure(failure, sink)
        except Exhausted as error:
            raise OutOfResources(str(error)) from None
        except NotAllowed as error:
            raise UserRefused(program.user or own_name(), str(error)) from None
        except PrepareFailed as error:
            raise DirectoryNotFound(plan.cwd, str(error)) from None
        except OSError as error:
            if error.errno in EXHAUSTED:
                raise OutOfResources(os.strerror(error.errno or 0)) from None
            raise
        try:
            return self._connect(child, tag.mark, sink)
        except OutOfResources:
            child.discard()
            raise

    async def _fork_at_home(self, plan: Plan, word: str, tag: Tag, *, has_cwd: bool) -> Child:
        """Execute a program; without a home that can be entered in the root directory, as login(1) does."""
        try:
            return await self._fork(plan, word, tag)
        except PrepareFailed:
            if has_cwd:
                raise
        return await self._fork(plan._replace(cwd="/"), word, tag)

    async def _fork(self, plan: Plan, word: str, tag: Tag) -> Child:
        """Execute a program; a text without an interpreter is a shell script, as for execvp(3)."""
        try:
            return await self._place.forker.fork(plan, tag)
        except ExecFailed as error:
            failed = error
        check = self._place.checker.submit
        if (
            plan.user is None
            and failed.number == errno.ENOEXEC
            and await asyncio.wrap_future(check(is_text, plan.file))
        ):
            plan = plan._replace(file="/bin/sh", arguments=[plan.file, *plan.arguments])
            try:
                return await self._place.forker.fork(plan, tag)
            except ExecFailed as error:
                failed = error
        if failed.number in EXHAUSTED:
            raise OutOfResources(str(failed))
        found = failed.found
        if found is None:
            found = await asyncio.wrap_future(check(os.path.exists, plan.file))
        raise exec_failed(word, failed.number, found=found)

    async def adopt(self, survivor: Survivor, sink: Sink, position: int = 0) -> Pty:  # noqa: ARG002 - the holder knows
        """Take over a program that the holder has; see `Environment.adopt`."""
        held = survivor.handle
        if not isinstance(held, Held):
            raise TypeError("a survivor of another backend")
        child = await self._place.forker.take(held)
        try:
            return self._connect(child, held.tag.mark, sink)
        except OutOfResources:
            child.release()
            raise

    def _connect(self, child: Child, mark: str, sink: Sink) -> LocalPty:
        """Begin to use a child. Raises OutOfResources: it is not used, and its descriptors are closed."""
        tree = ProcessTree(child.processes or self._place.processes, child.pid, mark)
        try:
            pty = LocalPty(child, sink, tree, self._place.patience)
        except OSError as error:
            close_descriptors(child)
            if error.errno in EXHAUSTED:
                raise OutOfResources(os.strerror(error.errno or 0)) from None
            raise
        self._open.add(pty)
        pty.when_over(self._open.discard)
        return pty

    async def close(self) -> None:
        """End all terminals that are still open, at the same time."""
        async with asyncio.TaskGroup() as closing:
            for pty in list(self._open):
                closing.create_task(pty.close(self._place.patience.leftover))


def _make_plan(program: Program, base: Mapping[str, str], mark: str, limits: Limits) -> tuple[Plan, str]:
    """Check what is to be started; return it and the word it is known by. In the checker's thread.

    What concerns the files of another user only they can check: that is left to the child, which is them by then.
    Raises CannotExecute, ShellNotFound, DirectoryNotFound, InvalidProgram, UserRefused, OutOfResources.
    """
    if program.user is not None:
        base = login_environment(base, find_login(program.user))
    environment = child_environment(base, program, mark)
    if program.command is None:
        command = shell_command(program.shell, environment, keeps_path="PATH" in program.env)
    else:
        command = list(program.command)
    check_program(program)
    size = (program.rows, program.cols)
    _check_reserve(limits.reserve)
    word, *arguments = command
    if program.user is None:
        cwd = _directory(program.cwd, environment["HOME"])
        file = find_executable(word, path=environment["PATH"], cwd=cwd)
    else:
        cwd = os.path.join(environment["HOME"], program.cwd or "")  # noqa: PTH118 - keeps `..` for the kernel
        check_text("cwd", cwd)
        file = word
    return Plan(file, arguments, cwd, environment, size, limits.inherited, program.user), word


def _available_shells(base: Mapping[str, str], user: str | None) -> list[str]:
    return available_shells(base if user is None else login_environment(base, find_login(user)))


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
