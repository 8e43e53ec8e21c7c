"""Sessions of other nodes, as they are shown on this one: for as long as somebody here looks at them."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from replay.errors import LogMissing
from terminal_service import node_wire as notes
from terminal_service.errors import Restarting, Unavailable
from terminal_service.recovery import TERMINAL_ID
from terminal_service.shadow import RETRY_MS, Shadow

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from nodes.base import Entry
    from terminal_service.audience import Audience
    from terminal_service.clock import Clock
    from terminal_service.counters import Counters
    from terminal_service.fleet import Fleet
    from terminal_service.session import Session
    from terminal_service.sessions import Sessions
    from terminal_service.shadow import Followed

IDLE_SECONDS = 10.0
"""A session nobody here looks at any more is followed for so long: whoever reconnects finds it warm."""

log = structlog.get_logger()


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

    @property
    def terminals(self) -> Sequence[Audience]:
        """What is followed now."""
        return [shadow.terminal for shadow in self._shadows.values()]

    async def find(self, session_id: str, may_know: Callable[[str], bool]) -> Session | Shadow:
        """Return a session, wherever it is. Raises UnknownSession, Restarting, Unavailable.

        For somebody who may not know of sessions of its user there is none, and nothing is begun.
        """
        if self._sessions.has(session_id):
            return self._sessions.get(session_id)
        shadow = self._shadows.get(session_id)
        if shadow is not None and self._fleet.answers(shadow.node_id):
            return shadow
        entry = await self._fleet.find_elsewhere(session_id)
        if entry is None or not may_know(entry.user):
            return self._sessions.get(session_id)
        if self._fleet.answers(entry.node_id):
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
