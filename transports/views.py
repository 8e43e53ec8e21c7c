"""What the HTTP API shows of sessions: the classes of its answers, and how they are filled.

Times are seconds since 1970, durations seconds, sizes characters, positions bytes. Environment variables are
never shown: they may hold secrets.
"""

from typing import Any

from msgspec import structs
from pydantic import BaseModel, Field

from replay.log import Log
from terminal_service.last_line import LIMIT_CHARACTERS, TAIL_BYTES, last_line
from terminal_service.notices import last_notice
from terminal_service.presence import responder_of
from terminal_service.session import Session
from terminal_service.terminal import Terminal


class Change(BaseModel):
    """A state that the session entered."""

    state: str
    reason: str
    at: float


class Bump(BaseModel):
    """What moved the session's end later for the last time."""

    source: str
    at: float


class Viewer(BaseModel):
    """Somebody who is attached."""

    client_id: str
    user: str
    role: str
    rows: int | None
    cols: int | None
    position: int = Field(description="How far it has been sent the output.")


class Storage(BaseModel):
    """Whether the output survives the service."""

    durable: bool
    reason: str = Field(description="Why not, if it does not.")


class Notice(BaseModel):
    """What the place where the session runs has said of itself."""

    kind: str = Field(
        description="For programs: progress, link_lost, link_back, link_given_up, ending_soon, warning; more may come."
    )
    message: str
    seq: int = Field(description="Where in the output.")
    timestamp: float
    fields: dict[str, Any] = Field(description="More for programs, by kind.")


class TerminalView(BaseModel):
    """One terminal of a session."""

    terminal_id: str
    rows: int
    cols: int
    pid: int | None
    seq: int
    first: int
    epoch: str


class SessionView(BaseModel):
    """A session. `seq` is the end of its output, `first` the oldest position kept."""

    session_id: str
    node: str = Field(description="The node of the service that has it; any node serves it.")
    websocket_url: str
    shell: str
    command: list[str] | None
    pid: int | None = Field(description="Null once the program has ended, and where there are no processes.")
    rows: int
    cols: int
    uptime: float
    created_at: float
    last_activity: float
    last_bump: Bump
    expires_at: float | None = Field(description="When it ends without activity; null once it has ended.")
    lifetime_ends_at: float | None = Field(description="When it ends whatever happens; null: never, or it has.")
    ttl_seconds: float
    kept_alive_by: list[str] = Field(
        description="`client_id` of the viewers that are activity by being there: with any, `expires_at` moves on."
    )
    state: str = Field(description="pending, preparing, running, ending; ended, error, lost")
    history: list[Change]
    name: str
    labels: dict[str, str]
    user_id: str
    backend: str
    backend_reason: str = Field(description="Why it runs there.")
    notice: Notice | None = Field(description="The last one, as far as it is known.")
    viewers: list[Viewer]
    responder: str | None = Field(description="`client_id` of the viewer whose emulator answers terminal queries.")
    last_line: str | None = Field(
        description=f"The end of the output as text: the last line that shows anything, at most {LIMIT_CHARACTERS} "
        "characters, without control characters. Null if there is none near the end."
    )
    seq: int | None = Field(description="Null if there is no output that could be read.")
    first: int | None
    epoch: str | None
    exit_code: int | None
    signal: str | None
    end_reason: str | None
    end_message: str | None = Field(description="More on how it ended, for people; null: nothing.")
    storage: Storage
    keepalive: bool
    size_policy: str | None
    retention_bytes: int | None
    terminals: list[TerminalView]


class Resized(BaseModel):
    """The size the terminal has now."""

    status: str = "resized"
    rows: int
    cols: int


class KeptAlive(BaseModel):
    """When the session ends without further activity."""

    session_id: str
    expires_at: float | None
    ttl_seconds: float
    last_activity: float


class InputTaken(BaseModel):
    """Input that will be written in its turn."""

    bytes: int
    waiting_bytes: int = Field(description="What the program has not taken yet, of everybody's input.")


