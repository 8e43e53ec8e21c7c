"""Start a program at a new PTY. Only this module imports ptyprocess; only this module forks.

`fork` blocks (it waits until the child has executed its program), so it is called in a thread of its own.

Forking a process that has threads is a known danger: the child owns copies of locks that nobody will release.
Between fork and exec the child runs Python that takes no lock but the interpreter's (which CPython renews in
the child) and glibc's allocator's (which glibc renews): it closes descriptors, changes directory, resets
signals and executes. Python >= 3.12 warns all the same; that one warning is switched off, for this reason.
"""

from __future__ import annotations

import errno
import os
import pty
import resource
import signal
import sys
import termios
import warnings
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from ptyprocess import PtyProcess

from backends.holder import users

if TYPE_CHECKING:
    from types import TracebackType

EXHAUSTED = frozenset({errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ENOSPC, errno.ENOBUFS})
"""What the system answers when it has no process, memory, descriptor or PTY left."""

IUTF8 = 0x4000
"""Input flag (the same number on Linux and macOS): backspace erases a character, not a byte."""

_NO_PTY = "out of pty devices"  # the message of the standard library's pty module, which has lost the errno
_DECOY = "/bin/sh"
"""What ptyprocess is told to execute, where the child does that itself: it looks for the file before it forks."""
_USER, _DIRECTORY, _PROGRAM = _STEPS = ("user", "directory", "program")
"""What can fail in the child beside exec, as it tells the parent."""

_RESETTABLE = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}


class ExecFailed(Exception):
    """The child could not execute its program."""

    def __init__(self, number: int, *, found: bool | None = None) -> None:
        """Keep the errno of execve, and whether there is a file of that name (None: to be looked for)."""
        super().__init__(os.strerror(number))
        self.number = number
        self.found = found


class PrepareFailed(Exception):
    """The child could not enter its directory; the message is why."""


class Exhausted(Exception):
    """The system has no PTY, descriptor, process or memory left; the message is its reason."""


class Plan(NamedTuple):
    """What to execute: all checked to be passable to execve."""

    file: str
    """An absolute path; also argv[0]. For another user also a path from `cwd`, or a word to be found in PATH."""
    arguments: list[str]
    cwd: str
    env: dict[str, str]
    size: tuple[int, int]
    """Rows, cols."""
    descriptors: int | None = None
    """The child's soft limit of open files; None: this process's."""
    user: str | None = None
    """The name of the user to become, which takes root. None: this process's."""


class Forked(NamedTuple):
    """A program that has just been executed; the caller owns all and must reap and close."""

    pid: int
    master: int
    hopper: int | None = None
    """Descriptor of the file that input goes through, where somebody outlives this process."""


class _Child(PtyProcess):  # type: ignore[misc]  # ptyprocess has no type information
    """Keeps pid and descriptor only: the original adds buffers, and a destructor that sleeps and kills."""

    def __init__(self, pid: int, fd: int) -> None:
        self.pid = pid
        self.fd = fd
        self.closed = True  # for the destructor: nothing of ours is its business


def fork(plan: Plan) -> Forked:
    """Execute a program at a new PTY, as leader of a session of its own; blocks until it has been executed.

    The child has three descriptors, default signals, nothing blocked. Raises ExecFailed, PrepareFailed, NotAllowed,
    Exhausted; then nothing is left behind.
    """
    if plan.user is None:
        _check_file(plan.file)
    parent = os.getpid()
    if sys.version_info >= (3, 12):
        warnings.filterwarnings("ignore", r"This process .* is multi-threaded, use of fork", DeprecationWarning)
    argv = [plan.file if plan.user is None else _DECOY, *plan.arguments]
    try:
        child = _Child.spawn(argv, env=plan.env, dimensions=plan.size, preexec_fn=partial(_become_ordinary, plan))
    except BaseException as error:
        if os.getpid() != parent:
            os._exit(127)  # a forked copy must never go on running this process's code
        # Before the clean-up: it would hide what there was too little of.
        meaning = _meaning(error) if isinstance(error, OSError) else None
        _clean_up(error.__traceback__)
        if meaning is None:
            raise
        raise meaning from None
    os.set_blocking(child.fd, False)
    os.set_inheritable(child.fd, False)  # noqa: FBT003 - positional only
    return Forked(child.pid, child.fd)


