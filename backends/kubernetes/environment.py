"""What a session has of a cluster: a container, and what can be done in it."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from backends.base import Notice, Program
from backends.errors import InvalidProgram, NotSupported, UserRefused
from backends.executable import CannotExecute
from backends.failed_pty import tell_failure
from backends.files.by_commands import ExecFiles
from backends.kubernetes import conditions
from backends.kubernetes.ending import Ending
from backends.kubernetes.exec_pty import ExecPty
from backends.kubernetes.execution import FailedExecution, PodExecution
from backends.kubernetes.forwarding import forward
from backends.kubernetes.processes import session_mark
from backends.kubernetes.starting import new_nonce, start
from backends.kubernetes.usage import measure
from backends.kubernetes.wrapper import SHELLS, Setup

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from backends.abilities import Command, Connection, Stats
    from backends.base import Pty, Sink, Survivor
    from backends.kubernetes.pods import Pods
    from backends.kubernetes.processes import Processes

_MAX_SIZE = 0xFFFF
_LEFTOVER_SECONDS = 1.0
_WARNING_SECONDS = 300.0


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
        self._ending = Ending(processes, pods, pod)
        self._mark = session_mark(node_id, session_id)
        self._shell = shell
        self._release = release
        self._open: set[ExecPty] = set()
        self._executions: WeakSet[PodExecution] = WeakSet()
        self._closing = asyncio.Lock()
        self._is_released = False
        self._warning: asyncio.TimerHandle | None = None

    def warn_before_end(self, pod: dict[str, Any], tell: Callable[[Notice], None]) -> None:
        """Have it told a while before the cluster ends the pod."""
        seconds = conditions.seconds_left(pod)
        if seconds is None:
            return

        def warn() -> None:
            left = min(seconds, _WARNING_SECONDS)
            fields = {"pod": conditions.name(pod), "seconds": round(left)}
            tell(Notice("ending_soon", f"the cluster ends pod {conditions.name(pod)} in {left:.0f} s", fields))

        loop = asyncio.get_running_loop()
        self._warning = loop.call_later(max(0.0, seconds - _WARNING_SECONDS), warn)

    # -- terminals

    async def spawn(self, program: Program, sink: Sink) -> Pty:
        """Start a program; see `Environment.spawn`."""
        setup = self._setup(program)
        try:
            started = await start(self.processes, setup)
        except CannotExecute as failure:
            return tell_failure(failure, sink)
        pty = ExecPty(started, sink, setup.mark, self._ending)
        self._open.add(pty)
        pty.when_over(self._open.discard)
        return pty

    def _setup(self, program: Program) -> Setup:
        self._refuse_user(program.user)
        if not all(1 <= length <= _MAX_SIZE for length in (program.rows, program.cols)):
            raise InvalidProgram("size", f"rows and cols are 1 to {_MAX_SIZE}")
        if program.command is not None and not program.command:
            raise InvalidProgram("command", "has at least one word")
        return Setup(
            mark=self._new_mark(),
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

    def _new_mark(self) -> str:
        """Return by what a program's processes are known."""
        return f"{self._mark}{secrets.token_hex(8)}"

    def _refuse_user(self, user: str | None) -> None:
        """Raise UserRefused unless no user is asked for."""
        if user is not None:
            raise UserRefused(user, "in a container programs run as the user that the pod names")

    async def adopt(self, survivor: Survivor, sink: Sink, position: int = 0) -> Pty:  # noqa: ARG002 - the contract
        """Refuse: an exec cannot be had again."""
        raise NotSupported("kubernetes", "reattach")

    # -- what else can be done there

    async def execute(self, command: Command) -> PodExecution | FailedExecution:
        """Start a command; see `Executor.execute`."""
        self._refuse_user(command.user)
        if not command.argv:
            raise InvalidProgram("command", "has at least one word")
        setup = Setup(
            mark=self._new_mark(),
            nonce=new_nonce(),
            words=command.argv,
            cwd=command.cwd,
            env=command.env,
            session_id=self.session_id,
        )
        try:
            started = await start(self.processes, setup)
        except CannotExecute as failure:
            return FailedExecution(failure)
        execution = PodExecution(started, setup.mark, self._ending)
        self._executions.add(execution)
        return execution

    def files(self) -> ExecFiles:
        """Return what works on files."""
        return ExecFiles(self)

    async def connect(self, port: int, host: str = "localhost") -> Connection:
        """Connect to a port in the pod; see `Forwarder.connect`."""
        return await forward(self.processes, port, host)

    async def stats(self) -> Stats:
        """Measure; see `Meter.stats`."""
        return await measure(self.processes, self._pods)

    async def logs(self, *, lines: int = 1000, previous: bool = False) -> bytes:
        """Return what the container's main process printed last; `previous`: before it was restarted.

        At most 1 MiB. Raises BackendError.
        """
        return await self._pods.logs(self.processes.target, lines=lines, previous=previous)

    async def close(self) -> None:
        """End the terminals, and what they have left; then give the pod back."""
        async with self._closing:
            if self._is_released:
                return
            if self._warning is not None:
                self._warning.cancel()
            async with asyncio.TaskGroup() as closing:
                for pty in list(self._open):
                    closing.create_task(pty.close(_LEFTOVER_SECONDS))
                for execution in list(self._executions):
                    closing.create_task(execution.close())
            await self._ending.close()
            await self._release(self)
            self._is_released = True
