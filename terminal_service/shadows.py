"""Sessions of other nodes, as they are shown on this one: for as long as somebody here looks at them."""

from __future__ import annotations

import asyncio
import json
import secrets
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
import structlog

from nodes.errors import NodesError
from replay.errors import LogMissing
from terminal_service import node_wire as notes
from terminal_service.errors import Restarting, Unavailable
from terminal_service.followed_terminal import FollowedTerminal
from terminal_service.recovery import TERMINAL_ID

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from nodes.base import Entry, Mail
    from replay.log import Log
    from terminal_service.attachment import Attachment, Outlet
    from terminal_service.clock import Clock
    from terminal_service.counters import Counters
    from terminal_service.fleet import Fleet
    from terminal_service.session import Session
    from terminal_service.sessions import Sessions
    from terminal_service.wish import Wish

JOIN_SECONDS = 5.0
IDLE_SECONDS = 10.0
"""A session nobody here looks at any more is followed for so long: whoever reconnects finds it warm."""
RETRY_MS = 1000

log = structlog.get_logger()


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
            return self.terminal.attach(outlet, wish, name, answer)
        except NodesError as error:
            raise Restarting(RETRY_MS) from error
        finally:
            if not self.terminal.knows(name):
                self._tell(notes.Left(name, 0))
                self.terminal.forget(name)

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


class Shadows:
    """All of them."""

    def __init__(
        self,
        fleet: Fleet,
        sessions: Sessions,
        follow: Callable[[str], Awaitable[Followed]],
        *,
        troubles: tuple[type[Exception], ...],
        clock: Clock,
        counters: Counters,
    ) -> None:
        """Begin with none. `follow` follows a log by name; it raises LogMissing, or one of `troubles`."""
        self._fleet = fleet
        self._sessions = sessions
        self._follow = follow
        self._troubles = troubles
        self._clock = clock
        self._counters = counters
        self._shadows: dict[str, Shadow] = {}
        fleet.mail.on_note(notes.HOST, self._hear)
        fleet.mail.on_reset(self._abandon)

    async def find(self, session_id: str) -> Session | Shadow:
        """Return a session, wherever it is. Raises UnknownSession, Restarting, Unavailable."""
        if self._sessions.has(session_id):
            return self._sessions.get(session_id)
        shadow = self._shadows.get(session_id)
        if shadow is not None and (shadow.is_living or self._fleet.registry.is_living(shadow.node_id)):
            return shadow
        entry = await self._fleet.find_elsewhere(session_id)
        if entry is None:
            return self._sessions.get(session_id)
        if self._fleet.lives(entry):
            return await self._begin(entry)
        if entry.is_living and entry.node_id == self._fleet.registry.node_id:
            return self._sessions.get(session_id)  # it was forgotten this moment
        if entry.is_living:
            raise Restarting(RETRY_MS)  # its node is gone, or comes back: that is not settled yet
        return await self._lay_out(entry)

    async def _begin(self, entry: Entry) -> Shadow:
        followed = await self._open(entry.session_id)
        if followed is None:
            raise Restarting(RETRY_MS)  # it has just begun, or Redis has just lost it
        shadow = self._shadows.get(entry.session_id)
        if shadow is not None:  # another was quicker
            followed.release()
            return shadow
        shadow = self._shadows[entry.session_id] = Shadow(
            entry,
            followed,
            mail=self._fleet.mail,
            loop=asyncio.get_running_loop(),
            clock=self._clock,
            counters=self._counters,
        )
        followed.changed = lambda: self._end(shadow)
        return shadow

    async def _open(self, session_id: str) -> Followed | None:
        try:
            return await self._follow(f"{session_id}/{TERMINAL_ID}")
        except LogMissing:
            return None
        except self._troubles as error:
            raise Unavailable(f"output cannot be read: {type(error).__name__}") from error

    async def _lay_out(self, entry: Entry) -> Session:
        """Have this node show what is left of a session whose node is gone."""
        followed = await self._open(entry.session_id)
        try:
            record: Mapping[str, Any] = json.loads(entry.record)
            if not self._sessions.has(entry.session_id):
                self._sessions.show(entry.session_id, dict(record), followed)
                followed = None
        finally:
            if followed is not None:
                followed.release()
        return self._sessions.get(entry.session_id)

    # -- what hosts say

    def _hear(self, node: str, body: bytes) -> None:
        try:
            note = notes.decode_host(body)
        except msgspec.MsgspecError as error:
            log.error("note of another node cannot be read", node=node, reason=str(error))  # noqa: TRY400 - no bug of ours to trace
            return
        if isinstance(note, notes.Facts | notes.Present):
            shadow = self._shadows.get(note.session_id)
        else:
            shadow = next((each for each in self._shadows.values() if each.terminal.expects(note.viewer)), None)
        if shadow is None or shadow.node_id != node:
            return  # it has left meanwhile
        if isinstance(note, notes.Facts):
            shadow.take(note)
        else:
            shadow.terminal.hear(note)

    def _abandon(self, node: str) -> None:
        """Send away whoever looks at a node's sessions: what was on its way may be lost. They come back at once.

        Those of a dead node stay: the end of the session is being written into its log, and is told there.
        """
        if self._fleet.registry.is_living(node):
            for shadow in list(self._shadows.values()):
                if shadow.node_id == node and shadow.is_living:
                    self._end(shadow)

    def _end(self, shadow: Shadow) -> None:
        if self._shadows.get(shadow.session_id) is shadow:
            del self._shadows[shadow.session_id]
        shadow.terminal.close(1012, str(Restarting()))
        shadow.followed.release()

    def tick(self) -> None:
        """Let go of what nobody looks at, and tell where output is delayed."""
        now = self._clock.monotonic()
        for shadow in list(self._shadows.values()):
            if shadow.terminal.is_watched:
                shadow.idle_since = now
            elif now - shadow.idle_since > IDLE_SECONDS:
                self._end(shadow)
                continue
            trouble = shadow.followed.trouble
            if trouble != shadow.told_trouble:
                shadow.told_trouble = trouble
                shadow.terminal.tell_trouble(trouble)

    def close(self) -> None:
        """Send everybody away; they find another node."""
        for shadow in list(self._shadows.values()):
            self._end(shadow)
