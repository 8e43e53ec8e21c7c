"""Who forks: this process itself, or the holder, so that programs outlive this process."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakSet

import structlog

from backends.environment import MARK
from backends.errors import OutOfResources
from backends.held_child import UNKNOWN, HeldChild, Tag, is_still
from backends.held_processes import HeldProcesses
from backends.holder.fork import ExecFailed, Exhausted, Forked, Plan, PrepareFailed, discard, fork
from backends.holder.users import NotAllowed
from backends.holder_link import HolderError, HolderGone, HolderLink, HolderMissing
from backends.own_child import OwnChild

if TYPE_CHECKING:
    from collections.abc import Sequence
    from concurrent.futures import Future
    from pathlib import Path

    from backends.child import Child
    from backends.holder_link import Reply

_MOVE_SECONDS = 1.0
"""Between two tries to find another holder."""

_log = structlog.get_logger(__name__)


class Forker(Protocol):
    """Starts programs."""

    @property
    def outlives(self) -> bool:
        """Whether what it starts outlives this process."""
        ...

    async def start(self) -> None:
        """Have ready what forking needs. Raises BackendError, OSError, RuntimeError (no thread left)."""
        ...

    async def fork(self, plan: Plan, tag: Tag) -> Child:
        """Execute a program at a new PTY.

        Raises ExecFailed, PrepareFailed, NotAllowed, Exhausted, OSError; then nothing is left of it. The same if
        cancelled.
        """
        ...

    async def survivors(self) -> Sequence[Held]:
        """Return what runs already, started by an earlier process."""
        ...

    async def take(self, held: Held) -> Child:
        """Take over what runs already. Raises BackendError: it is gone meanwhile."""
        ...

    async def stop(self) -> None:
        """End what keeps programs beyond this process; they have ended."""
        ...

    async def close(self) -> None:
        """Release what this process has; what is held elsewhere goes on."""
        ...


class Held:
    """A program that a holder keeps."""

    def __init__(self, key: int, pid: int, tag: Tag, *, is_child: bool) -> None:
        """See `HeldChild`."""
        self.key, self.pid, self.tag, self.is_child = key, pid, tag, is_child


class OwnForker:
    """Forks from this process, in a thread of its own; programs end with this process."""

    outlives = False

    def __init__(self, *, pidfd: bool = True) -> None:
        """`pidfd=False`: watch exits by threads."""
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="fork")
        self._pidfd = pidfd

    async def start(self) -> None:
        """Start the thread: `submit` queues work even when it cannot start one."""
        await asyncio.wrap_future(self._thread.submit(os.getpid))

    async def fork(self, plan: Plan, tag: Tag) -> Child:  # noqa: ARG002 - kept by nobody
        """Execute a program; see `Forker.fork`."""
        if plan.user is not None:  # in a process with threads nobody can look into the user database after a fork
            raise NotAllowed("it takes a holder")
        forking = self._thread.submit(fork, plan)
        try:
            forked = await asyncio.wrap_future(forking)
        except asyncio.CancelledError:
            self._thread.submit(_discard, forking)  # after it, in the one thread
            raise
        try:
            return OwnChild(asyncio.get_running_loop(), forked, pidfd=self._pidfd)
        except OSError:
            await asyncio.wrap_future(self._thread.submit(discard, forked))
            raise

    async def survivors(self) -> Sequence[Held]:
        """Nothing outlives its process."""
        return ()

    async def take(self, held: Held) -> Child:
        """Never called: there are no survivors."""
        raise AssertionError(f"nobody holds process {held.pid}")

    async def stop(self) -> None:
        """Nothing keeps programs."""

    async def close(self) -> None:
        """Let the thread, idle by now, end."""
        self._thread.shutdown(wait=False)


def _discard(forking: Future[Forked]) -> None:
    """End what a cancelled fork has started."""
    if not forking.cancelled() and forking.exception() is None:
        discard(forking.result())


class HolderForker:
    """Has a holder fork; if that is gone, the next program starts another one."""

    outlives = True

    def __init__(self, directory: Path, *, starts: bool = True) -> None:
        """Use the holder of a directory when it is needed; `starts`: start one if there is none."""
        self._directory = directory
        self._starts = starts
        self._link: HolderLink | None = None
        self._reaching = asyncio.Lock()
        self._children: WeakSet[HeldChild] = WeakSet()
        self._processes = HeldProcesses(self._reach)
        self._moving: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Reach the holder."""
        await self._reach()

    async def fork(self, plan: Plan, tag: Tag) -> Child:
        """Execute a program; see `Forker.fork`."""
        try:
            link = await self._reach()
        except HolderError as error:
            raise Exhausted(str(error)) from error
        spawning = link.send("spawn", payload=tag.encode(), mark=_mark(tag), **_request(plan))
        try:
            reply = await asyncio.shield(spawning)
        except asyncio.CancelledError:
            spawning.add_done_callback(lambda _: _abandon(link, spawning))
            raise
        except HolderError as error:
            raise _meaning(error) from error
        if not _is_whole(reply):
            _abandon(link, spawning)
            raise Exhausted(os.strerror(errno.EMFILE))
        key, pid, descriptors = reply.fields["key"], reply.fields["pid"], list(reply.descriptors)
        child = HeldChild(link, key, pid, descriptors, tag=tag, processes=self._processes)
        self._children.add(child)
        return child

    async def survivors(self) -> Sequence[Held]:
        """Return what the holder has. Raises HolderError: it cannot be asked, so what runs is not known."""
        try:
            link = await self._reach()
        except HolderMissing as error:  # then nothing runs
            _log.error("sessions cannot be started", reason=str(error))
            return []
        reply = await link.call("list")
        found, rest = [], reply.payload
        for program in reply.fields["programs"]:
            tag, rest = rest[: program["note"]], rest[program["note"] :]
            try:
                found.append(Held(program["key"], program["pid"], Tag.decode(tag), is_child=program["child"]))
            except ValueError as error:
                _log.error("a program in the holder is not known", pid=program["pid"], reason=str(error))
        return found

    async def take(self, held: Held) -> Child:
        """Take the terminal of a program that the holder has. Raises HolderError."""
        link = await self._reach()
        reply = await link.call("take", key=held.key)
        descriptors = list(reply.descriptors)
        if not _is_whole(reply):
            _close(descriptors)
            raise OutOfResources(os.strerror(errno.EMFILE))
        child = HeldChild(
            link,
            held.key,
            held.pid,
            descriptors,
            tag=held.tag,
            processes=self._processes,
            status=reply.fields["exit"],
            is_child=held.is_child,
        )
        if not held.is_child and not await asyncio.to_thread(is_still, held.pid, held.tag.mark):
            child.give_up(UNKNOWN)
        self._children.add(child)
        return child

    async def stop(self) -> None:
        """End the holder."""
        if self._link is not None and not self._link.lost.done():
            self._link.lost.remove_done_callback(self._move_soon)
            with contextlib.suppress(HolderGone):  # that is how it ends
                await self._link.call("stop")

    async def close(self) -> None:
        """Let go of the holder: what it has goes on."""
        if self._moving is not None:
            self._moving.cancel()
            await asyncio.wait([self._moving])
        if self._link is not None:
            self._link.lost.remove_done_callback(self._move_soon)
            self._link.close()

    async def _reach(self) -> HolderLink:
        async with self._reaching:
            if self._link is None or self._link.lost.done():
                self._link = await HolderLink.connect(self._directory, start=self._starts)
                self._link.lost.add_done_callback(self._move_soon)
            return self._link

    def _move_soon(self, _: asyncio.Future[None]) -> None:
        """Give the programs to another holder: theirs is gone, they are not, for we have their terminals too."""
        _log.warning("the holder has ended; another one is started")
        self._moving = asyncio.get_running_loop().create_task(self._move(), name="move to another holder")

    async def _move(self) -> None:
        """Try until there is another holder; what it cannot be given yet goes on as long as this process does."""
        while True:
            try:
                await self._move_to(await self._reach())
            except HolderError as error:
                _log.warning("no other holder yet: shells end with this process", reason=str(error))
                await asyncio.sleep(_MOVE_SECONDS)
            else:
                return

    async def _move_to(self, link: HolderLink) -> None:
        for child in list(self._children):
            if child.is_watched and not child.exited.done() and not child.is_held_by(link):
                await self._move_one(child, link)

    async def _move_one(self, child: HeldChild, link: HolderLink) -> None:
        descriptors = [child.master] if child.hopper is None else [child.master, child.hopper]
        tag = child.tag
        try:
            reply = await link.call(
                "adopt", payload=tag.encode(), descriptors=descriptors, mark=_mark(tag), pid=child.pid
            )
        except HolderError as error:
            if error.error.get("kind") != "not_yours":
                raise
            _log.error("a program ends with this process", pid=child.pid, reason=str(error))
            return
        child.move(link, reply.fields["key"])


