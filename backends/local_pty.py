"""One program at a PTY of this machine, from its start to the end of everything it started."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from backends.base import ExitStatus, Lost
from backends.holder import line_discipline
from backends.master import Master

if TYPE_CHECKING:
    from collections.abc import Callable

    from backends.base import Sink
    from backends.child import Child
    from backends.process_tree import ProcessTree

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Patience:
    """How long the end of a program may take, in seconds."""

    quiet: float = 0.25
    """Without output from background processes, after the program has exited."""
    drain: float = 2.0
    """For all output after the exit."""
    leftover: float = 1.0
    """For each of HUP, TERM and KILL to what a program left running."""


class LocalPty:
    """A `Pty` on a forked child; closed, reaped and its tree ended by one task of its own, whoever waits."""

    unconfirmed = 0

    def __init__(self, child: Child, sink: Sink, tree: ProcessTree, patience: Patience) -> None:
        """Take over the child and start to read."""
        loop = asyncio.get_running_loop()
        self._child = child
        self._master = Master(loop, child.master, sink, hopper=child.hopper)
        if self._master.hopper.in_doubt:
            _log.warning("input in doubt counts as written", pid=child.pid, bytes=self._master.hopper.in_doubt)
        self._tree = tree
        self._patience = patience
        self._closing = asyncio.Lock()
        # The end of a program comes whether or not anybody waits for it, so this is a task; `wait` and `close`
        # await it and so learn of every error in it. It is bounded once the program has exited.
        self._life = loop.create_task(self._live(), name=f"terminal of process {child.pid}")

    @property
    def pid(self) -> int | None:
        """Process id."""
        return self._child.pid

    @property
    def written(self) -> int:
        """Bytes of input the terminal has ever taken."""
        return self._master.hopper.written

    @property
    def _over(self) -> bool:
        return self._child.exited.done() or self._master.descriptor < 0

    def write(self, data: bytes | memoryview) -> int:
        """Write without blocking; see `Pty.write` and `Master.write`."""
        return self._master.write(data)

    def interrupt(self) -> bool:
        """Do what the interrupt key does, ahead of all queued input; see `line_discipline.interrupt`."""
        return True if self._over else line_discipline.interrupt(self._master.descriptor, self._child.pid)

    def resize(self, rows: int, cols: int) -> None:
        """Set the size; the foreground programs get SIGWINCH."""
        if not self._over:
            line_discipline.set_size(self._master.descriptor, rows, cols)

    def signal(self, signum: int) -> None:
        """Signal the foreground process group; see `line_discipline.signal_foreground` for errors."""
        if self._over:
            return
        try:
            line_discipline.signal_foreground(self._master.descriptor, self._child.pid, signum)
        except PermissionError:
            if not self._child.signal_foreground(signum):
                raise

    def pause_reading(self) -> None:
        """Stop reading."""
        self._master.pause_reading()

    def resume_reading(self) -> None:
        """Read again."""
        self._master.resume_reading()

    async def wait(self) -> ExitStatus:
        """Wait for the end of the program, of its output and of what it left running."""
        return await asyncio.shield(self._life)

    def when_over(self, callback: Callable[[LocalPty], object]) -> None:
        """Call back when `wait` would return."""
        self._life.add_done_callback(lambda _: callback(self))

    async def close(self, grace_seconds: float) -> None:
        """End the whole process tree, then release all; see `ProcessTree.end`. Bounded by three graces and 3 s.

        May be called by many and again after a cancelled call.
        """
        async with self._closing:
            if not self._life.done():
                await self._tree.end(grace_seconds)
            if not self._child.exited.done():
                await self._expect_death()
        await self.wait()

    async def _expect_death(self) -> None:
        """Wait a little for a killed process; it is gone at once unless the kernel is stuck in it (a dead disk)."""
        try:
            async with asyncio.timeout(self._patience.leftover):
                await asyncio.shield(self._child.exited)
        except TimeoutError:
            _log.warning("a killed process does not end", pid=self._child.pid)
            self._child.give_up(ExitStatus(lost=Lost.NODE, message="the process cannot be ended"))

    def annotate(self, note: str) -> None:
        """Keep a note with the program; see `Pty.annotate`."""
        self._child.annotate(note)

    async def detach(self) -> None:
        """Let go of the program; see `Pty.detach`."""
        self._life.cancel()
        await asyncio.wait([self._life])

    async def _live(self) -> ExitStatus:
        try:
            status = await self._child.exited
            await self._master.drain(quiet_seconds=self._patience.quiet, limit_seconds=self._patience.drain)
            await self._tree.end(self._patience.leftover)
            self._master.sweep()
        except asyncio.CancelledError:
            self._master.close()
            self._child.release()
            raise
        except BaseException:
            self._release_all()
            raise
        self._release_all()
        return status

    def _release_all(self) -> None:
        self._master.close()  # the kernel hangs up on whoever still has the terminal
        self._child.reap()
