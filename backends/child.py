"""The program at a PTY as `LocalPty` knows it: forked by this process, or by the holder."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import asyncio

    from backends.base import ExitStatus
    from backends.process_tree import Processes


class Child(Protocol):
    """A process that leads a session at a PTY. Its number stays its own until `reap`."""

    pid: int
    master: int
    """This process's descriptor of the PTY's master; whoever has the child closes it."""
    hopper: int | None
    """This process's descriptor of the file that input goes through (`backends.holder.hopper`); likewise."""
    exited: asyncio.Future[ExitStatus]
    """How it ended, once it has."""

    @property
    def processes(self) -> Processes | None:
        """Who sees and signals the processes of its tree for this process, which may not; None: it may itself."""
        ...

    def give_up(self, status: ExitStatus) -> None:
        """Report `status` now: the child does not die."""
        ...

    def annotate(self, note: str) -> None:
        """Keep a note where the child is kept, in place of an older one."""
        ...

    def signal_foreground(self, signum: int) -> bool:
        """Have the foreground programs signalled by whoever may; False: nobody may more than this process."""
        ...

    def reap(self) -> None:
        """Release the child's number and what watches it; harmless twice. Never blocks."""
        ...

    def release(self) -> None:
        """Stop to watch; the child is not reaped."""
        ...

    def discard(self) -> None:
        """Kill a child that nobody will use, and reap it in time."""
        ...


def close_descriptors(child: Child) -> None:
    """Close this process's descriptors of a child that nobody has taken over."""
    os.close(child.master)
    if child.hopper is not None:
        os.close(child.hopper)
