"""How a program in a container ended, as far as that can be believed, and what it has left."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import structlog

from backends.base import ExitStatus, Lost
from backends.errors import BackendError
from backends.kubernetes import conditions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backends.kubernetes.channels import Outcome
    from backends.kubernetes.pods import Pods
    from backends.kubernetes.processes import Processes
    from backends.kubernetes.wrapper import Marks

_FATE_SECONDS = 2.0
"""The cluster tells the end of a container a little later than its streams end."""
_LOOK_SECONDS = 0.2
_STRAY_PAUSES = (0.5, 30.0)
_STRAY_TRIES = 10
_GRACE_SECONDS = 1.0

_log = structlog.get_logger(__name__)


class Ending:
    """Judges the ends of one container's programs; `close` in the end."""

    def __init__(self, processes: Processes, pods: Pods, pod: dict[str, Any]) -> None:
        """Remember which container it is."""
        self.processes = processes
        self._pods = pods
        self._uid = pod["metadata"]["uid"]
        self._restarts = conditions.container_status(pod, processes.target.container).get("restartCount", 0)
        self._strays: dict[str, asyncio.Task[None]] = {}
        self._is_closed = False

    @property
    def strays(self) -> Sequence[str]:
        """Marks of programs that are out of reach and were not ended yet."""
        return list(self._strays)

    async def judge(self, marks: Marks, outcome: Outcome | None, reason: str, mark: str) -> ExitStatus:
        """Say how a program ended. The cluster's `Success` is no proof of it: its runtime may have restarted."""
        if marks.ended is not None:
            return ExitStatus(code=marks.ended)
        if (fate := await self.fate()) is not None:
            return ExitStatus(lost=Lost.PLACE, message=fate)
        if outcome is not None and outcome.code:
            return ExitStatus(code=outcome.code)  # the wrapper was killed, and so has said nothing
        self.abandon(mark)
        if outcome is not None and outcome.success:
            reason = "the cluster said that the program has ended, which it has not said itself: it is out of reach"
        elif outcome is not None:
            reason = f"the cluster lost the program: {outcome.message}"
        return ExitStatus(lost=Lost.LINK, message=reason)

    async def fate(self) -> str | None:
        """Say why the container is not what it was; None: it is. Waits a little for the cluster to notice."""
        try:
            async with asyncio.timeout(_FATE_SECONDS):
                while (why := await self.look()) is None:  # noqa: ASYNC110 - the cluster is asked
                    await asyncio.sleep(_LOOK_SECONDS)
                return why
        except TimeoutError:
            return None
        except BackendError as error:
            _log.info("what became of a pod is not known", pod=self.processes.target.pod, reason=str(error))
            return None

    async def look(self) -> str | None:
        """Say why the container is not what it was; None: it is. Raises BackendError."""
        target = self.processes.target
        pod = await self._pods.get(target.pod)
        if pod is None or pod["metadata"]["uid"] != self._uid:
            return f"pod {target.pod} was deleted"
        restarted = conditions.restarted(pod, target.container, self._restarts)
        return restarted or conditions.ended(pod, target.container)

    def abandon(self, mark: str) -> None:
        """Have what a cut stream has left ended, as soon as that can be done."""
        if mark not in self._strays and not self._is_closed:
            task = asyncio.get_running_loop().create_task(self._end_stray(mark), name=f"ends {mark}")
            self._strays[mark] = task

    async def _end_stray(self, mark: str) -> None:
        pause, longest = _STRAY_PAUSES
        for _ in range(_STRAY_TRIES):
            try:
                await self.processes.end(mark, _GRACE_SECONDS)
            except BackendError as error:
                _log.info("a program that is out of reach was not ended yet", mark=mark, reason=str(error))
                await asyncio.sleep(pause)
                pause = min(2 * pause, longest)
            else:
                break
        del self._strays[mark]

    async def close(self) -> None:
        """Try no more."""
        self._is_closed = True
        tasks = list(self._strays.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
