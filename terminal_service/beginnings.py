"""The sessions that are being prepared, which may take minutes: one task each, until they run, or cannot."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from terminal_service.errors import ServiceError, SessionOver

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from terminal_service.session import Session

MISTAKE = "the service made a mistake; its log says more"

log = structlog.get_logger()


class Beginnings:
    """Prepares sessions. Whoever asked for one waits for a while; then it goes on without them."""

    def __init__(
        self,
        prepare: Callable[[Session], Awaitable[None]],
        fail: Callable[[Session, str], Awaitable[None]],
        start_task: Callable[[Coroutine[object, object, None], str], asyncio.Task[None]],
    ) -> None:
        """Begin with none. `fail` is called for those that nobody waits for any more when they could not begin."""
        self._prepare = prepare
        self._fail = fail
        self._start_task = start_task
        self._beginnings: dict[Session, _Beginning] = {}

    async def begin(self, session: Session, *, wait_seconds: float) -> bool:
        """Prepare a session; return whether it runs now, else it goes on to be prepared.

        Raises what `prepare` raises, and SessionOver: it was ended meanwhile. Then, or cancelled, what there is of it
        is the caller's to clear away.
        """
        beginning = self._beginnings[session] = _Beginning()
        beginning.task = self._start_task(self._run(session, beginning), f"prepare session {session.session_id}")
        try:
            async with asyncio.timeout(wait_seconds):
                await beginning.is_over.wait()
        except TimeoutError:
            if not beginning.is_over.is_set():
                beginning.is_awaited = False
                return False
        except asyncio.CancelledError:
            beginning.task.cancel()
            await asyncio.wait([beginning.task])
            raise
        if beginning.error is not None:
            raise beginning.error
        return True

    def cancel(self, session: Session) -> bool:
        """Prepare a session no longer; return whether it was being prepared."""
        beginning = self._beginnings.get(session)
        if beginning is None or beginning.task is None:
            return False
        beginning.task.cancel()
        return True

    async def _run(self, session: Session, beginning: _Beginning) -> None:
        try:
            await self._prepare(session)
        except asyncio.CancelledError:
            beginning.error = SessionOver(session.session_id, session.end_reason)
            if session.is_living and not session.end_reason:  # by whoever waits, or with the service
                raise
        except Exception as error:  # noqa: BLE001 - raised again where somebody waits, told where nobody does
            beginning.error = error
        finally:
            self._beginnings.pop(session, None)
            beginning.is_over.set()
        if beginning.error is not None and not beginning.is_awaited:
            await self._fail(session, _reason(session, beginning.error))


class _Beginning:
    """How far one is."""

    def __init__(self) -> None:
        self.task: asyncio.Task[None] | None = None
        self.is_over = asyncio.Event()
        self.is_awaited = True
        self.error: Exception | None = None


def _reason(session: Session, error: Exception) -> str:
    """Return why a session did not begin, for people."""
    if session.end_reason:
        return session.end_reason
    if isinstance(error, ServiceError):
        return str(error)
    log.error("session could not be prepared", session_id=session.session_id, exc_info=error)
    return MISTAKE
