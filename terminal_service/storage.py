"""What is kept of sessions beyond this process: their logs and their records. Only this module changes their files.

Whatever touches files of a session holds `Session.storing`, until the thread that does so has ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Any, TypeVar

import structlog

from terminal_service.recovery import log_name, make_record, recover_sessions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from replay.log import Log
    from replay.store import Store
    from terminal_service.clock import Clock
    from terminal_service.records import Records
    from terminal_service.session import Session

T = TypeVar("T")

log = structlog.get_logger()

SETTLE_SECONDS = 2.0
"""How long a stop waits for output to be where other nodes read it; the next process brings the rest there."""


class Storage:
    """Logs and records of the sessions of this process. What cannot be stored now is stored by `mend`, later."""

    def __init__(self, store: Store, records: Records, *, clock: Clock) -> None:
        """Begin with nothing kept; call `recover` for what an earlier process left."""
        self._store = store
        self._records = records
        self._clock = clock
        self._kept: set[str] = set()
        """Ids of the sessions that may have files. Nothing is written for others: they were forgotten."""
        self._unsaved: set[str] = set()
        """Those whose record could not be written as it is now."""
        self._logs: dict[str, Log] = {}
        self._behind_since: dict[str, float] = {}
        """When it was seen first that something of a session is not stored, in wall-clock seconds."""

    async def recover(
        self,
        restore: Callable[[str, dict[str, Any]], Session],
        notes: Mapping[str, str],
        may_go_on: Callable[[Session], object],
    ) -> list[tuple[Session, Log | None]]:
        """Return the sessions an earlier process left, with their logs; see `recover_sessions`."""
        found = await asyncio.to_thread(recover_sessions, self._records, self._store, restore, notes, may_go_on)
        for session, output in found:
            self._kept.add(session.session_id)
            if output is not None:
                self._logs[session.session_id] = output
        return found

    async def begin(self, session: Session, retention_bytes: int) -> Log:
        """Make the log of a new session: in memory only if there is no room for a file. Raises OSError.

        Cancelled or not: `forget` lets go of what was made.
        """
        async with session.storing:
            self._kept.add(session.session_id)
            await _call_to_the_end(self._make_log, session, retention_bytes)
            return self._logs[session.session_id]

    def _make_log(self, session: Session, retention_bytes: int) -> None:
        self._logs[session.session_id] = self._store.create(log_name(session), retention_bytes)

    async def save(self, session: Session) -> None:
        """Write a session's record as it is now; what fails is tried again until it is written."""
        record = make_record(session)
        if session.is_living and session.terminal is not None and session.terminal.pty is not None:
            session.terminal.pty.annotate(json.dumps(record))
        async with session.storing:
            if session.session_id not in self._kept:
                return
            self._unsaved.discard(session.session_id)
            try:
                await _call_to_the_end(self._records.save, session.session_id, record)
            except OSError as error:
                self._unsaved.add(session.session_id)
                log.warning("session record not saved", session_id=session.session_id, reason=str(error))

    async def forget(self, session: Session) -> None:
        """Close a session's log and delete all its files."""
        async with session.storing:
            output = self._logs.pop(session.session_id, None)
            if output is not None:
                output.close()
            self._kept.discard(session.session_id)
            self._unsaved.discard(session.session_id)
            await _call_to_the_end(self._delete_files, session)

    def _delete_files(self, session: Session) -> None:
        self._store.delete(log_name(session))
        self._records.delete(session.session_id)

    async def settle(self, sessions: Iterable[Session]) -> None:
        """Write no record any more: from `close` on these files may be another process's."""
        self._kept.clear()
        for session in sessions:
            async with session.storing:  # a request may have begun to
                pass
        await self._store.settle(SETTLE_SECONDS)

    def close(self) -> None:
        """Store what is in memory only, if there is room now, and release all logs."""
        for output in list(self._logs.values()):  # a thread may be making another one
            output.restore_storage()
            output.close()

    # -- trouble

    def is_behind(self, session: Session) -> bool:
        """Whether something of a session is not stored: output in memory only, or an outdated record."""
        output = self._logs.get(session.session_id)
        return session.session_id in self._unsaved or (output is not None and output.shortcoming is not None)

    def behind_since(self, sessions: Iterable[Session]) -> float | None:
        """Return since when some of all sessions are behind, in wall-clock seconds, as far as was asked before."""
        now = self._clock.wall()
        behind = [session.session_id for session in sessions if self.is_behind(session)]
        self._behind_since = {session_id: self._behind_since.get(session_id, now) for session_id in behind}
        return min(self._behind_since.values(), default=None)

    def _is_degraded(self, session: Session) -> bool:
        output = self._logs.get(session.session_id)
        return output is not None and output.degraded is not None

    def tell_trouble(self, session: Session) -> None:
        """Tell viewers once that output is not kept as it should be, and once that it is again."""
        output = self._logs.get(session.session_id)
        if output is None or not (session.is_living or output.degraded is not None):
            return
        reason = output.shortcoming
        if reason is not None and _was_durable(output):
            log.warning("output not kept as it should be", session_id=session.session_id, reason=reason)
            self.tell(output, durable=False, reason=reason)
        elif reason is None and not _was_durable(output):
            log.info("output kept again", session_id=session.session_id)
            self.tell(output, durable=True, reason="")

    def tell(self, output: Log, *, durable: bool, reason: str) -> None:
        """Tell viewers, where they are in the output, whether it survives this process from here on."""
        output.add_event("storage", {"durable": durable, "reason": reason}, self._clock.wall())

    async def mend(self, session: Session) -> None:
        """Store what could not be stored, if there is room now."""
        if session.session_id in self._unsaved:
            await self.save(session)
        if self._is_degraded(session):
            await self._mend_log(session)

    async def _mend_log(self, session: Session) -> None:
        async with session.storing:
            output = self._logs.get(session.session_id)
            if output is None:
                return
            if not await _call_to_the_end(output.reserve_storage) or not output.restore_storage():
                return
            if session.terminal is not None:
                session.terminal.journal.move(output.cells)
        self.tell_trouble(session)


async def _call_to_the_end(work: Callable[..., T], *arguments: object) -> T:
    """Call in a thread, which cannot be cancelled: who is cancelled meanwhile waits for it, and holds its lock."""
    calling = asyncio.get_running_loop().run_in_executor(None, work, *arguments)
    try:
        return await asyncio.shield(calling)
    except asyncio.CancelledError:
        while not calling.done():
            with contextlib.suppress(asyncio.CancelledError):  # once more; it is raised below
                await asyncio.wait([calling])
        raise


def _was_durable(output: Log) -> bool:
    """Return what viewers were told last."""
    told = output.last_event("storage", output.head)
    return told is None or told.fields["durable"] is True
