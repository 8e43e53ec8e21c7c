"""From a caller's wish to a running session: its log, its environment, its terminal, its program."""

from __future__ import annotations

import asyncio
import json
import uuid
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import structlog

from backends.base import Order, Program
from backends.errors import (
    AccessRefused,
    BackendError,
    InvalidProgram,
    NotProvided,
    NotSupported,
    OutOfResources,
    ShellNotFound,
    Unreachable,
    UserRefused,
)
from terminal_service.errors import Forbidden, InvalidRequest, LimitReached, SessionOver, Unavailable
from terminal_service.notices import Notices
from terminal_service.nowhere import Nowhere
from terminal_service.recovery import TERMINAL_ID, make_record, restore_session
from terminal_service.refused import kind_of, refusal_of
from terminal_service.session import Session, SessionSpec, State
from terminal_service.sizes import SizePolicy
from terminal_service.terminal import Terminal

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from backends.base import Backend, Pty, Sink, Survivor
    from replay.log import Log
    from terminal_service.clock import Clock
    from terminal_service.counters import Counters
    from terminal_service.places import Place, Places
    from terminal_service.settings import Settings
    from terminal_service.storage import Storage

ELSEWHERE = (AccessRefused, InvalidProgram, NotProvided, NotSupported, OutOfResources, Unreachable)
"""What another place may not say."""
REASON_CHARACTERS = 200
TAKEN_OVER = "taken over by a new process of the service"

log = structlog.get_logger()


