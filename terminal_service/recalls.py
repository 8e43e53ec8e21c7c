"""Sessions of an earlier process whose programs run elsewhere: taken up again as soon as the place is reached."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import structlog

from backends.base import Notice
from backends.errors import BackendError, Unreachable
from terminal_service.beginnings import MISTAKE
from terminal_service.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from backends.base import Backend, Survivor
    from terminal_service.launcher import Launcher
    from terminal_service.notices import Notices
    from terminal_service.session import Session

QUIET_SECONDS = 1.0
"""What is reached within this time nobody is told to be missing."""
FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 60.0
END_SECONDS = 20.0
"""How long the end of a session waits for its place to be reached; what is left there is swept later."""

log = structlog.get_logger()


class Recalls:
    """Takes sessions up, each in a task of its own: a host that is out of reach holds up no other one."""

    def __init__(
        self,
        launcher: Launcher,
        start_task: Callable[[Coroutine[object, object, None], str], asyncio.Task[None]],
        *,
        go_on: Callable[[Session], None],
        lose: Callable[[Session, str], Awaitable[None]],
    ) -> None:
        """Begin with none. `go_on` is called with one that has its program again, `lose` with one that never will."""
        self._launcher = launcher
        self._start_task = start_task
        self._go_on = go_on
        self._lose = lose
        self._tasks: dict[Session, asyncio.Task[None]] = {}

    def start(self, session: Session, backend: Backend) -> None:
        """Begin to take up a session, which has its terminal."""
        self._tasks[session] = self._start_task(self._run(session, backend), f"recall session {session.session_id}")

    def has(self, session: Session) -> bool:
        """Whether a session has not been taken up yet."""
        return session in self._tasks

    def release(self, session: Session) -> None:
        """Leave a session to the next process."""
        self._tasks.pop(session).cancel()

    def end(self, session: Session) -> None:
        """End a session, as soon as it is reached; if that takes long, without."""
        self._start_task(self._end(session, self._tasks[session]), f"end recalled session {session.session_id}")

    async def _end(self, session: Session, task: asyncio.Task[None]) -> None:
        await asyncio.wait([task], timeout=END_SECONDS)
        if not task.done():
            self.release(session)
            await asyncio.wait([task])
            await self._lose(session, f"{session.end_reason}; its place is out of reach, what is left there goes later")

    async def _run(self, session: Session, backend: Backend) -> None:
        notices = self._launcher.notices_of(session)
        looking = Notice("link_lost", f"looking for the program at {session.backend}")
        telling = asyncio.get_running_loop().call_later(QUIET_SECONDS, notices.tell, looking)
        try:
            survivor = await backend.recall(session.session_id)
            if survivor is None:
                raise Unavailable("the service stopped, and the program with it")  # noqa: TRY301 - one way out
            await self._take_up(session, backend, survivor, notices)
            notices.tell_back(f"the program at {session.backend} is there again")
        except (BackendError, Unavailable) as error:
            self._tasks.pop(session, None)
            log.error("session cannot go on", session_id=session.session_id, reason=str(error))  # noqa: TRY400 - no bug of ours to trace
            await self._lose(session, session.end_reason or f"could not go on after a restart: {error}")
        except Exception:
            self._tasks.pop(session, None)
            log.exception("session cannot go on", session_id=session.session_id)
            await self._lose(session, session.end_reason or f"could not go on after a restart: {MISTAKE}")
        else:
            self._tasks.pop(session, None)
            self._go_on(session)
        finally:
            telling.cancel()

    async def _take_up(self, session: Session, backend: Backend, survivor: Survivor, notices: Notices) -> None:
        """Take up a program, however long its place is out of reach. Raises BackendError."""
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                await self._launcher.adopt(session, backend, survivor)
            except Unreachable as error:
                notices.tell(Notice("link_lost", f"{session.backend} is out of reach, trying again: {error}"))
                await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 - jitter
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
            else:
                return
