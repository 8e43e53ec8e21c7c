"""What a new process makes of the sessions that an earlier one left: it goes on with them, or shows what is left."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from backends.errors import BackendError
from terminal_service.errors import Unavailable
from terminal_service.launcher import TAKEN_OVER
from terminal_service.recalls import Recalls
from terminal_service.session import State

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable, Coroutine

    from backends.base import Backend, Survivor
    from replay.log import Log
    from terminal_service.launcher import Launcher
    from terminal_service.session import Session
    from terminal_service.storage import Storage

log = structlog.get_logger()


class Revival:
    """Goes on with those whose programs run on this machine at once, and with the others when they are reached."""

    def __init__(
        self,
        launcher: Launcher,
        storage: Storage,
        start_task: Callable[[Coroutine[object, object, None], str], asyncio.Task[None]],
        *,
        go_on: Callable[[Session], None],
        lose: Callable[[Session, str], Awaitable[None]],
    ) -> None:
        """`go_on` is called with each that has its program again, `lose` with one that turned out to have none."""
        self._launcher = launcher
        self._storage = storage
        self._start_task = start_task
        self._go_on = go_on
        self.recalls = Recalls(launcher, start_task, go_on=go_on, lose=lose)

    async def run(self, add: Callable[[Session], None]) -> None:
        """Find them; `add` is called with each, living or ended. Waits for no other machine. Raises BackendError."""
        survivors = await self._launcher.find_survivors()
        notes = {session_id: survivor.note for session_id, (_, survivor) in survivors.items()}
        elsewhere = self._launcher.runs_elsewhere
        for session, output in await self._storage.recover(self._launcher.restore, notes, elsewhere):
            add(session)
            backend = elsewhere(session)
            if session.session_id in survivors:
                goes_on = await self._resume(session, output, *survivors[session.session_id])
            else:
                goes_on = backend is not None and await self._recall(session, output, backend)
            if not goes_on:
                self.lay_out(session, output)
            await self._storage.save(session)

    async def _resume(self, session: Session, output: Log | None, backend: Backend, survivor: Survivor) -> bool:
        """Go on with a session, and return whether that was possible; otherwise have its program ended."""
        if session.is_living:
            try:
                await self._launcher.resume(session, output, backend, survivor)
            except (BackendError, Unavailable) as error:
                log.error("session cannot go on", session_id=session.session_id, reason=str(error))  # noqa: TRY400 - no bug of ours to trace
                session.end_reason = f"could not go on after a restart: {error}"
            else:
                self._go_on(session)
                return True
        self._start_task(self._launcher.end(backend, survivor), f"end program of session {session.session_id}")
        return False

    async def _recall(self, session: Session, output: Log | None, backend: Backend) -> bool:
        """Show a session that runs elsewhere, and begin to look for its program; return whether it can be shown."""
        try:
            self._launcher.make_terminal(session, output or await self._launcher.begin_log(session))
        except Unavailable as error:
            session.end_reason = f"could not go on after a restart: {error}"
            return False
        session.resume(TAKEN_OVER)
        self.recalls.start(session, backend)
        return True

    def lay_out(self, session: Session, output: Log | None) -> None:
        """Show what is left of a session that has ended, in whatever way: its program is gone, its output is not."""
        backend = self._launcher.backend_of(session)
        who = "the service and its holder" if backend and backend.capabilities.reattach else "the service"
        when = "running" if session.state is not State.PREPARING else "being prepared"
        reason = session.end_reason or f"{who} stopped while the session was {when}"
        if session.enter(State.LOST, reason):
            session.end_reason = reason
        session.settled.set()
        if output is not None:
            terminal = self._launcher.make_terminal(session, output)
            terminal.finish(session.exit_status, session.end_reason, at=session.history[-1].at)
