"""A child of the holder: how it ended is told by the holder, or, once that is gone, not known."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from backends.base import ExitStatus, Lost

if TYPE_CHECKING:
    from backends.holder_link import HolderLink, Reply
    from backends.process_tree import Processes

_log = structlog.get_logger(__name__)

_LOOK_SECONDS = 0.5
"""How often a process is looked at whose end nobody tells, where there is no pidfd."""

UNKNOWN = ExitStatus(lost=Lost.HOLDER, message="how it ended is not known: its holder has ended before")


@dataclass(frozen=True)
class Tag:
    """What the holder keeps with a program, so that the next service knows it again."""

    session_id: str
    mark: str
    """By which the processes of its tree are known."""
    note: str
    """The core's."""
    user: str = ""
    """Who it runs as; empty: the holder's own user."""

    def encode(self) -> bytes:
        """Return it as the holder keeps it."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def decode(cls, data: bytes) -> Tag:
        """Return what was kept, by this version or another. Raises ValueError."""
        kept = json.loads(data)
        if not isinstance(kept, dict):
            raise ValueError("a tag is an object")  # noqa: TRY004 - of another version, not of another type
        return cls(*(str(kept.get(each.name, "")) for each in fields(cls)))


class HeldChild:
    """A `Child` that the holder has forked; it stays a zombie there until `reap`."""

    def __init__(
        self,
        link: HolderLink,
        key: int,
        pid: int,
        descriptors: list[int],
        *,
        tag: Tag,
        processes: Processes,
        status: dict[str, int] | None = None,
        is_child: bool = True,
    ) -> None:
        """Take over the descriptors of a program that was spawned or taken.

        `processes` sees those of other users. `status` is how it ended already. One that is no child of this holder
        was forked by an earlier one, which is gone: how it ends nobody will know.
        """
        self._loop = asyncio.get_running_loop()
        self._link = link
        self._key = key
        self._tag = tag
        self._pidfd = _open_pidfd(pid)  # now: while the holder lives the number is the child's
        self._look: asyncio.TimerHandle | None = None
        self._is_alone = False
        self.pid = pid
        self.processes = processes if tag.user else None
        self.master, *hopper = descriptors
        self.hopper = hopper[0] if hopper else None
        self.exited: asyncio.Future[ExitStatus] = self._loop.create_future()
        self.is_watched = True
        link.watch(key, self._ended)
        link.lost.add_done_callback(self._holder_lost)
        if status is not None:
            self._ended(status)
        elif not is_child:
            self._watch_alone()

    @property
    def tag(self) -> Tag:
        """What is kept with it now."""
        return self._tag

    def is_held_by(self, link: HolderLink) -> bool:
        """Tell whether this holder has it."""
        return self._link is link

    def move(self, link: HolderLink, key: int) -> None:
        """Be kept by another holder from now on."""
        self._link, self._key = link, key
        if not self.is_watched:  # it has ended on the way
            link.send("release", key=key)
            return
        link.lost.add_done_callback(self._holder_lost)

    def give_up(self, status: ExitStatus) -> None:
        """Report `status` now: the child does not die."""
        if not self.exited.done():
            self.exited.set_result(status)

    def annotate(self, note: str) -> None:
        """Have the holder keep a note."""
        self._tag = replace(self._tag, note=note)
        self._link.send("annotate", key=self._key, payload=self._tag.encode())

    def signal_foreground(self, signum: int) -> bool:
        """Have the holder do it, if it is another user's program; see `Child`."""
        if not self._tag.user or self._link.lost.done():
            return False
        self._link.send("signal", key=self._key, signals=[signum]).add_done_callback(self._signalled)
        return True

    def _signalled(self, asking: asyncio.Future[Reply]) -> None:
        error = asking.exception()
        refused = error is None and asking.result().fields["refused"]
        if error or refused:
            _log.warning("a signal was not sent", pid=self.pid, refused=refused or [], reason=str(error or "refused"))

    def reap(self) -> None:
        """Have the holder close the terminal and reap the child; harmless twice."""
        if self.is_watched:
            self.release()
            self._link.send("release", key=self._key)

    def discard(self) -> None:
        """Have the holder kill a child that nobody will use."""
        self.release()
        self._link.send("discard", key=self._key)

    def release(self) -> None:
        """Stop to watch."""
        self.is_watched = False
        self._link.forget(self._key)
        self._link.lost.remove_done_callback(self._holder_lost)
        if self._look is not None:
            self._look.cancel()
        if self._pidfd >= 0:
            self._loop.remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1

    def _ended(self, status: dict[str, int]) -> None:
        self.give_up(ExitStatus(code=status.get("code"), signal=status.get("signal")))

    def _holder_lost(self, _: asyncio.Future[None]) -> None:
        """Go on without the holder: the terminal is ours too; only its exit status nobody will have."""
        if not self.exited.done() and not self._is_alone:
            self._watch_alone()

    def _watch_alone(self) -> None:
        self._is_alone = True
        if self._pidfd >= 0:
            self._loop.add_reader(self._pidfd, self._gone)
        else:
            self._look_at_it()

    def _gone(self) -> None:
        self._loop.remove_reader(self._pidfd)
        self.give_up(UNKNOWN)

    def _look_at_it(self) -> None:
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            self.give_up(UNKNOWN)
            return
        except PermissionError:
            pass  # it is another user's
        self._look = self._loop.call_later(_LOOK_SECONDS, self._look_at_it)


def is_still(pid: int, mark: str) -> bool:
    """Tell whether a number is still that of the process with this mark, as far as the system lets us see."""
    try:
        return mark.encode() in Path(f"/proc/{pid}/environ").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return sys.platform != "linux"
    except PermissionError:  # another user's: it may have changed to one
        return True


def _open_pidfd(pid: int) -> int:
    """Return a pidfd, or -1 where there is none to be had: then the number itself is looked at."""
    if sys.platform == "linux" and hasattr(os, "pidfd_open"):
        with contextlib.suppress(OSError):
            return os.pidfd_open(pid)
    return -1
