"""The programs that are being ended: politely, then firmly, or at once when somebody is in a hurry."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Coroutine

    from terminal_service.session import Session


class Closings:
    """What ends programs now, one task a session."""

    def __init__(
        self, start_task: Callable[[Coroutine[object, object, None], str], asyncio.Task[None]], *, grace_seconds: float
    ) -> None:
        """Begin with none. `start_task` starts a task of that name; `grace_seconds`: see `Pty.close`."""
        self._start_task = start_task
        self._grace_seconds = grace_seconds
        self._closings: dict[Session, asyncio.Task[None]] = {}

    def start(self, session: Session) -> None:
        """Begin to end a session's program."""
        closing = self._closings[session] = self._start_task(self.close(session), f"end session {session.session_id}")

        def forget(_: asyncio.Task[None]) -> None:
            if self._closings.get(session) is closing:
                del self._closings[session]

        closing.add_done_callback(forget)

    def hurry(self) -> None:
        """End what is being ended without any more grace."""
        self._grace_seconds = 0
        for session, closing in list(self._closings.items()):
            closing.cancel()
            self.start(session)

    async def close(self, session: Session) -> None:
        """End a session's program; returns when it has ended."""
        if session.terminal is not None and session.terminal.pty is not None:
            await session.terminal.pty.close(self._grace_seconds)