class Launcher:
    """Makes and starts sessions. Keeps none alive: whoever asked for one ends it, started or not."""

    def __init__(
        self,
        *,
        settings: Settings,
        places: Places,
        storage: Storage,
        clock: Clock,
        counters: Counters,
    ) -> None:
        """Start sessions at these places."""
        self._settings = settings
        self._places = places
        self._storage = storage
        self._clock = clock
        self._counters = counters
        self._notices: WeakKeyDictionary[Session, Notices] = WeakKeyDictionary()

    def backend_of(self, session: Session) -> Backend | None:
        """Return where a session runs; None: no such backend (any more)."""
        place = self._places.get(session.backend)
        return None if place is None else place.backend

    def runs_elsewhere(self, session: Session) -> Backend | None:
        """Return the backend that may have the program of a living session of an earlier process on another machine."""
        place = self._places.get(session.backend)
        if place is None or place.is_near or not place.backend.capabilities.reattach:
            return None
        return place.backend if session.state in {State.RUNNING, State.ENDING} else None

    def check_limits(self, owner: str, sessions: Iterable[Session]) -> None:
        """Raise LimitReached if, beside these, there may be no other session of this owner."""
        living = [session for session in sessions if session.is_living]
        if len(living) >= self._settings.max_sessions:
            raise LimitReached("sessions", self._settings.max_sessions)
        limit = self._settings.max_concurrent_sessions_per_user
        if sum(session.owner == owner for session in living) >= limit:
            raise LimitReached("sessions per user", limit)

    def make_session(self, spec: SessionSpec, owner: str) -> Session:
        """Return a session that has not been started, and where it is to run.

        Raises InvalidRequest, Forbidden: there is no place for it, or its owner has no user to run it as.
        """
        settings = self._settings
        first, *others = self._places.choose(spec.backend, spec.needs, owner)
        self._find_user(first.place, owner)
        session = Session(
            str(uuid.uuid4()),
            owner,
            spec,
            ttl_seconds=settings.session_ttl_seconds if spec.ttl_seconds is None else spec.ttl_seconds,
            max_lifetime_seconds=settings.session_max_lifetime_seconds,
            clock=self._clock,
        )
        session.backend, session.backend_reason = first.place.name, first.reason
        session.alternatives = [(other.place.name, other.reason) for other in others]
        return session

    def _find_user(self, place: Place, owner: str) -> str | None:
        """Return the user that an owner's programs run as, None: the backend's own. Raises Forbidden."""
        if not place.is_local:
            return None
        users = self._settings.os_users
        user = users.find(owner)
        if users and user is None:
            raise Forbidden(f"sessions of {owner!r}: OS_USERS names no user to run them as")
        return user

    def restore(self, session_id: str, record: dict[str, Any]) -> Session:
        """Return a session that an earlier process had; see `restore_session`."""
        return restore_session(
            session_id,
            record,
            clock=self._clock,
            ttl_seconds=self._settings.session_ttl_seconds,
            max_lifetime_seconds=self._settings.session_max_lifetime_seconds,
        )

    async def find_survivors(self) -> dict[str, tuple[Backend, Survivor]]:
        """Return the programs that earlier processes left running, by session. Raises BackendError."""
        found: dict[str, tuple[Backend, Survivor]] = {}
        for place in self._places:
            if place.is_near:
                backend = place.backend
                found |= {survivor.session_id: (backend, survivor) for survivor in await backend.survivors()}
        return found

    async def resume(self, session: Session, output: Log | None, backend: Backend, survivor: Survivor) -> None:
        """Go on with a session whose program still runs. Raises BackendError, Unavailable.

        Without the log of the earlier process a new one begins: viewers are told by its epoch.
        """
        if output is None:
            output = await self.begin_log(session)
        self.make_terminal(session, output)
        await self.adopt(session, backend, survivor)
        session.resume(TAKEN_OVER)

    async def adopt(self, session: Session, backend: Backend, survivor: Survivor) -> None:
        """Give the terminal of a session its program again. Raises BackendError; Unreachable: later, perhaps."""
        terminal = session.terminal
        if terminal is None:
            raise AssertionError("a session that goes on shows its output")
        if session.environment is None:
            session.environment = await backend.open(self._make_order(session))
        environment = session.environment
        await self.connect(terminal, lambda sink: environment.adopt(survivor, sink, terminal.log.head))

    def notices_of(self, session: Session) -> Notices:
        """Return what tells the viewers of a session how it is with its place."""
        notices = self._notices.get(session)
        if notices is None:
            notices = self._notices[session] = Notices(session, asyncio.get_running_loop(), self._clock)
        return notices

    async def end(self, backend: Backend, survivor: Survivor) -> None:
        """End a program that no session has."""
        environment = await backend.open(Order(survivor.session_id))
        await environment.adopt(survivor, Nowhere())
        await environment.close()

    async def start(self, session: Session) -> None:
        """Provision what a session needs and start its program.

        Raises InvalidRequest (with the field), Forbidden, BackendUnreachable, BackendRefused, NotToBeHad, Unavailable,
        SessionOver (ended meanwhile). What the session has got by then, its environment and its terminal, is the
        caller's to close.
        """
        try:
            await self._start(session)
        except BackendError as error:
            raise self._refusal(session, error) from error
        self._counters.pty_spawns[_shell_type(session)] += 1
        if not session.enter(State.RUNNING, "started"):
            raise SessionOver(session.session_id, session.end_reason)  # ended while it was being started
        self.notices_of(session).tell_ready()

    async def _start(self, session: Session) -> None:
        user = await self._choose_program(session)
        session.enter(State.PREPARING, f"starting on {session.backend}")
        terminal = self.make_terminal(session, await self.begin_log(session))  # whoever waits can watch and type
        while True:
            try:
                environment = session.environment = await self._place_of(session).backend.open(
                    self._make_order(session)
                )
            except ELSEWHERE as error:
                if not session.alternatives:
                    raise
                self._go_elsewhere(session, error)
                user = await self._choose_program(session)
            else:
                break
        self._note_opened(session)
        program = _make_program(session, terminal, user)
        await self.connect(terminal, lambda sink: environment.spawn(program, sink))

    def _note_opened(self, session: Session) -> None:
        """Have a place looked at that was seen failing, and has opened a session all the same."""
        place = self._place_of(session)
        if place.health.is_failing:
            place.doubt.set()

    def _place_of(self, session: Session) -> Place:
        place = self._places.get(session.backend)
        if place is None:
            raise AssertionError("places do not go")
        return place

    async def _choose_program(self, session: Session) -> str | None:
        """Find out what a session is to run at its place, and return as which user. Raises Forbidden, BackendError."""
        place = self._place_of(session)
        user = self._find_user(place, session.owner)
        session.shell = await self._choose_shell(session.spec, place, user)
        return user

    def _go_elsewhere(self, session: Session, error: BackendError) -> None:
        """Have a session that was left to the service begin at the next place that would do."""
        left, reason = session.backend, str(error)[:REASON_CHARACTERS]
        self._count_failure(session, error)
        session.backend, why = session.alternatives.pop(0)
        session.backend_reason = f"{why} ({left} could not: {reason})"
        session.remark(f"{left} could not: {reason}; starting on {session.backend}")

    async def connect(self, terminal: Terminal, open_pty: Callable[[Sink], Awaitable[Pty]]) -> None:
        """Give a terminal a PTY that `open_pty` has pushing into it; what was done to it meanwhile is done to the PTY.

        The program may be a new one or one that has long been running. Raises what `open_pty` raises.
        """
        size = terminal.size
        pty = await open_pty(terminal)
        if terminal.size != size:
            pty.resize(*terminal.size)
        terminal.connect(pty)

    def make_terminal(self, session: Session, output: Log) -> Terminal:
        """Give a session its terminal over an open log; without a PTY it only shows what is in there."""
        spec, settings = session.spec, self._settings
        session.terminal = Terminal(
            TERMINAL_ID,
            output,
            size=spec.size,
            size_policy=spec.size_policy or SizePolicy(settings.size_policy),
            viewers_limit=settings.max_viewers_per_session,
            loop=asyncio.get_running_loop(),
            clock=self._clock,
            counters=self._counters,
            on_activity=session.bump,
        )
        session.restore_activity(session.terminal.journal)
        if output.degraded is not None:
            self._storage.tell(output, durable=False, reason=str(output.degraded))
        return session.terminal

    async def _choose_shell(self, spec: SessionSpec, place: Place, user: str | None) -> str:
        """Return what is to run; empty: whatever is the default there, which only the place knows."""
        if spec.command:
            return spec.command[0]
        if spec.shell or not place.is_near:
            return spec.shell or ""
        configured = self._configured_shell(place)
        return configured if configured is not None else next(iter(await place.backend.shells(user)), "")

    def _configured_shell(self, place: Place) -> str | None:
        return self._settings.default_shell if place is self._places.first else None

    async def shells(self, owner: str) -> dict[str, list[str]]:
        """Return the shells that sessions of an owner can have, by backend; of both the default one first."""
        shells = {}
        for place in self._places.of_user(owner):
            found = await self._find_shells(place, owner)
            configured = self._configured_shell(place)
            first = [shell for shell in found if shell == configured]
            shells[place.name] = [*first, *(shell for shell in found if shell != configured)]
        return shells

    async def _find_shells(self, place: Place, owner: str) -> Sequence[str]:
        """Return the shells of a place; of one that is not near, those that it had when it was seen last."""
        if not place.is_near:
            return place.known_shells
        try:
            return await place.backend.shells(self._find_user(place, owner))
        except (UserRefused, Forbidden):
            return []

    def _make_order(self, session: Session) -> Order:
        needs = session.spec.needs
        return Order(
            session.session_id,
            owner=session.owner,
            image=needs.image,
            cpus=needs.cpus,
            memory_bytes=needs.memory_bytes,
            gpus=needs.gpus,
            lifetime_seconds=self._settings.session_max_lifetime_seconds or None,
            tell=self.notices_of(session).tell,
        )

    async def begin_log(self, session: Session) -> Log:
        """Return the log of a session, begun anew. Raises Unavailable, SessionOver."""
        try:
            output = await self._storage.begin(session, session.spec.retention_bytes or self._settings.retention_bytes)
        except OSError as error:  # not even memory for it: a full disk is no error of the store
            raise Unavailable(f"no room for output: {error.strerror or error}") from error
        if not session.is_living or session.state is State.ENDING:
            raise SessionOver(session.session_id, session.end_reason)  # with a stop its log may be closed already
        return output

    def _refusal(self, session: Session, error: BackendError) -> Exception:
        self._count_failure(session, error)
        refusal = refusal_of(error, session.backend)
        if not isinstance(refusal, InvalidRequest):
            log.warning("session refused", session_id=session.session_id, reason=str(refusal))
        return refusal

    def _count_failure(self, session: Session, error: BackendError) -> None:
        """Count that a place could not open a session; one that is out of reach is looked at soon."""
        known_shell = "unknown" if isinstance(error, ShellNotFound) else _shell_type(session)
        self._counters.pty_failures[known_shell, kind_of(error)] += 1  # a name that anybody made up is no label
        self._counters.backend_failures[session.backend, kind_of(error)] += 1
        if isinstance(error, Unreachable):
            self._place_of(session).doubt.set()


def _make_program(session: Session, terminal: Terminal, user: str | None) -> Program:
    spec = session.spec
    return Program(
        session_id=session.session_id,
        shell=None if spec.command else session.shell or None,
        command=spec.command,
        cwd=spec.cwd,
        env=spec.env,
        rows=terminal.size.rows,
        cols=terminal.size.cols,
        user=user,
        note=json.dumps(make_record(session)),
    )


def _shell_type(session: Session) -> str:
    return "command" if session.spec.command else session.shell
