"""One session: its owner, its states, its time to live, and what a caller may see of it."""

from __future__ import annotations

import asyncio
import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from terminal_service.choosing import Needs
from terminal_service.errors import ServiceError, SessionOver, Unavailable
from terminal_service.sizes import Size, SizePolicy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from backends.base import Environment, ExitStatus
    from terminal_service.attachment import Attachment, Outlet
    from terminal_service.clock import Clock
    from terminal_service.journal import Journal
    from terminal_service.terminal import Terminal
    from terminal_service.wish import Wish


class State(enum.Enum):
    """Where a session is in its life. States only move forward."""

    PENDING = "pending"
    PREPARING = "preparing"
    RUNNING = "running"
    ENDING = "ending"
    ENDED = "ended"
    ERROR = "error"
    LOST = "lost"


_ORDER = {state: place for place, state in enumerate(State)}
DEFAULT_SIZE = Size(24, 80)
FAREWELL_SECONDS = 10.0
"""An ended session stays for at least so long while somebody still reads its last output."""
LIVING = frozenset({State.PENDING, State.PREPARING, State.RUNNING, State.ENDING})


@dataclass(frozen=True)
class Change:
    """A state that was entered, why, and when (wall-clock seconds)."""

    state: State
    reason: str
    at: float


@dataclass(frozen=True)
class SessionSpec:
    """What a caller asks for. None: the service's default."""

    shell: str | None = None
    command: Sequence[str] | None = None
    backend: str | None = None
    cwd: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    size: Size = DEFAULT_SIZE
    size_policy: SizePolicy | None = None
    name: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    ttl_seconds: float | None = None
    keepalive: bool = True
    retention_bytes: int | None = None
    needs: Needs = Needs()  # noqa: RUF009 - frozen


