"""What is done once a session has ended, in whatever way: all who have to know are told, and nothing of it stays."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from terminal_service.guarded import guarded
from terminal_service.session import State

if TYPE_CHECKING:
    from backends.base import ExitStatus
    from terminal_service.closings import Closings
    from terminal_service.counters import Counters
    from terminal_service.publisher import Publisher
    from terminal_service.session import Session
    from terminal_service.storage import Storage
    from terminal_service.terminal import Terminal

log = structlog.get_logger()


class Settlement:
    """Settles sessions; each once."""

    def __init__(self, storage: Storage, publisher: Publisher, closings: Closings, counters: Counters) -> None:
        """Keep what is left where these keep it."""
        self._storage = storage
        self._publisher = publisher
        self._closings = closings
        self._counters = counters

    async def watch(self, session: Session) -> None:
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
        finally:
            session.settled.set()

    async def _settle(self, session: Session, terminal: Terminal, status: ExitStatus) -> None:
        reason = session.end_reason or ("Process exited" if status.lost is None else status.lost.value)
        state = State.ENDED if status.lost is None and not session.is_lost else State.LOST
        await self.close_environment(session)
        session.end_reason, session.exit_status = reason, status
        session.enter(state, reason)
        self._counters.sessions_ended[reason] += 1
        self._counters.session_seconds.add(session.uptime)
        terminal.finish(status, reason)
        log.info("session ended", session_id=session.session_id, reason=reason, exit_code=status.code)
        await self._storage.save(session)
        await self._publisher.publish(session)

    async def fail(self, session: Session, reason: str) -> None:
        """Settle a session that never got its program, or never gets it again; it stays readable."""
        has_run = any(change.state is State.RUNNING for change in session.history)
        was_ended = session.state is State.ENDING
        try:
            await self._closings.close(session)
            await self.close_environment(session)
        finally:
            session.end_reason = reason
            session.enter(State.LOST if has_run else State.ENDED if was_ended else State.ERROR, reason)
            if session.terminal is not None:
                session.terminal.finish(None, reason)
        self._counters.sessions_ended["lost" if has_run else "not started"] += 1
        log.warning("session over", session_id=session.session_id, reason=reason)
        await self._storage.save(session)
        await self._publisher.publish(session)
        session.settled.set()

    async def close_environment(self, session: Session) -> None:
        """Release what was provisioned for a session."""
        if session.environment is not None:
            await guarded(session.environment.close(), f"close environment of session {session.session_id}")
