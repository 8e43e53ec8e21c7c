"""Sessions as records, and back: what a new process makes of the sessions that an earlier one left."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any, Protocol

import structlog

from backends.base import ExitStatus, Lost
from replay.errors import LogDamaged, LogMissing
from terminal_service.choosing import Needs
from terminal_service.session import Session, SessionSpec, State
from terminal_service.sizes import Size, SizePolicy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from replay.log import Log
    from replay.store import Store
    from terminal_service.clock import Clock
    from terminal_service.records import Records

TERMINAL_ID = "main"
"""The id of a session's first terminal."""

log = structlog.get_logger()


class Kept(Protocol):
    """A log that is kept readable here until it is released."""

    @property
    def log(self) -> Log:
        """The log."""
        ...

    def release(self) -> None:
        """Keep it no longer."""
        ...


def log_name(session: Session) -> str:
    """Return the name of a session's log in the store."""
    return f"{session.session_id}/{TERMINAL_ID}"


def make_record(session: Session) -> dict[str, Any]:
    """Return what is kept of a session. Its environment variables are not: they may hold secrets."""
    spec = session.spec
    size = session.terminal.size if session.terminal else spec.size
    policy = session.terminal.size_policy if session.terminal else spec.size_policy
    return {
        "owner": session.owner,
        "name": session.name,
        "labels": session.labels,
        "backend": session.backend,
        "backend_reason": session.backend_reason,
        "needs": dataclasses.asdict(spec.needs),
        "shell": session.shell,
        "command": list(spec.command) if spec.command else None,
        "cwd": spec.cwd,
        "rows": size.rows,
        "cols": size.cols,
        "size_policy": policy.value if policy else None,
        "keepalive": spec.keepalive,
        "retention_bytes": spec.retention_bytes,
        "ttl_seconds": session.ttl_seconds,
        "created_at": session.created_at,
        "last_activity": session.last_activity,
        "last_bump": session.last_bump,
        "end_reason": session.end_reason,
        "exit": _make_exit(session.exit_status),
        "history": [[change.state.value, change.reason, change.at] for change in session.history],
    }


def _make_exit(status: ExitStatus | None) -> dict[str, Any] | None:
    if status is None:
        return None
    exit_ = {"code": status.code, "signal": status.signal, "message": status.message}
    return exit_ if status.lost is None else {**exit_, "lost": status.lost.value}


def _restore_exit(kept: dict[str, Any] | None) -> ExitStatus | None:
    if not kept:
        return None
    lost = kept.get("lost")
    return ExitStatus(**{**kept, "lost": Lost(lost) if lost else None})


def _restore_needs(kept: dict[str, Any]) -> Needs:
    """Return what was asked; what another version knows besides is left out."""
    names = {each.name for each in dataclasses.fields(Needs)}
    known = {name: value for name, value in kept.items() if name in names}
    return Needs(**{**known, "capabilities": tuple(known.get("capabilities", ()))})


def recover_sessions(
    records: Records,
    store: Store,
    restore: Callable[[str, dict[str, Any]], Session],
    notes: Mapping[str, str],
    may_go_on: Callable[[Session], object],
) -> list[tuple[Session, Log | None]]:
    """Return the sessions an earlier process left, living or ended, with their logs (None: no readable log).

    `may_go_on` tells of those that are not in `notes` whether their programs may run elsewhere.

    `notes` are the records kept with programs that still run, by session: newer than those on disk, if these could
    not be written. May block for file operations. Logs without a record belong to nobody and are shown to
    administrators only.
    """
    known = dict(records.all())
    for name in store.names():
        known.setdefault(name.partition("/")[0], {})
    known |= {
        session_id: _parse_note(session_id, note) or known.get(session_id, {}) for session_id, note in notes.items()
    }
    found = []
    for session_id, record in known.items():
        session = _restore_or_begin(session_id, record, restore)
        goes_on = session.is_living and bool(session_id in notes or may_go_on(session))
        found.append((session, _open_log(session, store, is_over=not goes_on)))
    return found


def _parse_note(session_id: str, note: str) -> dict[str, Any]:
    try:
        record = json.loads(note)
    except (ValueError, RecursionError) as error:
        log.error("note of a running program is damaged", session_id=session_id, reason=str(error))  # noqa: TRY400 - no bug of ours to trace
        return {}
    return record if isinstance(record, dict) else {}


def _restore_or_begin(
    session_id: str, record: dict[str, Any], restore: Callable[[str, dict[str, Any]], Session]
) -> Session:
    """Restore from a record; one that is not what this version writes must not keep the service from starting."""
    try:
        return restore(session_id, record)
    except (ValueError, TypeError, AttributeError, OverflowError) as error:
        log.error("session record is damaged", session_id=session_id, reason=str(error))  # noqa: TRY400 - no bug of ours to trace
        return restore(session_id, {})


def restore_session(
    session_id: str, record: dict[str, Any], *, clock: Clock, ttl_seconds: float, max_lifetime_seconds: float
) -> Session:
    """Return a session as a record says it was, in the state it was in.

    `ttl_seconds` is for one whose record was lost. Raises ValueError and the like for a record that is none.
    """
    policy = record.get("size_policy")
    spec = SessionSpec(
        shell=record.get("shell"),
        command=record.get("command"),
        cwd=record.get("cwd"),
        size_policy=SizePolicy(policy) if policy else None,
        keepalive=bool(record.get("keepalive", True)),
        retention_bytes=record.get("retention_bytes"),
        backend=record.get("backend"),
        size=Size(int(record.get("rows", 24)), int(record.get("cols", 80))),
        name=str(record.get("name", "")),
        labels=dict(record.get("labels", {})),
        needs=_restore_needs(record.get("needs", {})),
    )
    session = Session(
        session_id,
        str(record.get("owner", "")),
        spec,
        ttl_seconds=float(record.get("ttl_seconds", ttl_seconds)),
        max_lifetime_seconds=max_lifetime_seconds,
        clock=clock,
    )
    session.restore_history(
        [(State(state), str(reason), float(at)) for state, reason, at in record.get("history", [])],
        created_at=float(record.get("created_at", session.created_at)),
        last_activity=float(record.get("last_activity", session.created_at)),
    )
    session.last_bump = str(record.get("last_bump", "created"))
    session.end_reason = str(record.get("end_reason", ""))
    session.backend_reason = str(record.get("backend_reason", ""))
    session.exit_status = _restore_exit(record.get("exit"))
    return session


def _open_log(session: Session, store: Store, *, is_over: bool) -> Log | None:
    try:
        return store.open(log_name(session), is_over=is_over)
    except LogMissing:
        return None
    except LogDamaged as error:
        log.error("stored output is damaged", session_id=session.session_id, reason=str(error))  # noqa: TRY400 - no bug of ours to trace
        session.end_reason = f"{session.end_reason}; its output cannot be read: {error.reason}"
        return None
