"""A child of this process: how it ended, without a SIGCHLD handler and without touching any other child."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import threading
from typing import TYPE_CHECKING

from backends.base import ExitStatus, Lost

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from backends.holder.fork import Forked

_NO_PIDFD = frozenset({errno.ENOSYS, errno.EPERM, errno.EINVAL})
"""pidfd_open on a kernel before 5.3, under a seccomp filter that forbids it, in gVisor."""

_UNKNOWN = ExitStatus(lost=Lost.NODE, message="the exit status was taken by something else")


class OwnChild:
    """A `Child` that this process has forked itself; it stays a zombie until `reap`.

    While it is a zombie its pid, which is also the id of its session, cannot become somebody else's: what is
    left of its session can be signalled without a doubt. (macOS before Python 3.13 has no waitid: there the
    child is reaped at once.) Uses a pidfd, or one thread where there is none.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, forked: Forked, *, pidfd: bool = True) -> None:
        """Start to watch; `pidfd=False` takes the thread. Raises OSError if there is no descriptor left."""
        self.pid = pid = forked.pid
        self.master = forked.master
        self.hopper = forked.hopper
        self.exited: asyncio.Future[ExitStatus] = loop.create_future()
        self.processes = None
        self._loop = loop
        self._is_awaited = True
        self._pidfd = _open_pidfd(pid) if pidfd else -1
        if self._pidfd >= 0:
            try:
                loop.add_reader(self._pidfd, self._ended)
            except OSError:
                os.close(self._pidfd)
                raise
        else:
            threading.Thread(target=self._wait, name=f"exit of {pid}", daemon=True).start()

    def give_up(self, status: ExitStatus) -> None:
        """Report `status` now: the child does not die."""
        if not self.exited.done():
            self.exited.set_result(status)

    def reap(self) -> None:
        """Release the child's pid and what watched it; harmless twice. Never blocks.

        A child that was given up and lives on is reaped when it ends.
        """
        try:
            lives = os.waitpid(self.pid, os.WNOHANG)[0] == 0
        except ChildProcessError:
            lives = False  # reaped: by an earlier call, or where there is no waitid
        self._is_awaited = not lives
        if not lives:
            self.release()

    def release(self) -> None:
        """Stop to watch; the child is not reaped."""
        if self._pidfd >= 0:
            self._loop.remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1

    def discard(self) -> None:
        """Kill a child that nobody will use; it is reaped when it ends."""
        os.kill(self.pid, signal.SIGKILL)  # not reaped yet, so the number is still its own
        self.reap()

    def signal_foreground(self, signum: int) -> bool:  # noqa: ARG002
        """Nobody may more than this process, which has forked it."""
        return False

    def annotate(self, note: str) -> None:
        """Nobody outlives this process with it."""

    def _ended(self) -> None:
        self._loop.remove_reader(self._pidfd)
        self._report(_peek(self.pid, os.WNOHANG))

    def _wait(self) -> None:
        status = _peek(self.pid, 0)
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to be told
            self._loop.call_soon_threadsafe(self._report, status)

    def _report(self, status: ExitStatus) -> None:
        if not self.exited.done():
            self.exited.set_result(status)
        if not self._is_awaited:
            self.reap()


def _open_pidfd(pid: int) -> int:
    pidfd_open: Callable[[int], int] | None = getattr(os, "pidfd_open", None)
    if pidfd_open is None:
        return -1
    try:
        return pidfd_open(pid)
    except OSError as error:
        if error.errno in _NO_PIDFD:
            return -1
        raise


def _peek(pid: int, options: int) -> ExitStatus:
    """Read the status of exactly this child, leaving it a zombie where the system can."""
    try:
        if not hasattr(os, "waitid"):
            code = os.waitstatus_to_exitcode(os.waitpid(pid, options)[1])
            return ExitStatus(code=code) if code >= 0 else ExitStatus(signal=-code)
        result = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | options)
    except ChildProcessError:
        return _UNKNOWN
    if result is None:
        raise AssertionError(f"process {pid} was reported dead and is not")
    if result.si_code == os.CLD_EXITED:
        return ExitStatus(code=result.si_status)
    return ExitStatus(signal=result.si_status)
