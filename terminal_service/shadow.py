"""A session of another node, as it is shown on this one: a followed log, and a time to live that the host tells."""

from __future__ import annotations

import asyncio
import json
import secrets
from typing import TYPE_CHECKING, Protocol

from nodes.errors import NodesError
from terminal_service import node_wire as notes
from terminal_service.errors import Restarting
from terminal_service.followed_terminal import FollowedTerminal
from terminal_service.recovery import TERMINAL_ID

if TYPE_CHECKING:
    from collections.abc import Callable

    from nodes.base import Entry, Mail
    from replay.log import Log
    from terminal_service.attachment import Attachment, Outlet
    from terminal_service.clock import Clock
    from terminal_service.counters import Counters
    from terminal_service.wish import Wish

JOIN_SECONDS = 5.0
CATCH_UP_SECONDS = 5.0
RETRY_MS = 1000


class Followed(Protocol):
    """A log of another node's, followed here until it is released (`replay.redis_followers`)."""

    changed: Callable[[], None]
    """Called when the log is no good any more: its history has changed, or it is gone."""

    @property
    def log(self) -> Log:
        """The local copy, which grows as the other does."""
        ...

    @property
    def trouble(self) -> str | None:
        """Why it does not grow at the moment; None: it does."""
        ...

    def release(self) -> None:
        """Follow it no longer; releasing twice is harmless."""
        ...


class Shadow:
    """One session of another node's."""

    def __init__(
        self,
        entry: Entry,
        followed: Followed,
        *,
        mail: Mail,
        loop: asyncio.AbstractEventLoop,
        clock: Clock,
        counters: Counters,
    ) -> None:
        """Show what is followed. The time to live is what the entry says, until the host says more."""
        view = json.loads(entry.view)
        self.session_id = entry.session_id
        self.owner = entry.user
        self.node_id = entry.node_id
        self.followed = followed
        self.ttl_seconds = float(view["ttl_seconds"])
        self.keepalive = bool(view["keepalive"])
        self.ttl_watchers: set[Callable[[], None]] = set()
        self.idle_since = clock.monotonic()
        self.told_trouble: str | None = None
        self._ends: float | None = None
        self._clock = clock
        self._mail = mail
        self.terminal = FollowedTerminal(
            TERMINAL_ID,
            followed.log,
            tell=self._tell,
            backlog_bytes=lambda: mail.backlog_bytes(self.node_id),
            loop=loop,
            clock=clock,
            counters=counters,
        )

    def _tell(self, note: notes.GuestNote) -> None:
        self._mail.send(self.node_id, notes.GUEST, notes.encode(note))

    async def attach(self, outlet: Outlet, wish: Wish) -> Attachment:
        """Attach a viewer when the host has let it in; see `Terminal.attach`.

        Raises Restarting too: the host cannot be asked at the moment.
        """
        name = secrets.token_urlsafe(9)
        join = notes.Join(
            wish.session_id, self.terminal.terminal_id, name, wish.client_id, wish.user, wish.role, wish.is_owner
        )
        self.terminal.expect(name)
        try:
            body = await self._mail.call(self.node_id, notes.JOIN, notes.encode(join), seconds=JOIN_SECONDS)
            answer = notes.decode_answer(body)
            if isinstance(answer, notes.Refused):
                raise notes.refusal_of(answer)
            self.take(answer.facts)
            await self._catch_up(wish, answer)
            return self.terminal.attach(outlet, wish, name, answer)
        except NodesError as error:
            raise Restarting(RETRY_MS) from error
        finally:
            if not self.terminal.knows(name):
                self._tell(notes.Left(name, 0))
                self.terminal.forget(name)

    async def _catch_up(self, wish: Wish, joined: notes.Joined) -> None:
        """Wait until what a viewer has already is here too: it may come from the host, faster than its output.

        Raises Restarting: that takes too long, or this is followed no more.
        """
        log = self.followed.log
        asked = joined.bookmark if wish.recover_from == "last_sequence" else wish.recover_from
        if isinstance(asked, int) and asked <= joined.head and wish.epoch in {None, log.epoch}:
            grown = asyncio.Event()
            unsubscribe = log.subscribe(grown.set)
            try:
                async with asyncio.timeout(CATCH_UP_SECONDS):
                    while log.head < asked and self.is_living and not self.terminal.is_left:
                        grown.clear()
                        await grown.wait()
            except TimeoutError:
                raise Restarting(RETRY_MS) from None
            finally:
                unsubscribe()
        if self.terminal.is_left:
            raise Restarting

    # -- time to live, as `Session` has it

    def take(self, facts: notes.Facts) -> None:
        """Learn how long it has to live."""
        is_other = facts.ttl_seconds != self.ttl_seconds
        self.ttl_seconds, self.keepalive = facts.ttl_seconds, facts.keepalive
        self._ends = None if facts.seconds_left is None else self._clock.monotonic() + facts.seconds_left
        if is_other:
            for tell in list(self.ttl_watchers):
                tell()

    @property
    def is_living(self) -> bool:
        """Whether it has not ended yet, as far as its log says."""
        return self.terminal.end_message() is None

    @property
    def end_reason(self) -> str:
        """Why it ended."""
        ended = self.terminal.end_message()
        return ended.reason if ended else ""

    @property
    def expires_at(self) -> float | None:
        """When it ends without further activity, in wall-clock seconds for display; None once it has."""
        if self._ends is None or not self.is_living:
            return None
        return self._clock.wall() + self._ends - self._clock.monotonic()

    def bump(self, source: str) -> None:
        """Have a viewer's being here keep the session alive; what it does counts where it is done."""
        if source == "viewer" and self.keepalive:
            self.terminal.keep_alive()
