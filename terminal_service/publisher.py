"""Makes the sessions of this node known to all nodes, as they are now; and counts them, over all nodes, first."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import TYPE_CHECKING, NamedTuple

import structlog

from nodes.base import Entry
from nodes.errors import Away, Full
from terminal_service.errors import LimitReached
from terminal_service.recovery import make_record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from nodes.base import Directory
    from terminal_service.clock import Clock
    from terminal_service.session import Session

PUBLISH_SECONDS = 1.0
"""How old what other nodes show of a session may be, about."""
BUSY_SECONDS = 5.0
"""The same of what changes all the time, while a program prints: it would be more than what is printed."""
REFRESH_SECONDS = 30.0
"""So often it is said again, should it have been lost."""
ANSWER_SECONDS = 1.0
"""How long whoever makes a session waits for it to be known: other nodes learn of it a little later then."""
BATCH = 200
"""How many sessions are described at once: 200 take some 10 ms."""

log = structlog.get_logger()


class Publisher:
    """Publishes sessions. `run` is single-use. Away or not, nothing here fails a session."""

    def __init__(
        self, directory: Directory, node_id: str, *, describe: Callable[[Session], bytes], user_limit: int, clock: Clock
    ) -> None:
        """Begin with nothing published. `describe` returns the JSON that the HTTP API shows of a session."""
        self._directory = directory
        self._node_id = node_id
        self._describe = describe
        self._user_limit = user_limit
        self._clock = clock
        self._published: dict[str, tuple[_Marks, float]] = {}
        """What was published of each session, by what tells that it has changed, and when."""
        self._stopping = asyncio.Event()
        self._is_away = False

    # -- counting

    async def claim(self, session: Session) -> None:
        """Count a session that is to be made. Raises LimitReached; where nobody can be asked it is counted later."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._directory.claim(
                    session.session_id, session.owner, limit_all=sys.maxsize, limit_user=self._user_limit
                )
        except Full as full:
            raise LimitReached("sessions per user", full.limit) from full
        except (Away, TimeoutError) as error:
            self._note_away(error)

    # -- publishing

    async def publish(self, session: Session) -> bool:
        """Make a session known as it is now; return whether it is still this node's."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return not await self._save([session])
        except (Away, TimeoutError) as error:
            self._published.pop(session.session_id, None)
            self._note_away(error)
            return True

    async def forget(self, session: Session) -> None:
        """Have all nodes forget a session; where that cannot be said now, its time there runs out."""
        self._published.pop(session.session_id, None)
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._directory.forget(session.session_id, session.owner)
        except (Away, TimeoutError) as error:
            self._note_away(error)

    async def run(self, sessions: Callable[[], Iterable[Session]], on_lost: Callable[[str], None]) -> None:
        """Publish what changes until `stop`. `on_lost` is called with a session that was taken for lost by others."""
        while True:
            is_last = self._stopping.is_set()
            for session_id in await self._publish_changed(sessions()):
                on_lost(session_id)
            if is_last:
                return
            try:
                async with asyncio.timeout(PUBLISH_SECONDS):
                    await self._stopping.wait()
            except TimeoutError:
                continue

    def stop(self) -> None:
        """Publish once more and end."""
        self._stopping.set()

    async def _publish_changed(self, sessions: Iterable[Session]) -> list[str]:
        """Publish what has changed or was said long ago; return the ids of those that others took for lost."""
        lost: list[str] = []
        batch: list[Session] = []
        now = self._clock.monotonic()
        try:
            for session in sessions:
                if self._is_due(session, now):
                    batch.append(session)
                if len(batch) >= BATCH:
                    lost += await self._save(batch)
                    batch = []
            if batch:
                lost += await self._save(batch)
        except Away as away:
            self._note_away(away)
        return lost

    def _is_due(self, session: Session, now: float) -> bool:
        if session.session_id not in self._published:
            return True
        published, at = self._published[session.session_id]
        if now - at > REFRESH_SECONDS:
            return True
        marks = _Marks.of(session)
        return marks.state != published.state or (marks.output != published.output and now - at > BUSY_SECONDS)

    async def _save(self, sessions: list[Session]) -> list[str]:
        now = self._clock.monotonic()
        marks = {session.session_id: (_Marks.of(session), now) for session in sessions}
        lost = list(await self._directory.save([self._entry(session) for session in sessions]))
        self._published |= marks
        if self._is_away:
            self._is_away = False
            log.info("other nodes are told of sessions again")
        return lost

    def _entry(self, session: Session) -> Entry:
        return Entry(
            session_id=session.session_id,
            node_id=self._node_id,
            user=session.owner,
            created_at=session.created_at,
            is_living=session.is_living,
            record=json.dumps(make_record(session)).encode(),
            view=self._describe(session),
        )

    def _note_away(self, error: Exception) -> None:
        if not self._is_away:
            self._is_away = True
            log.warning("other nodes cannot be told of sessions", reason=str(error) or type(error).__name__)


class _Marks(NamedTuple):
    """What is another value whenever something of a session has changed that others should see."""

    state: object
    output: object
    """Of what changes while a program prints, and somebody types."""

    @classmethod
    def of(cls, session: Session) -> _Marks:
        """Look at a session."""
        terminal = session.terminal
        shown: tuple[object, ...] = ()
        head = 0
        if terminal is not None:
            viewers = tuple((viewer.client_id, viewer.size) for viewer in terminal.attachments)
            head, shown = terminal.log.head, (terminal.log.next_index, viewers, terminal.log.shortcoming)
        labels = tuple(session.labels.items())
        state = (len(session.history), session.name, labels, session.ttl_seconds, shown)
        return cls(state, (head, session.last_activity, session.last_bump))
