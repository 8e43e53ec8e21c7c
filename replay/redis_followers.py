"""Logs of other nodes, followed: read from Redis into local memory, where any number of readers attach to them.

One follower a log, however many viewers; the number of connections does not grow with the logs: two for each primary
(`Link`). What is appended is heard of at once, by messages; the stream in Redis is the truth, and is read wherever a
message is missing or none came for a while (`Mirror`).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from replay.redis_connection import TROUBLE, explain
from replay.redis_follower import MISSING_SECONDS, Follower
from replay.redis_link import Link
from replay.redis_primaries import Primaries

if TYPE_CHECKING:
    from collections.abc import Callable

    from replay.log import Log
    from replay.redis_address import RedisAddress

LINGER_SECONDS = 10.0
"""How long a log is still followed that nobody reads: a viewer that comes back finds it warm."""
LOOK_AGAIN_SECONDS = 0.5
"""Between two looks at which primary has which log."""

report = structlog.get_logger()


class Followed:
    """One caller's hold of a followed log. What holds of the log is shared with all others who follow it.

    `log` has the epoch, positions, events and retention of the owner's; nobody but the follower appends to it.
    `changed` is called once (on the event loop, never within `follow`) if `log` is no good any more: another
    history has its name, or it is gone. Nothing is appended to it then; it can be
    read until `release`; whoever wants more follows the name again.
    """

    def __init__(self, follower: Follower, *, link: Callable[[], Link | None], release: Callable[[], None]) -> None:
        """Hold what was followed; made by `Followers.follow`."""
        self.changed: Callable[[], None] = lambda: None
        self._follower = follower
        self._link = link
        self._release = release
        self._is_released = False

    @property
    def log(self) -> Log:
        """The local log; its readers are notified as those of any log are."""
        return self._follower.log

    @property
    def trouble(self) -> str | None:
        """Why there may be nothing new for a while: Redis does not answer; None: it does."""
        if self._follower.is_missing:
            return "Redis does not have the log at the moment"
        link = self._link()
        return "no server of the cluster has the log" if link is None else link.trouble

    def release(self) -> None:
        """Let go; the last who does ends the following, after a while. Twice is harmless."""
        if not self._is_released:
            self._is_released = True
            self.changed = lambda: None
            self._release()


class _Shared:
    """A follower and all who hold it."""

    def __init__(self, follower: Follower) -> None:
        self.follower = follower
        self.link: Link | None = None
        self.waiting = 0
        self.holds: list[Followed] = []
        self.linger: asyncio.TimerHandle | None = None

    @property
    def is_held(self) -> bool:
        return bool(self.waiting or self.holds)


class Followers:
    """All logs that this node follows. `run` owns the tasks; it is single-use and needs no Redis to begin."""

    def __init__(
        self,
        address: RedisAddress,
        *,
        linger_seconds: float = LINGER_SECONDS,
        missing_seconds: float = MISSING_SECONDS,
        deliver: Callable[[Follower, bytes, float], bool] = Follower.hear,
    ) -> None:
        """Begin with none.

        `missing_seconds`: how long Redis may have forgotten a log before it counts as gone. `deliver`:
        what hands a message to a follower, for tests to come between.
        """
        self._missing_seconds = missing_seconds
        self._linger_seconds = linger_seconds
        self._deliver = deliver
        self._primaries = Primaries(address)
        self._shared: dict[str, _Shared] = {}
        self._links: dict[str, Link] = {}
        self._homeless: list[_Shared] = []
        self._is_unsure = False
        """Whether a log may be at another primary than it was."""
        self._work = asyncio.Event()
        self._is_stopping = False

    async def follow(self, name: str) -> Followed:
        """Return the log of that name, with everything Redis has of it now.

        Raises LogMissing, or one of `redis_connection.TROUBLE` if Redis cannot be asked now.
        """
        shared = self._shared.get(name)
        if shared is None:
            shared = self._begin(name)
        if shared.linger is not None:
            shared.linger.cancel()
            shared.linger = None
        shared.waiting += 1
        try:
            await shared.follower.ready.wait()
            if shared.follower.error is not None:
                raise shared.follower.error
            hold = Followed(shared.follower, link=lambda: shared.link, release=lambda: self._release(shared, hold))
            shared.holds.append(hold)
            return hold
        finally:
            shared.waiting -= 1
            self._let_go(shared)

    def _begin(self, name: str) -> _Shared:
        if self._is_stopping:
            raise ConnectionError("this node stops")
        shared = self._shared[name] = _Shared(Follower(name, missing_seconds=self._missing_seconds))
        shared.follower.on_lost = lambda: self._lose(shared)
        self._homeless.append(shared)
        self._work.set()
        return shared

    def _release(self, shared: _Shared, hold: Followed) -> None:
        shared.holds.remove(hold)
        self._let_go(shared)

    def _let_go(self, shared: _Shared) -> None:
        """End what nobody holds any more, after a while."""
        if shared.is_held:
            return
        if shared.follower.is_over or self._is_stopping:
            self._end(shared)
        elif shared.linger is None:
            loop = asyncio.get_running_loop()
            shared.linger = loop.call_later(self._linger_seconds, self._end, shared)

    def _end(self, shared: _Shared) -> None:
        """Follow it no more, and forget what there was of it."""
        shared.follower.is_over = True
        self._forget(shared)
        shared.follower.close()

    def _forget(self, shared: _Shared) -> None:
        if self._shared.get(shared.follower.name) is shared:
            del self._shared[shared.follower.name]
        if shared.link is not None:
            shared.link.remove(shared.follower)
            shared.link = None
            self._work.set()

    def _lose(self, shared: _Shared) -> None:
        """Tell all who hold it that it cannot be continued."""
        self._forget(shared)
        for hold in tuple(shared.holds):
            hold.changed()
        self._let_go(shared)

    # -- where they are

    async def run(self) -> None:
        """Follow until `stop`."""
        try:
            async with asyncio.TaskGroup() as tasks:
                try:
                    while not self._is_stopping:
                        await self._work.wait()
                        self._work.clear()
                        await self._place(tasks)
                finally:
                    self.stop()
        finally:
            for shared in tuple(self._shared.values()):
                self._end_now(shared)

    def stop(self) -> None:
        """End soon; nothing more is appended to any log, and who waits in `follow` is told an OSError."""
        self._is_stopping = True
        self._work.set()
        for link in self._links.values():
            link.stop()

    def _end_now(self, shared: _Shared) -> None:
        if shared.linger is not None:
            shared.linger.cancel()
        if not shared.follower.ready.is_set():
            shared.follower.fail(ConnectionError("this node stops"))
        shared.follower.is_over = True
        self._forget(shared)
        self._let_go(shared)

    async def _place(self, tasks: asyncio.TaskGroup) -> None:
        """Give each log to the link with its primary; end links without logs."""
        if self._is_stopping:
            return
        if (self._is_unsure or not self._primaries.are_known) and self._primaries.can_change:
            await self._find_primaries()
        homeless, self._homeless = self._homeless, []
        for shared in homeless:
            if not shared.follower.is_over:
                self._settle_at(shared, tasks)
        for name, link in tuple(self._links.items()):
            if not link.followers():
                link.stop()
                del self._links[name]

    async def _find_primaries(self) -> None:
        self._is_unsure = False
        try:
            await self._primaries.find()
        except TROUBLE as error:
            report.warning("nobody says which primaries there are", reason=explain(error))
            for shared in self._homeless:
                if not shared.follower.ready.is_set():
                    shared.follower.fail(error)
            self._doubt()
            return
        for shared in tuple(self._shared.values()):
            if shared.link is not None and shared.link.address != self._primaries.of(shared.follower.keys.stream):
                shared.link.remove(shared.follower)
                shared.link = None
                self._homeless.append(shared)

    def _settle_at(self, shared: _Shared, tasks: asyncio.TaskGroup) -> None:
        address = self._primaries.of(shared.follower.keys.stream)
        if address is None:
            self._homeless.append(shared)
            self._doubt()
            if not shared.follower.ready.is_set():
                shared.follower.fail(ConnectionError("no server of the cluster has its slot"))
            return
        link = self._links.get(str(address))
        if link is None:
            link = self._links[str(address)] = Link(address, deliver=self._deliver, on_trouble=self._doubt)
            tasks.create_task(link.run(), name=f"redis link {address}")
        shared.link = link
        link.add(shared.follower)

    def _doubt(self) -> None:
        """Look again, a little later, which primary has which log."""
        if self._primaries.can_change and not self._is_unsure:
            self._is_unsure = True
            asyncio.get_running_loop().call_later(LOOK_AGAIN_SECONDS, self._work.set)
