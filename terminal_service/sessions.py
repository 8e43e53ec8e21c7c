"""All sessions of this process: creating, finding, expiring and ending them. Owns every task they need."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING

import structlog

from backends.base import (
    BackendError,
    DirectoryNotFound,
    ExitStatus,
    InvalidProgram,
    OutOfResources,
    Program,
    ShellNotFound,
)
from terminal_service.errors import InvalidRequest, LimitReached, SessionOver, Unavailable, UnknownSession
from terminal_service.recovery import TERMINAL_ID, log_name, make_record, recover_sessions
from terminal_service.session import Session, SessionSpec, State
from terminal_service.sizes import SizePolicy
from terminal_service.terminal import Terminal

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable, Mapping

    from backends.base import Backend
    from replay.log import Log
    from replay.store import Store
    from terminal_service.clock import Clock
    from terminal_service.counters import Counters
    from terminal_service.records import Records
    from terminal_service.settings import Settings

TICK_SECONDS = 1.0
RETRY_AFTER_MS = 1000
"""When clients may expect the service back after a restart; they add jitter of their own."""

log = structlog.get_logger()


class Sessions:
    """The sessions of this process. `run` owns their tasks; it is single-use."""

    def __init__(
        self,
        *,
        settings: Settings,
        backends: Mapping[str, Backend],
        store: Store,
        records: Records,
        clock: Clock,
        counters: Counters,
    ) -> None:
        """Begin without sessions; the first backend is the default one."""
        self.settings = settings
        self.counters = counters
        self.ready = asyncio.Event()
        self._backends = backends
        self._store = store
        self._records = records
        self.clock = clock
        self._sessions: dict[str, Session] = {}
        self._stopping = asyncio.Event()
        self._tasks: asyncio.TaskGroup | None = None
        self._unsaved: set[str] = set()
        """Sessions whose record could not be written as it is now."""

    # -- life of the component

    async def run(self) -> None:
        """Find what an earlier process left, then keep time until `stop`; at the end every session has ended."""
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                await self._recover()
                self.ready.set()
                self._start_task(self._mend_until_stopped(), "mend storage")
                while not await self._stops_within(TICK_SECONDS):
                    self.tick()
                self._tell_restart()
                for session in list(self._sessions.values()):
                    self._end_soon(session, "shutdown")
        finally:
            self._tasks = None
            for session in self._sessions.values():
                if session.terminal is not None:
                    session.terminal.log.restore_storage()
                    session.terminal.log.close()

    async def _stops_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                return await self._stopping.wait()
        except TimeoutError:
            return False

    def stop(self) -> None:
        """Refuse new sessions and end all; `run` returns when that is done."""
        self._stopping.set()

    @property
    def is_stopping(self) -> bool:
        """Whether new work is refused."""
        return self._stopping.is_set()

    # -- creating

    async def create(self, spec: SessionSpec, owner: str) -> Session:
        """Start a session.

        Raises InvalidRequest (with the field), LimitReached, Unavailable, SessionOver (ended while it was being
        started); nothing is left behind then.
        """
        if self._tasks is None or self.is_stopping:
            raise Unavailable("the service is shutting down")
        self._check_limits(owner)
        session = self._make_session(spec, owner)
        self._sessions[session.session_id] = session
        try:
            await self._start(session)
            self._start_task(self._watch(session), f"watch session {session.session_id}")
            saved = self._start_task(self._save(session), f"save session {session.session_id}")
        except BaseException as error:
            await self._undo(session)
            if isinstance(error, BackendError):
                raise self._refusal(session, error) from error
            raise
        self.counters.sessions_created += 1
        log.info("session started", session_id=session.session_id, shell=session.shell, owner=owner)
        await asyncio.shield(saved)
        return session

    def _check_limits(self, owner: str) -> None:
        living = [session for session in self._sessions.values() if session.is_living]
        if len(living) >= self.settings.max_sessions:
            raise LimitReached("sessions", self.settings.max_sessions)
        limit = self.settings.max_concurrent_sessions_per_user
        if sum(session.owner == owner for session in living) >= limit:
            raise LimitReached("sessions per user", limit)

    def _make_session(self, spec: SessionSpec, owner: str) -> Session:
        settings = self.settings
        return Session(
            str(uuid.uuid4()),
            owner,
            spec,
            ttl_seconds=settings.session_ttl_seconds if spec.ttl_seconds is None else spec.ttl_seconds,
            max_lifetime_seconds=settings.session_max_lifetime_seconds,
            clock=self.clock,
        )

    async def _start(self, session: Session) -> None:
        spec = session.spec
        name = spec.backend or next(iter(self._backends))
        backend = self._backends.get(name)
        if backend is None:
            raise InvalidRequest("backend", f"{name!r} is not one of: {', '.join(self._backends)}")
        session.backend = name
        session.shell = spec.command[0] if spec.command else spec.shell or await self._default_shell(backend)
        session.enter(State.PREPARING, f"starting on {name}")
        session.environment = await backend.open(session.session_id)
        retention_bytes = spec.retention_bytes or self.settings.retention_bytes
        try:
            output = await asyncio.to_thread(self._store.create, log_name(session), retention_bytes)
        except OSError as error:  # not even memory for it: a full disk is no error of `create`
            raise Unavailable(f"no room for output: {error.strerror or error}") from error
        terminal = self._make_terminal(session, output)
        session.terminal = terminal
        program = Program(
            session_id=session.session_id,
            shell=None if spec.command else session.shell or None,
            command=spec.command,
            cwd=spec.cwd,
            env=spec.env,
            rows=spec.size.rows,
            cols=spec.size.cols,
        )
        terminal.connect(await session.environment.spawn(program, terminal))
        self.counters.pty_spawns[_shell_type(session)] += 1
        if not session.enter(State.RUNNING, "started"):
            raise SessionOver(session.session_id, session.end_reason)  # ended while it was being started

    async def _default_shell(self, backend: Backend) -> str:
        configured = self.settings.default_shell
        if configured is not None and backend is next(iter(self._backends.values())):
            return configured
        return next(iter(await backend.shells()), "")

    def _make_terminal(self, session: Session, output: Log) -> Terminal:
        spec, settings = session.spec, self.settings
        terminal = Terminal(
            TERMINAL_ID,
            output,
            size=spec.size,
            size_policy=spec.size_policy or SizePolicy(settings.size_policy),
            viewers_limit=settings.max_viewers_per_session,
            loop=asyncio.get_running_loop(),
            clock=self.clock,
            counters=self.counters,
            on_activity=session.bump,
        )
        if output.degraded is not None:
            self._tell_storage(terminal, durable=False, reason=str(output.degraded))
        return terminal

    def _refusal(self, session: Session, error: BackendError) -> Exception:
        kind = "resources" if isinstance(error, OutOfResources) else type(error).__name__
        known_shell = "unknown" if isinstance(error, ShellNotFound) else _shell_type(session)
        self.counters.pty_failures[(known_shell, kind)] += 1  # a name that anybody made up is no label
        if isinstance(error, OutOfResources):
            log.warning("session refused", session_id=session.session_id, reason=str(error))
            return Unavailable(str(error))
        return InvalidRequest(*_wrong_field(error))

    async def _undo(self, session: Session) -> None:
        """Leave nothing of a session that could not be started."""
        try:
            await self._close_pty(session)
            await self._close_environment(session)
        finally:
            session.enter(State.ERROR, "could not be started")
            self._sessions.pop(session.session_id, None)
        await _guarded(self._forget(session), f"forget session {session.session_id}")

    # -- finding

    def get(self, session_id: str) -> Session:
        """Return a session, living or ended. Raises UnknownSession."""
        try:
            return self._sessions[session_id]
        except KeyError:
            raise UnknownSession(session_id) from None

    def all(self) -> Iterable[Session]:
        """Return all sessions, oldest first."""
        return list(self._sessions.values())

    @property
    def living_count(self) -> int:
        """How many sessions have not ended."""
        return sum(session.is_living for session in self._sessions.values())

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
        await self._save(session)

    # -- ending

    def tick(self) -> None:
        """Expire what is over, forget what ended long ago, and tell where storage has failed."""
        for session in list(self._sessions.values()):
            self._tell_storage_trouble(session)
            if session.is_living:
                reason = session.expiry_reason
                if reason is not None:
                    self._end_soon(session, reason)
            elif session.seconds_since_end >= self.settings.ended_session_seconds:
                self._sessions.pop(session.session_id)
                self._start_task(self._forget(session), f"forget session {session.session_id}")

    async def end(self, session: Session, reason: str) -> None:
        """End a session and its whole process tree; returns when it has ended. Ending twice is harmless."""
        self._end_soon(session, reason)
        await session.over.wait()

    def _end_soon(self, session: Session, reason: str) -> None:
        if session.enter(State.ENDING, reason):
            session.end_reason = reason
            self._start_task(self._close_pty(session), f"end session {session.session_id}")

    def _start_task(self, work: Coroutine[object, object, None], name: str) -> asyncio.Task[None]:
        if self._tasks is None:
            work.close()
            raise Unavailable("the service has stopped")
        return self._tasks.create_task(_guarded(work, name), name=name)

    async def _close_pty(self, session: Session) -> None:
        if session.terminal is not None and session.terminal.pty is not None:
            await session.terminal.pty.close(self.settings.stop_grace_seconds)

    async def _close_environment(self, session: Session) -> None:
        if session.environment is not None:
            await _guarded(session.environment.close(), f"close environment of session {session.session_id}")

    async def _watch(self, session: Session) -> None:
        """Wait for the end of a session's program, and settle what is left of the session."""
        terminal = session.terminal
        if terminal is None or terminal.pty is None:
            raise AssertionError("only a started session is watched")
        try:
            await self._settle(session, terminal, await terminal.pty.wait())
        except Exception:
            session.end_reason = "could not be settled"
            session.enter(State.ERROR, session.end_reason)
            terminal.finish(None, session.end_reason)
            raise

    async def _settle(self, session: Session, terminal: Terminal, status: ExitStatus) -> None:
        reason = session.end_reason or ("Process exited" if status.lost is None else status.lost.value)
        state = State.ENDED if status.lost is None else State.LOST
        await self._close_environment(session)
        session.end_reason, session.exit_status = reason, status
        session.enter(state, reason)
        self.counters.sessions_ended[reason] += 1
        self.counters.session_seconds.add(session.uptime)
        terminal.finish(status, reason)
        log.info("session ended", session_id=session.session_id, reason=reason, exit_code=status.code)
        await self._save(session)

    async def _forget(self, session: Session) -> None:
        if session.terminal is not None:
            for attachment in list(session.terminal.attachments):
                attachment.close(4410, "session ended")
                session.terminal.detach(attachment)
        async with session.storing:
            if session.terminal is not None:
                session.terminal.log.close()
            self._unsaved.discard(session.session_id)
            await asyncio.to_thread(self._delete_files, session)

    def _delete_files(self, session: Session) -> None:
        self._store.delete(log_name(session))
        self._records.delete(session.session_id)

    def _tell_restart(self) -> None:
        """Tell every viewer that the service goes away, and when to come back, before the shells end."""
        for session in self._sessions.values():
            for attachment in list(session.terminal.attachments if session.terminal else ()):
                attachment.close(1012, f"service restart; retry_after_ms={RETRY_AFTER_MS}")

    # -- storage

    @property
    def unstored_count(self) -> int:
        """How many sessions have something that is not stored: output in memory only, or an outdated record."""
        return sum(_is_degraded(session) or session.session_id in self._unsaved for session in self.all())

    def _tell_storage_trouble(self, session: Session) -> None:
        terminal = session.terminal
        if terminal is not None and terminal.log.degraded is not None and _was_durable(terminal):
            reason = str(terminal.log.degraded)
            log.warning("output kept in memory only", session_id=session.session_id, reason=reason)
            self._tell_storage(terminal, durable=False, reason=reason)

    def _tell_storage(self, terminal: Terminal, *, durable: bool, reason: str) -> None:
        terminal.log.add_event("storage", {"durable": durable, "reason": reason}, self.clock.wall())

    async def _mend_until_stopped(self) -> None:
        """Store what could not be stored, as soon as there is room. Apart from `tick`: a disk may hang."""
        while not await self._stops_within(TICK_SECONDS):
            for session in list(self._sessions.values()):
                await _guarded(self._mend(session), f"mend session {session.session_id}")

    async def _mend(self, session: Session) -> None:
        if session.session_id in self._unsaved:
            await self._save(session)
        if _is_degraded(session):
            await self._mend_log(session)

    async def _mend_log(self, session: Session) -> None:
        async with session.storing:
            terminal = session.terminal
            if terminal is None or not self._knows(session):
                return
            if not await asyncio.to_thread(terminal.log.reserve_storage) or not terminal.log.restore_storage():
                return
        if not _was_durable(terminal):
            log.info("output stored again", session_id=session.session_id)
            self._tell_storage(terminal, durable=True, reason="")

    # -- records

    async def _save(self, session: Session) -> None:
        """Write a session's record as it is now; what fails is tried again until it is written."""
        async with session.storing:
            if not self._knows(session):
                return
            self._unsaved.discard(session.session_id)
            try:
                await asyncio.to_thread(self._records.save, session.session_id, make_record(session))
            except OSError as error:
                self._unsaved.add(session.session_id)
                log.warning("session record not saved", session_id=session.session_id, reason=str(error))

    def _knows(self, session: Session) -> bool:
        return self._sessions.get(session.session_id) is session

    async def _recover(self) -> None:
        """Make the sessions of an earlier process known: their shells are gone, what they printed is not."""
        for session, output in await asyncio.to_thread(recover_sessions, self._records, self._store, self.clock):
            if output is not None:
                session.terminal = self._make_terminal(session, output)
                session.terminal.finish(session.exit_status, session.end_reason, at=session.history[-1].at)
            self._sessions[session.session_id] = session
            await self._save(session)


async def _guarded(work: Coroutine[object, object, None], name: str) -> None:
    """Be the outermost edge of a task: trouble with one session must not end the others."""
    try:
        await work
    except Exception:
        log.exception("task failed", task=name)


def _is_degraded(session: Session) -> bool:
    return session.terminal is not None and session.terminal.log.degraded is not None


def _was_durable(terminal: Terminal) -> bool:
    """Return what viewers were told last."""
    told = terminal.log.last_event("storage", terminal.log.head)
    return told is None or told.fields["durable"] is True


def _wrong_field(error: BackendError) -> tuple[str, str]:
    match error:
        case ShellNotFound():
            return "shell", str(error)
        case DirectoryNotFound():
            return "cwd", str(error)
        case InvalidProgram():
            return error.field, error.reason
    return "backend", str(error)


def _shell_type(session: Session) -> str:
    return "command" if session.spec.command else session.shell