def _request(plan: Plan) -> dict[str, Any]:
    fields = plan._asdict()
    fields["descriptor_limit"] = fields.pop("descriptors")
    return fields


def _mark(tag: Tag) -> str:
    """Return by what the holder knows the processes of a tree."""
    return f"{MARK}={tag.mark}"


def _abandon(link: HolderLink, spawning: asyncio.Future[Reply]) -> None:
    """End what a cancelled fork has started."""
    if spawning.exception() is not None:
        return
    reply = spawning.result()
    _close(reply.descriptors)
    link.send("discard", key=reply.fields["key"])
    link.forget(reply.fields["key"])


def _is_whole(reply: Reply) -> bool:
    """Tell whether all descriptors have arrived; the kernel drops those a process has no room for (unix(7))."""
    return len(reply.descriptors) == int(reply.fields.get("descriptors", 0))


def _close(descriptors: Sequence[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def _meaning(error: HolderError) -> Exception:
    """Return what the holder's refusal is to our caller."""
    match error.error:
        case {"kind": "exec", "errno": int(number)}:
            return ExecFailed(number, found=error.error.get("found"))
        case {"kind": "user", "reason": str(reason)}:
            return NotAllowed(reason)
        case {"kind": "prepare", "why": str(reason)} | {"kind": "prepare", "reason": str(reason)}:
            return PrepareFailed(reason)
        case {"kind": "exhausted", "reason": str(reason)}:
            return Exhausted(reason)
    return Exhausted(str(error))
