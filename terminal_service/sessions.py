"""All sessions of this process: creating, finding, expiring and ending them. Owns every task they need."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import structlog

from terminal_service.beginnings import Beginnings
from terminal_service.closings import Closings
from terminal_service.draining import Draining
from terminal_service.errors import Restarting, SessionOver, Unavailable, UnknownSession
from terminal_service.guarded import guarded
from terminal_service.launcher import Launcher
from terminal_service.place_watch import PlaceWatch
from terminal_service.revival import Revival
from terminal_service.session import Session, SessionSpec, State
from terminal_service.settlement import Settlement
from terminal_service.storage import Storage

if TYPE_CHECKING:
    from collections.abc import Collection, Coroutine, Iterable, Mapping

    from replay.store import Store
    from terminal_service.clock import Clock
    from terminal_service.counters import Counters
    from terminal_service.places import Places
    from terminal_service.publisher import Publisher
    from terminal_service.records import Records
    from terminal_service.recovery import Kept
    from terminal_service.settings import Settings
    from terminal_service.sizes import SizePolicy

TICK_SECONDS = 1.0
LOST_REASON = "this node was taken for dead by others"
ALL_ENDED_MS = 1000
"""When clients may expect the service back where no session goes on: nobody is in a hurry then."""

SETTLE_SECONDS = 2.0
"""How long whoever ends a session waits for its end to be known everywhere."""

log = structlog.get_logger()


class Sessions:
    """The sessions of this process. `run` owns their tasks; it is single-use."""

    def __init__(
        self,
        *,
        settings: Settings,
        places: Places,
        store: Store,
        records: Records,
        publisher: Publisher,
        clock: Clock,
        counters: Counters,
    ) -> None:
        """Begin without sessions."""
        self.settings = settings
        self.places = places
        self.counters = counters
        self.ready = asyncio.Event()
        self.clock = clock
        self.draining = Draining(clock)
        self._storage = Storage(store, records, clock=clock)
        self._launcher = Launcher(
            settings=settings, places=places, storage=self._storage, clock=clock, counters=counters
        )
        self._publisher = publisher
        self._sessions: dict[str, Session] = {}
        self._shown: dict[str, Kept] = {}
        """What is shown here of sessions that were another node's."""
        self._stopping = asyncio.Event()
        self._ends_all = True
        self._closings = Closings(self._start_task, grace_seconds=settings.stop_grace_seconds)
        self._tasks: asyncio.TaskGroup | None = None
        self._settlement = Settlement(self._storage, publisher, self._closings, counters)
        self._beginnings = Beginnings(self._prepare, self._settlement.fail, self._start_task)
        self._revival = Revival(
            self._launcher, self._storage, self._start_task, go_on=self._go_on, lose=self._settlement.fail
        )
        self._place_watch = PlaceWatch(places, living=self._living_ids, clock=clock, counters=counters)

    # -- life of the component

    async def run(self) -> None:
        """Find what an earlier process left, then keep time until `stop`.

        At the end every session has ended, or goes on without this process.
        """
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                await self._revival.run(self._add)
                self.tick()  # whose time is over by now is not brought back to life by a viewer that is quick
                self.ready.set()
                self._start_task(self._mend_until_stopped(), "mend storage")
                self._start_task(self._publisher.run(self._own, self.lose), "publish sessions")
                self._start_task(self._place_watch.run(self._stopping), "watch backends")
                while not await self._stops_within(TICK_SECONDS):
                    self.tick()
                await self._leave()
                self._publisher.stop()
            await self._storage.settle(self.all())
        finally:
            self._tasks = None
            self._storage.close()

    async def _leave(self) -> None:
        """Tell every viewer to come back; let go of the programs that go on, and end the others. Waits for that."""
        restarting = Restarting(ALL_ENDED_MS) if self._ends_all else Restarting()
        for session in self._sessions.values():
            session.send_away(1012, str(restarting))
        await asyncio.gather(*(self._leave_one(session) for session in list(self._sessions.values())))

    async def _leave_one(self, session: Session) -> None:
        if self._ends_all or not await self._detach(session):
            self._end_soon(session, "shutdown")
        if session.terminal is None or not session.terminal.is_left:
            await session.over.wait()

    async def _detach(self, session: Session) -> bool:
        """Let go of a session whose program goes on without this process; tell whether it does."""
        backend = self._launcher.backend_of(session)
        terminal = session.terminal
        pty = terminal.pty if terminal else None
        is_recalled = self._revival.recalls.has(session)
        if session.state is not State.RUNNING or terminal is None or (pty is None and not is_recalled):
            return False
        if backend is None or not backend.capabilities.reattach:
            return False
        terminal.leave()
        session.send_away(1012, str(Restarting()))  # those who have come meanwhile
        if is_recalled:
            self._revival.recalls.release(session)
        if pty is not None:
            await pty.detach()
        await self._storage.save(session)
        return True

    async def _mend_until_stopped(self) -> None:
        """Store what could not be stored, as soon as there is room. Apart from `tick`: a disk may hang."""
        while not await self._stops_within(TICK_SECONDS):
            for session in self.all():
                await guarded(self._storage.mend(session), f"mend session {session.session_id}")

    async def _stops_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                return await self._stopping.wait()
        except TimeoutError:
            return False

    def drain(self, seconds: float) -> float:
        """Refuse new sessions, and tell those that there are that they have so long; return when, by the wall clock."""
        return self.draining.begin(seconds, self.all())

    def stop(self, *, end_all: bool = True) -> None:
        """Refuse new sessions and end all, or only those that cannot go on without this process.

        `run` returns when that is done.
        """
        self._ends_all = end_all
        self._stopping.set()

    @property
    def is_stopping(self) -> bool:
        """Whether new work is refused."""
        return self._stopping.is_set()

    # -- creating

    async def shells(self, owner: str) -> dict[str, list[str]]:
        """Return the shells that sessions of an owner can have, by backend; of both the default one first."""
        return await self._launcher.shells(owner)

    async def create(self, spec: SessionSpec, owner: str) -> Session:
        """Start a session.

        It runs then, or, if that takes longer than CREATE_WAIT_SECONDS, goes on to be prepared. Raises InvalidRequest
        (with the field), Forbidden, LimitReached, Draining, BackendUnreachable, BackendRefused, NotToBeHad,
        Unavailable, SessionOver (ended while it was being started); nothing is left behind then.
        """
        if self._tasks is None or self.is_stopping:
            raise Unavailable("the service is shutting down")
        self.draining.check()
        self._launcher.check_limits(owner, self._sessions.values())
        session = self._launcher.make_session(spec, owner)
        self._sessions[session.session_id] = session
        try:
            await self._publisher.claim(session)
            is_running = await self._beginnings.begin(session, wait_seconds=self.settings.create_wait_seconds)
        except BaseException:
            await self._undo(session)
            raise
        if not is_running:
            log.info("session is being prepared", session_id=session.session_id, backend=session.backend, owner=owner)
            await self._storage.save(session)
        await self._publisher.publish(session)  # whoever is told of it may ask another node for it
        return session

    async def _prepare(self, session: Session) -> None:
        """Have a session run. Raises as `create`."""
        await self._launcher.start(session)
        self.draining.tell(session)
        self._start_task(self._settlement.watch(session), f"watch session {session.session_id}")
        self.counters.sessions_created += 1
        log.info("session started", session_id=session.session_id, shell=session.shell, owner=session.owner)
        saving = self._start_task(self._storage.save(session), f"save session {session.session_id}")
        await asyncio.shield(saving)

    async def _undo(self, session: Session) -> None:
        """Leave nothing of a session that could not be started."""
        try:
            await self._closings.close(session)
            await self._settlement.close_environment(session)
        finally:
            session.enter(State.ERROR, "could not be started")
            session.settled.set()
            self._sessions.pop(session.session_id, None)
        await guarded(self._forget(session), f"forget session {session.session_id}")

    # -- finding

    def get(self, session_id: str) -> Session:
        """Return a session, living or ended. Raises UnknownSession, Restarting (let go of)."""
        try:
            session = self._sessions[session_id]
        except KeyError:
            raise UnknownSession(session_id) from None
        if session.terminal is not None and session.terminal.is_left:
            raise Restarting
        return session

    def has(self, session_id: str) -> bool:
        """Whether this process has a session, living or ended."""
        return session_id in self._sessions

    def all(self) -> Iterable[Session]:
        """Return all sessions, oldest first."""
        return list(self._sessions.values())

    def _add(self, session: Session) -> None:
        self._sessions[session.session_id] = session

    def _living_ids(self) -> Collection[str]:
        """Return the ids of those that have not ended: what was provisioned for them stays."""
        return [session.session_id for session in self._own() if session.is_living]

    def _own(self) -> Iterable[Session]:
        """Return those that this node has or had the programs of."""
        return [session for key, session in self._sessions.items() if key not in self._shown]

    def show(self, session_id: str, record: dict[str, Any], kept: Kept | None) -> None:
        """Show what is left of a session whose node is gone: its record, and its log, if that is readable."""
        session = self._launcher.restore(session_id, record)
        self._sessions[session_id] = session
        self._revival.lay_out(session, kept.log if kept is not None else None)
        if session.terminal is not None:
            session.terminal.is_remnant = True
        if kept is not None:
            self._shown[session_id] = kept

    @property
    def living_count(self) -> int:
        """How many sessions have not ended."""
        return sum(session.is_living for session in self._sessions.values())

    @property
    def unstored_count(self) -> int:
        """How many sessions have something that is not stored: output in memory only, or an outdated record."""
        return sum(self._storage.is_behind(session) for session in self.all())

    @property
    def unstored_since(self) -> float | None:
        """Since when something is not stored, in wall-clock seconds, as far as it was seen; None: all is stored."""
        return self._storage.behind_since(self.all())

    # -- changing

    async def update(
        self,
        session: Session,
        *,
        name: str | None = None,
        labels: Mapping[str, str] | None = None,
        ttl_seconds: float | None = None,
        size_policy: SizePolicy | None = None,
    ) -> None:
        """Change what is given, and keep it. A new TTL counts from now. Raises SessionOver."""
        if not session.is_living:
            raise SessionOver(session.session_id, session.end_reason)
        if name is not None:
            session.name = name
        if labels is not None:
            session.labels = dict(labels)
        if ttl_seconds is not None:
            session.ttl_seconds = ttl_seconds
            session.bump("update")
        if size_policy is not None and session.terminal is not None:
            session.terminal.set_policy(size_policy)
        await self._storage.save(session)
        await self._publisher.publish(session)

    # -- ending

    def tick(self) -> None:
        """Expire what is over, forget what ended long ago, and tell where storage has failed."""
        self._storage.behind_since(self.all())  # whoever asks later learns when it began
        for session in list(self._sessions.values()):
            self._storage.tell_trouble(session)
            if session.is_living:
                reason = session.expiry_reason
                if reason is not None:
                    self._end_soon(session, reason)
            elif session.is_past(self.settings.ended_session_seconds):
                self._sessions.pop(session.session_id)
                self._start_task(self._forget(session), f"forget session {session.session_id}")

    async def end(self, session: Session, reason: str) -> None:
        """End a session and its whole process tree; returns when it has ended. Ending twice is harmless."""
        self._end_soon(session, reason)
        await session.over.wait()
        with contextlib.suppress(TimeoutError):  # other nodes learn of it a little later then
            async with asyncio.timeout(SETTLE_SECONDS):
                await session.settled.wait()

    def lose(self, session_id: str) -> None:
        """End a session that another node has taken for lost: all have been told so, and its log goes on nowhere."""
        session = self._sessions.get(session_id)
        if session is not None and session.is_living and session_id not in self._shown:
            log.error("session was taken from this node", session_id=session_id)
            session.is_lost = True
            self._end_soon(session, LOST_REASON)

    def _end_soon(self, session: Session, reason: str) -> None:
        has_begun = session.state is State.RUNNING
        if not session.enter(State.ENDING, reason):
            return
        session.end_reason = reason
        if self._revival.recalls.has(session):
            self._revival.recalls.end(session)
        elif has_begun or not self._beginnings.cancel(session):
            self._closings.start(session)

    def hurry(self) -> None:
        """End what is being ended without any more grace."""
        self._closings.hurry()

    def _start_task(self, work: Coroutine[object, object, None], name: str) -> asyncio.Task[None]:
        if self._tasks is None:
            work.close()
            raise Unavailable("the service has stopped")
        return self._tasks.create_task(guarded(work, name), name=name)

    def _go_on(self, session: Session) -> None:
        """Go on with a session of an earlier process that has its program again."""
        self.draining.lift(session)
        self._start_task(self._settlement.watch(session), f"watch session {session.session_id}")
        if session.state is State.ENDING:
            self._closings.start(session)
        log.info("session goes on", session_id=session.session_id)

    async def _forget(self, session: Session) -> None:
        session.send_away(4410, "session ended")
        if session.terminal is not None:
            for viewer in list(session.terminal.attachments):
                session.terminal.detach(viewer)
        kept = self._shown.pop(session.session_id, None)
        if kept is not None:
            kept.release()
        await self._storage.forget(session)
        await self._publisher.forget(session)