def _check_file(file: str) -> None:
    """Raise ExecFailed where ptyprocess would say, in words, that there is nothing to execute."""
    try:
        os.stat(file)
    except OSError as error:
        raise ExecFailed(error.errno or errno.ENOENT) from None
    if not os.access(file, os.X_OK):
        raise ExecFailed(errno.EACCES)


def discard(forked: Forked) -> None:
    """End a program that nobody will use; blocks until it is reaped."""
    for descriptor in (forked.master, forked.hopper):
        if descriptor is not None:
            os.close(descriptor)
    os.kill(forked.pid, signal.SIGKILL)  # not reaped yet, so the number is still the child's
    os.waitpid(forked.pid, 0)


def _become_ordinary(plan: Plan) -> None:
    """Run in the child: undo what makes this process special, become the user, change directory.

    Python ignores SIGPIPE and SIGXFSZ, and a service started by nohup ignores SIGHUP: what is ignored stays
    ignored over exec, and so does the signal mask. Raises OSError with one of `_STEPS`: ptyprocess tells the parent
    the message and no more.
    """
    for signum in _RESETTABLE:
        signal.signal(signum, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    limit = plan.descriptors
    if limit is not None:  # programs that use select(2) fail above 1024: they must not inherit a raised one
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    attributes = termios.tcgetattr(0)
    attributes[0] |= IUTF8  # the line discipline counts characters
    termios.tcsetattr(0, termios.TCSANOW, attributes)
    if plan.user is not None:
        try:
            users.become(plan.user)
        except users.NotAllowed as error:
            raise OSError(f"{_USER} {error}") from None
    try:
        os.chdir(plan.cwd)
    except OSError as error:
        raise OSError(f"{_DIRECTORY} {os.strerror(error.errno or errno.ENOENT)}") from None
    if plan.user is not None:
        try:
            users.execute(plan.file, plan.arguments, plan.env, plan.cwd)
        except OSError as error:
            raise OSError(f"{_PROGRAM} {error.errno} {int(error.filename is not None)}") from None


def _meaning(error: OSError) -> Exception:
    """Return what an error of ptyprocess's spawn is to our caller."""
    if error.errno in EXHAUSTED:
        return Exhausted(os.strerror(error.errno))
    if str(error) == _NO_PTY:
        return Exhausted(_why_no_pty())
    if error.errno:
        return ExecFailed(error.errno)  # only a failed execve travels through the pipe with its number
    step, _, text = str(error).partition(" ")
    if step == _USER:
        return users.NotAllowed(text)
    if step == _PROGRAM:
        number, found = map(int, text.split())
        return Exhausted(os.strerror(number)) if number in EXHAUSTED else ExecFailed(number, found=bool(found))
    return PrepareFailed(text if step == _DIRECTORY else str(error))


def _why_no_pty() -> str:
    try:
        descriptors = os.openpty()
    except OSError as error:
        return f"no terminal (PTY) left: {error.strerror}"
    for descriptor in descriptors:  # there is one again
        os.close(descriptor)
    return "no terminal (PTY) left"


def _clean_up(traceback: TracebackType | None) -> None:
    """Release what a failed spawn left open in its frames.

    ptyprocess 0.7 closes neither its error pipe nor the PTY when the fork fails, and does not reap a child that
    could not execute; neither does `pty.fork` its two descriptors. Only their frames know them.
    """
    descriptors: set[int] = set()
    child: Any = None
    names: tuple[str, ...]
    while traceback is not None:
        frame = traceback.tb_frame
        if frame.f_code is PtyProcess.spawn.__func__.__code__:
            names = ("exec_err_pipe_read", "exec_err_pipe_write")
            child = frame.f_locals.get("inst")
        elif frame.f_code is pty.fork.__code__:
            names = ("master_fd", "slave_fd")
        else:
            names = ()
        descriptors |= {frame.f_locals[name] for name in names if name in frame.f_locals}
        traceback = traceback.tb_next
    if child is not None:  # the pipe was closed by then
        discard(Forked(child.pid, child.fd))
        return
    for descriptor in descriptors:
        os.close(descriptor)
