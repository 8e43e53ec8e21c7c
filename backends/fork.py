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
import warnings
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from ptyprocess import PtyProcess

from backends.base import DirectoryNotFound, OutOfResources
from backends.line_discipline import use_utf8

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

EXHAUSTED = frozenset({errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ENOSPC, errno.ENOBUFS})
"""What the system answers when it has no process, memory, descriptor or PTY left."""

_NO_PTY = "out of pty devices"  # the message of the standard library's pty module, which has lost the errno
_RESETTABLE = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}


class ExecError(Exception):
    """The child could not execute its program."""

    def __init__(self, number: int) -> None:
        """Keep the errno of execve."""
        super().__init__(os.strerror(number))
        self.number = number


@dataclass(frozen=True)
class Forked:
    """A program that has just been executed; the caller owns both and must reap and close."""

    pid: int
    master: int
    hopper: int | None = None
    """Descriptor of the file that input goes through (`backends.hopper`), where somebody outlives this process."""


class _Child(PtyProcess):  # type: ignore[misc]  # ptyprocess has no type information
    """Keeps pid and descriptor only: the original adds buffers, and a destructor that sleeps and kills."""

    def __init__(self, pid: int, fd: int) -> None:
        self.pid = pid
        self.fd = fd
        self.closed = True  # for the destructor: nothing of ours is its business


def fork(
    file: str,
    arguments: Sequence[str],
    *,
    cwd: str,
    env: Mapping[str, str],
    size: tuple[int, int],
    descriptors: int | None = None,
) -> Forked:
    """Execute `file` (an absolute path) at a new PTY of `size` (rows, cols), as leader of a session of its own.

    The child has three descriptors, default signals, nothing blocked. All text was checked to be passable to
    execve. argv[0] is `file`. `descriptors` is its soft limit of open files (None: this process's). Raises
    ExecError, DirectoryNotFound, OutOfResources; then nothing is left behind.
    """
    parent = os.getpid()
    if sys.version_info >= (3, 12):
        warnings.filterwarnings("ignore", r"This process .* is multi-threaded, use of fork", DeprecationWarning)
    try:
        child = _Child.spawn(
            [file, *arguments], env=dict(env), dimensions=size, preexec_fn=partial(_become_ordinary, cwd, descriptors)
        )
    except BaseException as error:
        if os.getpid() != parent:
            os._exit(127)  # a forked copy of the service must never go on running the service's code
        # Before the clean-up: it would hide what there was too little of.
        meaning = _meaning(error, cwd) if isinstance(error, OSError) else None
        _clean_up(error.__traceback__)
        if meaning is None:
            raise
        raise meaning from None
    os.set_blocking(child.fd, False)
    os.set_inheritable(child.fd, False)  # noqa: FBT003 - positional only
    return Forked(child.pid, child.fd)


def discard(forked: Forked) -> None:
    """End a program that nobody will use; blocks until it is reaped."""
    for descriptor in (forked.master, forked.hopper):
        if descriptor is not None:
            os.close(descriptor)
    os.kill(forked.pid, signal.SIGKILL)  # not reaped yet, so the number is still the child's
    os.waitpid(forked.pid, 0)


def _become_ordinary(cwd: str, descriptors: int | None) -> None:
    """Run in the child: undo what makes a Python service's process special, then change directory.

    Python ignores SIGPIPE and SIGXFSZ, and a service started by nohup ignores SIGHUP: what is ignored stays
    ignored over exec, and so does the signal mask.
    """
    for signum in _RESETTABLE:
        signal.signal(signum, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    if descriptors is not None:  # programs that use select(2) fail above 1024: they must not inherit a raised one
        resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    use_utf8(0)
    os.chdir(cwd)


def _meaning(error: OSError, cwd: str) -> Exception:
    """Return what an error of ptyprocess's spawn is to our caller."""
    if error.errno in EXHAUSTED:
        return OutOfResources(os.strerror(error.errno))
    if str(error) == _NO_PTY:
        return OutOfResources(_why_no_pty())
    if error.errno:
        return ExecError(error.errno)  # only a failed execve travels through the pipe with its number
    return DirectoryNotFound(cwd, str(error))  # from `_become_ordinary`: chdir is what can fail there


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