class SignalSent(BaseModel):
    """A signal that was sent."""

    status: str = "sent"
    name: str


def describe(session: Session, node: str) -> bytes:
    """Return what is shown of a session of a node, as JSON."""
    return view_of(session, node).model_dump_json().encode()


def view_of(session: Session, node: str) -> SessionView:
    """Return what is shown of a session of a node."""
    terminal = session.terminal
    log = terminal.log if terminal else None
    size = terminal.size if terminal else session.spec.size
    ended = terminal.end_message() if terminal else None
    return SessionView(
        session_id=session.session_id,
        node=node,
        websocket_url=f"/ws/terminal/{session.session_id}",
        shell=session.shell,
        command=list(session.spec.command) if session.spec.command else None,
        pid=_pid(session, terminal) if terminal else None,
        rows=size.rows,
        cols=size.cols,
        uptime=session.uptime,
        created_at=session.created_at,
        last_activity=session.last_activity,
        last_bump=Bump(source=session.last_bump, at=session.last_activity),
        expires_at=session.expires_at,
        lifetime_ends_at=session.lifetime_ends_at,
        ttl_seconds=session.ttl_seconds,
        kept_alive_by=_kept_alive_by(session),
        state=session.state.value,
        history=[Change(state=each.state.value, reason=each.reason, at=each.at) for each in session.history],
        name=session.name,
        labels=session.labels,
        user_id=session.owner,
        backend=session.backend,
        backend_reason=session.backend_reason,
        notice=_notice(log) if log else None,
        viewers=_viewers(terminal) if terminal else [],
        responder=responder_of(terminal.attachments) if terminal else None,
        last_line=_last_line(log) if log else None,
        seq=log.head if log else None,
        first=log.first if log else None,
        epoch=log.epoch if log else None,
        exit_code=ended.exit_code if ended else None,
        signal=ended.signal if ended else None,
        end_reason=session.end_reason or None,
        end_message=(ended.message or None) if ended else None,
        storage=_storage(session),
        keepalive=session.spec.keepalive,
        size_policy=terminal.size_policy.value if terminal else None,
        retention_bytes=log.retention_bytes if log else None,
        terminals=[_terminal_view(session, terminal)] if terminal else [],
    )


def _notice(log: Log) -> Notice | None:
    told = last_notice(log)
    return None if told is None else Notice(**structs.asdict(told))


def _pid(session: Session, terminal: Terminal) -> int | None:
    """Return the process id while there is such a process; afterwards it may be anybody's."""
    return terminal.pty.pid if terminal.pty is not None and session.is_living else None


def _viewers(terminal: Terminal) -> list[Viewer]:
    return [
        Viewer(
            client_id=each.client_id,
            user=each.user,
            role=each.role,
            rows=each.size.rows if each.size else None,
            cols=each.size.cols if each.size else None,
            position=each.position,
        )
        for each in terminal.attachments
    ]


def _kept_alive_by(session: Session) -> list[str]:
    if session.terminal is None or not (session.is_living and session.spec.keepalive):
        return []
    return [each.client_id for each in session.terminal.attachments if each.is_writer]


def _last_line(log: Log) -> str | None:
    begin = max(log.first, log.head - TAIL_BYTES)
    try:
        tail = log.read_range(begin, log.head)
    except ValueError:  # it was closed: its session is being forgotten
        return None
    return last_line(tail, is_cut=begin > 0)


def _storage(session: Session) -> Storage:
    if session.terminal is None:
        return Storage(durable=False, reason="there is no output yet" if session.is_living else session.end_reason)
    shortcoming = session.terminal.log.shortcoming
    return Storage(durable=shortcoming is None, reason=shortcoming or "")


def _terminal_view(session: Session, terminal: Terminal) -> TerminalView:
    return TerminalView(
        terminal_id=terminal.terminal_id,
        rows=terminal.size.rows,
        cols=terminal.size.cols,
        pid=_pid(session, terminal),
        seq=terminal.log.head,
        first=terminal.log.first,
        epoch=terminal.log.epoch,
    )
