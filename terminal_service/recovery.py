"""Sessions as records, and back: what a new process makes of the sessions that an earlier one left."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import structlog

from backends.base import ExitStatus
from replay.errors import LogDamaged, LogMissing
from terminal_service.session import Session, SessionSpec, State
from terminal_service.sizes import Size

if TYPE_CHECKING:
    from replay.log import Log
    from replay.store import Store
    from terminal_service.clock import Clock
    from terminal_service.records import Records

TERMINAL_ID = "main"
"""The id of a session's first terminal."""

log = structlog.get_logger()


def log_name(session: Session) -> str:
    """Return the name of a session's log in the store."""
    return f"{session.session_id}/{TERMINAL_ID}"


def make_record(session: Session) -> dict[str, Any]:
    """Return what is kept of a session. Its environment variables are not: they may hold secrets."""
    size = session.terminal.size if session.terminal else session.spec.size
    return {
        "owner": session.owner,
        "name": session.name,
        "labels": session.labels,
        "backend": session.backend,
        "shell": session.shell,
        "command": list(session.spec.command) if session.spec.command else None,
        "rows": size.rows,
        "cols": size.cols,
        "ttl_seconds": session.ttl_seconds,
        "created_at": session.created_at,
        "last_activity": session.last_activity,
        "last_bump": session.last_bump,
        "end_reason": session.end_reason,
        "exit": _make_exit(session.exit_status),
        "history": [[change.state.value, change.reason, change.at] for change in session.history],
    }


def _make_exit(status: ExitStatus | None) -> dict[str, Any] | None:
    if status is None or status.lost is not None:
        return None
    return {"code": status.code, "signal": status.signal, "message": status.message}


def _restore_exit(kept: dict[str, Any] | None) -> ExitStatus | None:
    return ExitStatus(**kept) if kept else None


def recover_sessions(records: Records, store: Store, clock: Clock) -> list[tuple[Session, Log | None]]:
    """Return the sessions an earlier process left, ended or lost, with their logs (None: no readable log).

    May block for file operations. Logs without a record belong to nobody and are shown to administrators only.
    """
    known = dict(records.all())
    for name in store.names():
        known.setdefault(name.partition("/")[0], {})
    found = []
    for session_id, record in known.items():
        session = _restore_or_begin(session_id, record, clock)
        found.append((session, _open_log(session, store)))
    return found


def _restore_or_begin(session_id: str, record: dict[str, Any], clock: Clock) -> Session:
    """Restore from a record; one that is not what this version writes must not keep the service from starting."""
    try:
        return _restore(session_id, record, clock)
    except (ValueError, TypeError, AttributeError, OverflowError) as error:
        log.error("session record is damaged", session_id=session_id, reason=str(error))  # noqa: TRY400 - no bug of ours to trace
        return _restore(session_id, {}, clock)


def _restore(session_id: str, record: dict[str, Any], clock: Clock) -> Session:
    spec = SessionSpec(
        shell=record.get("shell"),
        command=record.get("command"),
        backend=record.get("backend"),
        size=Size(int(record.get("rows", 24)), int(record.get("cols", 80))),
        name=str(record.get("name", "")),
        labels=dict(record.get("labels", {})),
    )
    session = Session(
        session_id,
        str(record.get("owner", "")),
        spec,
        ttl_seconds=float(record.get("ttl_seconds", 0)),
        max_lifetime_seconds=0,
        clock=clock,
    )
    session.restore_history(
        [(State(state), str(reason), float(at)) for state, reason, at in record.get("history", [])],
        created_at=float(record.get("created_at", session.created_at)),
        last_activity=float(record.get("last_activity", session.created_at)),
    )
    session.last_bump = str(record.get("last_bump", "created"))
    session.end_reason = str(record.get("end_reason", ""))
    session.exit_status = _restore_exit(record.get("exit"))
    if session.enter(State.LOST, "the service stopped while the session was running"):
        session.end_reason = session.history[-1].reason
    return session


def _open_log(session: Session, store: Store) -> Log | None:
    try:
        return store.open(log_name(session), is_over=True)
    except LogMissing:
        return None
    except LogDamaged as error:
        log.error("stored output is damaged", session_id=session.session_id, reason=str(error))  # noqa: TRY400 - no bug of ours to trace
        session.end_reason = f"{session.end_reason}; its output cannot be read: {error.reason}"
        return None
