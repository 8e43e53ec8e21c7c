"""What a session has of a cluster: a container, and what can be done in it."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING, Any

import structlog

from backends.base import BackendError, InvalidProgram, NotSupported, Program, UserRefused
from backends.executable import CannotExecute
from backends.failed_pty import tell_failure
from backends.kubernetes import conditions
from backends.kubernetes.exec_pty import ExecPty, Surroundings
from backends.kubernetes.processes import session_mark
from backends.kubernetes.starting import new_nonce, start
from backends.kubernetes.wrapper import SHELLS, Setup

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from backends.base import Pty, Sink, Survivor
    from backends.kubernetes.pods import Pods
    from backends.kubernetes.processes import Processes

_MAX_SIZE = 0xFFFF
_LEFTOVER_SECONDS = 1.0
_FATE_SECONDS = 3.0
"""The kubelet tells the end of a container a little later than its streams end."""
_STRAY_PAUSES = (1.0, 30.0)
_STRAY_TRIES = 8
_CLOSE_SECONDS = 10.0

_log = structlog.get_logger(__name__)


class KubernetesEnvironment:
    """The programs of one session in one container."""

    def __init__(
        self,
        processes: Processes,
        pods: Pods,
        pod: dict[str, Any],
        *,
        session_id: str,
        node_id: str,
        shell: str,
        release: Callable[[KubernetesEnvironment], Awaitable[None]],
    ) -> None:
        """Take over a pod that is ready. `release` is called once, in the end."""
        self.processes = processes
        self.session_id = session_id
        self._pods = pods
        self._uid = pod["metadata"]["uid"]
        self._restarts = conditions.container_status(pod, processes.target.container).get("restartCount", 0)
        self._mark = session_mark(node_id, session_id)
        self._shell = shell
        self._release = release
        self._open: set[ExecPty] = set()
        self._strays: dict[str, asyncio.Task[None]] = {}
        self._closing = asyncio.Lock()
        self._is_closed = False
        self._around = Surroundings(processes, self.fate, self._abandon)

    @property
    def strays(self) -> Sequence[str]:
        """Marks of programs that are out of reach and were not ended yet."""
        return list(self._strays)

    # -- terminals

    async def spawn(self, program: Program, sink: Sink) -> Pty:
        """Start a program; see `Environment.spawn`."""
        setup = self._setup(program)
        try:
            started = await start(self.processes, setup)
        except CannotExecute as failure:
            return tell_failure(failure, sink)
        pty = ExecPty(started, sink, setup.mark, self._around)
        self._open.add(pty)
        pty.when_over(self._open.discard)
        return pty

    def _setup(self, program: Program) -> Setup:
        self.refuse_user(program.user)
        if not all(1 <= length <= _MAX_SIZE for length in (program.rows, program.cols)):
            raise InvalidProgram("size", f"rows and cols are 1 to {_MAX_SIZE}")
        if program.command is not None and not program.command:
            raise InvalidProgram("command", "has at least one word")
        return Setup(
            mark=self.new_mark(),
            nonce=new_nonce(),
            words=program.command or (),
            shells=self._shells(program.shell) if program.command is None else (),
            shell=program.shell or self._shell,
            cwd=program.cwd,
            env=program.env,
            session_id=program.session_id,
            size=(program.rows, program.cols),
        )

    def _shells(self, wanted: str | None) -> Sequence[str]:
        """Return those to choose from."""
        if wanted is None:
            return [self._shell, *SHELLS] if self._shell else SHELLS
        return [wanted if wanted in SHELLS else ""]

    def new_mark(self) -> str:
        """Return by what a program's processes are known."""
        return f"{self._mark}{secrets.token_hex(8)}"

    def refuse_user(self, user: str | None) -> None:
        """Raise UserRefused unless no user is asked for."""
        if user is not None:
            raise UserRefused(user, "in a container programs run as the user that the pod names")

    async def adopt(self, survivor: Survivor, sink: Sink, position: int = 0) -> Pty:  # noqa: ARG002 - the contract
        """Refuse: an exec cannot be had again."""
        raise NotSupported("kubernetes", "reattach")

    # -- what became of it

    async def fate(self) -> str | None:
        """Say why the container is not what it was; None: it is. Waits a little for the cluster to notice."""
        try:
            async with asyncio.timeout(_FATE_SECONDS):
                while True:
                    if (why := await self._look()) is not None:
                        return why
                    await asyncio.sleep(0.3)
        except TimeoutError:
            return None
        except BackendError as error:
            _log.info("what became of a pod is not known", pod=self.processes.target.pod, reason=str(error))
            return None

    async def _look(self) -> str | None:
        target = self.processes.target
        pod = await self._pods.get(target.pod)
        if pod is None or pod["metadata"]["uid"] != self._uid:
            return f"pod {target.pod} was deleted"
        restarted = conditions.restarted(pod, target.container, self._restarts)
        return restarted or conditions.ended(pod, target.container)

    # -- what is out of reach

    def _abandon(self, mark: str) -> None:
        """End what a cut stream has left, as soon as that can be done."""
        if mark not in self._strays and not self._is_closed:
            task = asyncio.get_running_loop().create_task(self._end_stray(mark), name=f"ends {mark}")
            self._strays[mark] = task

    async def _end_stray(self, mark: str) -> None:
        pause, longest = _STRAY_PAUSES
        for _ in range(_STRAY_TRIES):
            try:
                await self.processes.end(mark, _LEFTOVER_SECONDS)
            except BackendError as error:
                _log.info("a program that is out of reach was not ended yet", mark=mark, reason=str(error))
                await asyncio.sleep(pause)
                pause = min(2 * pause, longest)
            else:
                del self._strays[mark]
                return

    async def close(self) -> None:
        """End the terminals, and what they have left; then give the pod back."""
        async with self._closing:
            if self._is_closed:
                return
            async with asyncio.TaskGroup() as closing:
                for pty in list(self._open):
                    closing.create_task(pty.close(_LEFTOVER_SECONDS))
            for task in self._strays.values():
                task.cancel()
            self._is_closed = True
            await self._release(self)