class Session:
    """A session and its time to live.

    It ends `ttl_seconds` after the last activity, or at its absolute lifetime, whichever is first. Activity
    only ever moves the deadline later; `last_bump` says what moved it last.
    """

    def __init__(
        self,
        session_id: str,
        owner: str,
        spec: SessionSpec,
        *,
        ttl_seconds: float,
        max_lifetime_seconds: float,
        clock: Clock,
    ) -> None:
        """Begin in PENDING; a lifetime of 0 is without end."""
        self.session_id = session_id
        self.owner = owner
        self.spec = spec
        self.name = spec.name
        self.labels = dict(spec.labels)
        self.backend = spec.backend or ""
        self.backend_reason = ""
        """Why it runs there."""
        self.alternatives: list[tuple[str, str]] = []
        """Where it goes if it cannot be opened there, and why."""
        self.shell = spec.shell or ""
        self._ttl_seconds = ttl_seconds
        self.ttl_watchers: set[Callable[[], None]] = set()
        """Called when the time to live has changed: whoever keeps the session alive may have to hurry."""
        self.environment: Environment | None = None
        self.terminal: Terminal | None = None
        self.end_reason = ""
        self.exit_status: ExitStatus | None = None
        self.is_lost = False
        """Whether another node has taken it for lost; what its program still does counts no more."""
        self.history: list[Change] = []
        self._remark: Change | None = None
        self._clock = clock
        self._max_lifetime_seconds = max_lifetime_seconds
        self.created_at = clock.wall()
        self._created = clock.monotonic()
        self._bumped = self._created
        self._journal: Journal | None = None
        self.last_bump = "created"
        self.last_activity = self.created_at
        self.ended_monotonic: float | None = None
        self.over = asyncio.Event()
        """Set once the session has ended, in whatever way."""
        self.settled = asyncio.Event()
        """Set once everybody who has to knows that it has ended."""
        self.storing = asyncio.Lock()
        """Held by whoever writes or deletes files of this session."""
        self.enter(State.PENDING, "requested")

    async def attach(self, outlet: Outlet, wish: Wish) -> Attachment:
        """Attach a viewer; see `Terminal.attach`. Raises SessionOver, or Unavailable, too: there is no output (yet)."""
        if self.terminal is None:
            raise self.has_no_output()
        return self.terminal.attach(outlet, wish)

    def has_no_output(self) -> ServiceError:
        """Return what is told to whoever wants the terminal of a session that has none (yet)."""
        if self.is_living:
            return Unavailable("the session is still being prepared: there is nothing to attach to yet")
        return SessionOver(self.session_id, self.end_reason or self.state.value)

    def send_away(self, code: int, reason: str) -> None:
        """Close the connection of every viewer."""
        for viewer in list(self.terminal.attachments if self.terminal else ()):
            viewer.close(code, reason)

    # -- states

    @property
    def state(self) -> State:
        """The present state."""
        return self.history[-1].state

    @property
    def is_living(self) -> bool:
        """Whether it has not ended yet, in whatever way."""
        return self.ended_monotonic is None

    def enter(self, state: State, reason: str) -> bool:
        """Move forward to a state; return False, changing nothing, where that would be backward or after the end."""
        if self.history and (not self.is_living or _ORDER[state] <= _ORDER[self.state]):
            return False
        self.history.append(Change(state, reason, self._clock.wall()))
        if state not in LIVING:
            self.ended_monotonic = self._clock.monotonic()
            self.over.set()
        return True

    def resume(self, reason: str) -> None:
        """Note that another process goes on with a session that lives."""
        state = max(State.RUNNING, self.state, key=_ORDER.__getitem__)
        self.history.append(Change(state, reason, self._clock.wall()))

    def remark(self, reason: str) -> None:
        """Note why it is in its present state now, in place of the last remark on that."""
        if not self.is_living:
            return
        if self._remark is self.history[-1]:
            self.history.pop()
        self._remark = Change(self.state, reason, self._clock.wall())
        self.history.append(self._remark)

    def restore_history(
        self, history: Sequence[tuple[State, str, float]], *, created_at: float, last_activity: float
    ) -> None:
        """Take over what an earlier process wrote down: wall-clock times; `restore_activity` knows better ones."""
        self.created_at, self.last_activity = created_at, last_activity
        now = self._clock.monotonic()
        self._created = now - max(0.0, self._clock.wall() - created_at)
        self._bumped = now - max(0.0, self._clock.wall() - last_activity)
        if history:
            self.history = [Change(*change) for change in history]
        if self.state not in LIVING:
            since_end = max(0.0, self._clock.wall() - self.history[-1].at)
            self.ended_monotonic = self._clock.monotonic() - since_end
            self.over.set()
            self.settled.set()

    def restore_activity(self, journal: Journal) -> None:
        """Go on with the time to live that the journal knows, to the moment; begin it there if it knows none.

        From now on activity is stored there. Called after `restore_history`, which only knows wall-clock times.
        """
        now = self._clock.monotonic()
        kept = journal.activity
        if kept is not None and kept.created <= kept.bumped <= now:
            self._created, self._bumped, self.last_bump = kept
            self.last_activity = self._clock.wall() - (now - kept.bumped)
        journal.note_created(self._created)
        journal.note_activity(self._bumped, self.last_bump)
        self._journal = journal

    # -- time to live

    @property
    def ttl_seconds(self) -> float:
        """How long it lives without activity."""
        return self._ttl_seconds

    @ttl_seconds.setter
    def ttl_seconds(self, seconds: float) -> None:
        self._ttl_seconds = seconds
        for tell in list(self.ttl_watchers):
            tell()

    @property
    def keepalive(self) -> bool:
        """Whether being watched by somebody who may type is activity."""
        return self.spec.keepalive

    def bump(self, source: str) -> None:
        """Note activity: the TTL counts from now. Without `keepalive` being watched is none."""
        if not self.is_living or (source == "viewer" and not self.spec.keepalive):
            return
        self._bumped = self._clock.monotonic()
        if self._journal is not None:
            self._journal.note_activity(self._bumped, source)
        self.last_bump = source
        self.last_activity = self._clock.wall()

    @property
    def deadline(self) -> float:
        """When it ends without further activity, on the monotonic clock."""
        idle = self._bumped + self._ttl_seconds
        if self._max_lifetime_seconds:
            return min(idle, self._created + self._max_lifetime_seconds)
        return idle

    @property
    def expiry_reason(self) -> str | None:
        """Why its time is over, or None while it is not."""
        now = self._clock.monotonic()
        if self._max_lifetime_seconds and now >= self._created + self._max_lifetime_seconds:
            return "lifetime"
        return "ttl" if now >= self._bumped + self._ttl_seconds else None

    @property
    def expires_at(self) -> float | None:
        """When it ends without further activity, in wall-clock seconds for display; None once it has."""
        if not self.is_living:
            return None
        return self._clock.wall() + self.deadline - self._clock.monotonic()

    @property
    def lifetime_ends_at(self) -> float | None:
        """When it ends even with activity, in wall-clock seconds for display; None: never, or it has."""
        if not (self.is_living and self._max_lifetime_seconds):
            return None
        return self._clock.wall() + self._created + self._max_lifetime_seconds - self._clock.monotonic()

    @property
    def uptime(self) -> float:
        """Seconds since it was created (until it ended)."""
        end = self._clock.monotonic() if self.ended_monotonic is None else self.ended_monotonic
        return end - self._created

    @property
    def seconds_since_end(self) -> float:
        """How long ago it ended; 0 while it lives."""
        return 0.0 if self.ended_monotonic is None else self._clock.monotonic() - self.ended_monotonic

    def is_past(self, ended_seconds: float) -> bool:
        """Whether it has ended, and been readable, for its time, and for whoever still reads it."""
        is_read = self.terminal is not None and self.terminal.log.readers_count > 0
        age = self.seconds_since_end
        return age >= ended_seconds and (age >= FAREWELL_SECONDS or not is_read)
