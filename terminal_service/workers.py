"""The parent of several processes behind one port (`WORKERS`): starts them, starts them again, ends with them.

It serves nothing. It keeps the listening sockets, so that connections wait for a worker that is being started again;
it has the lock and the control socket of the state directory, so that it is stopped and replaced as one service is. A
worker is this same program with a state directory of its own; `worker` says how the two speak.

A replacement goes worker by worker: the new parent has the sockets first, each of its workers replaces the one of that
number, as a service alone does, and when all serve the old parent, which starts none again meanwhile, ends. If one
cannot start, the new parent ends with those it has, and the old one starts again what it misses.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import time
from typing import TYPE_CHECKING, Any

import structlog

from terminal_service import logs, state
from terminal_service.asked import Asked, Stop
from terminal_service.control import Control, Refused
from terminal_service.heard import heard_signals
from terminal_service.listeners import ListenError
from terminal_service.predecessor import Predecessor
from terminal_service.shared_port import listen_together
from terminal_service.state import StateError
from terminal_service.worker_places import WORKERS_DIR, Crew, patience, still_there
from terminal_service.worker_process import Plan, WorkerProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from terminal_service.listeners import Listener
    from terminal_service.settings import Settings
    from terminal_service.state import Lock

RESTART_SECONDS = 0.5
"""Until a worker that has ended is started again; twice as long each time, up to the next:"""
MOST_RESTART_SECONDS = 5.0
"""Less than the eight seconds after which other nodes take it for dead, and end its sessions."""
_GOOD_SECONDS = 30.0
"""Who has lived so long begins with the short time again."""
_TOLD = (-signal.SIGINT, -signal.SIGTERM, -1, 130)
"""How a process ends that is told to before it can listen: by SIGINT, SIGTERM, SIGHUP, by KeyboardInterrupt."""
_KILLED = -9
"""By SIGKILL, which not every system has a name for."""
_HEAR_SECONDS = 0.5
_HURRY_SECONDS = 5.0
"""How long a worker may take to end at once."""
_LOOK_SECONDS = 0.02
_LATE_SECONDS = 5.0
"""How much later than the deadline workers may have drained: one may just be starting again."""
_ANSWER_SECONDS = 3.0
"""How long workers may take to say how many sessions they have; whoever asked waits ten."""

log = structlog.get_logger()


class WorkersError(Exception):
    """The workers cannot start; the message is one line for whoever started them."""


class EndError(Exception):
    """Workers have ended otherwise than they were told; the message is one line."""


async def main(
    settings: Settings,
    environment: Mapping[str, str],
    *,
    program: Sequence[str],
    announce: Callable[[str], None],
    replaces: bool = False,
) -> None:
    """Run the workers until told to stop; `announce` is called with the URL once all serve.

    `program` is the command of a worker. Raises StateError, ListenError, Refused (the running ones go on),
    WorkersError or OSError where they cannot start; EndError where they have not ended well.
    """
    logs.configure(settings.log_level, settings.log_format)
    if settings.ignored:
        log.warning("settings without effect", names=list(settings.ignored))
    gc.enable()  # it was not while code was loaded
    with contextlib.ExitStack() as stack:
        lock = stack.enter_context(state.open_lock(settings.state_dir))
        asked = stack.enter_context(heard_signals(stops_sessions=settings.stop_sessions_on_exit))
        predecessor = None
        if replaces:
            predecessor = await Predecessor.find(settings.state_dir, holder=None, workers=settings.workers)
        if predecessor is None:
            lock.take()
        else:
            stack.callback(predecessor.close)
        crew = Crew(settings.state_dir / WORKERS_DIR)
        stack.callback(crew.close)
        await _join(crew, asked, settings, alone=predecessor is None or predecessor.is_gone)
        inherit = predecessor.socket_at if predecessor is not None else lambda _: None
        listeners = stack.enter_context(listen_together(settings, environment, inherit))
        plan = Plan(program, environment, settings, listeners, crew.descriptor)
        await _Parent(plan, lock, asked, predecessor).run(announce)


async def _join(crew: Crew, asked: Asked, settings: Settings, *, alone: bool) -> None:
    """Wait for the workers of a parent that was killed: they are ending. Raises StateError: they do not."""
    deadline = asyncio.get_running_loop().time() + patience(settings)
    waits = False
    while not crew.try_to_join(alone=alone):
        if not waits:
            log.warning("waiting for the workers of a parent that was killed")
            waits = True
        if asyncio.get_running_loop().time() > deadline or asked.stop.done():
            raise StateError(still_there(settings))
        await asyncio.sleep(_LOOK_SECONDS)


class _Parent:
    """All workers, from the first start to the last end; single-use. A `control.Owner`."""

    def __init__(self, plan: Plan, lock: Lock, asked: Asked, predecessor: Predecessor | None) -> None:
        """Begin with none."""
        self._plan = plan
        self._lock = lock
        self._asked = asked
        self._predecessor = predecessor
        self._control: Control | None = None
        self._workers: dict[int, WorkerProcess] = {}
        self._ready = {number: asyncio.Event() for number in range(1, plan.settings.workers + 1)}
        self._over = asyncio.Event()
        self._alone = asyncio.Event()
        self._alone.set()
        """Cleared while a successor is about to take the workers' places."""
        self._drains = asyncio.Event()
        self._drain_until = 0.0
        self._failure: WorkersError | EndError | None = None

    async def run(self, announce: Callable[[str], None]) -> None:
        """Start all, keep them, end with them. Raises WorkersError, EndError."""
        try:
            async with asyncio.TaskGroup() as tasks:
                keeping = tasks.create_task(self._keep_all(), name="workers")
                tasks.create_task(self._wait_for_end(), name="end")
                draining = tasks.create_task(self._wait_until_drained(), name="drain")
                controlling = tasks.create_task(self._open(announce), name="control")
                await asyncio.wait([keeping])
                controlling.cancel()
                draining.cancel()
                self._let_go()
        finally:
            if self._control is not None:
                self._control.leave()
        if self._failure is not None:
            raise self._failure
        if self._control is not None:
            self._control.finish()

    # -- the beginning

    async def _open(self, announce: Callable[[str], None]) -> None:
        """Once all workers serve: take the predecessor's place, say where we are, and be asked things."""
        for ready in self._ready.values():
            await ready.wait()
        predecessor = self._predecessor
        if predecessor is not None:
            try:
                await predecessor.take_over(self._lock)
            except (Refused, OSError) as error:
                self._fail(str(error))
                return
            predecessor.close()
            log.info("took over", predecessor=predecessor.pid)
        directory = self._plan.settings.state_dir
        try:
            self._control = Control(directory, self)
        except (ListenError, OSError) as error:  # a full disk is no reason not to serve
            log.warning("cannot be asked to stop or to make way, only signalled", reason=str(error))
        url = self._plan.listeners[0].url
        try:
            await asyncio.to_thread(state.announce, directory, url)
        except OSError as error:
            log.warning("address not written", file=state.SERVICE_FILE, reason=str(error))
        announce(url)
        if self._control is not None:
            await self._control.run()

    # -- workers

    async def _keep_all(self) -> None:
        """Keep one worker at each number; the first one alone at first, for what is wrong with it is with all."""
        async with asyncio.TaskGroup() as tasks:
            for number, ready in self._ready.items():
                tasks.create_task(self._keep(number), name=f"worker {number}")
                if number == 1 or self._predecessor is not None:
                    await self._either(ready, self._over)

    async def _keep(self, number: int) -> None:
        """Have a worker there, one process after the other."""
        pause = RESTART_SECONDS
        while not self._over.is_set():
            began = asyncio.get_running_loop().time()
            code, has_served = await self._run(number)
            if code in _TOLD and not has_served:
                await self._over_within(_HEAR_SECONDS)  # the same signal may be on its way to us
            if self._over.is_set():
                if code == _KILLED or (code and has_served):
                    self._failure = self._failure or EndError(
                        f"worker {number} has ended with {_cause(code)}; `stop --all` ends what it has left"
                    )
                return
            if not self._ready[number].is_set() and not self._may_retry:
                self._fail(f"worker {number} cannot start: it has ended with {_cause(code)}")
                return
            if self._alone.is_set():
                lived = asyncio.get_running_loop().time() - began
                pause = RESTART_SECONDS if lived > _GOOD_SECONDS else pause
                log.error("a worker has ended and is started again", worker=number, cause=_cause(code), seconds=pause)
                await self._over_within(pause)
                pause = min(2 * pause, MOST_RESTART_SECONDS)
            await self._either(self._alone, self._over)

    async def _over_within(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._over.wait()

    @property
    def _may_retry(self) -> bool:
        """Whether it is no wonder that a worker cannot start: a killed predecessor's still has its place."""
        return self._predecessor is not None and self._predecessor.is_gone

    async def _run(self, number: int) -> tuple[int, bool]:
        """Run one process of a worker; return its exit code, and whether it has served."""
        replaces = self._predecessor is not None and not self._lock.is_ours
        try:
            worker = await WorkerProcess.start(self._plan, number, replaces=replaces)
        except OSError as error:
            log.exception("a worker cannot be started", worker=number, reason=str(error))
            return 1, False
        self._workers[number] = worker
        try:
            async with asyncio.TaskGroup() as tasks:
                noting = tasks.create_task(self._note_ready(number, worker), name=f"worker {number} ready")
                if self._over.is_set():
                    worker.stop(self._asked.stop.result())
                code = await worker.run()
                noting.cancel()
            return code, worker.ready.is_set()
        finally:
            del self._workers[number]

    async def _note_ready(self, number: int, worker: WorkerProcess) -> None:
        await worker.ready.wait()
        log.info("worker is ready", worker=number, pid=worker.pid)
        self._ready[number].set()
        if self._drains.is_set():
            worker.drain(max(0.0, self._drain_until - asyncio.get_running_loop().time()))

    async def _either(self, one: asyncio.Event, other: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as tasks:
            waits = [tasks.create_task(event.wait()) for event in (one, other)]
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for wait in waits:
                wait.cancel()

    # -- the end

    def _fail(self, reason: str) -> None:
        self._failure = self._failure or WorkersError(reason)
        self._asked.to_stop(Stop("workers cannot start", ends_all=False))

    async def _wait_for_end(self) -> None:
        stop = await self._asked.stop
        log.info("stopping", cause=stop.cause, sessions="end" if stop.ends_all else "go on", workers=len(self._workers))
        self._over.set()
        self._asked.on_hurry = self._hurry
        for worker in self._workers.values():
            worker.stop(stop)

    async def _wait_until_drained(self) -> None:
        """End all together once all have drained: as long as the port is open, connections come to each of them."""
        await self._drains.wait()
        now = asyncio.get_running_loop().time
        while now() < self._drain_until + _LATE_SECONDS:
            if len(self._workers) == len(self._ready) and all(each.is_drained for each in self._workers.values()):
                break
            await asyncio.sleep(_LOOK_SECONDS)
        self._asked.to_stop(Stop("drained", ends_all=self._plan.settings.stop_sessions_on_exit))

    def _hurry(self) -> None:
        log.warning("ending at once")
        for worker in self._workers.values():
            worker.hurry()
        asyncio.get_running_loop().call_later(_HURRY_SECONDS, self._kill)

    def _kill(self) -> None:
        for number, worker in self._workers.items():
            log.error("a worker does not answer and is killed", worker=number, pid=worker.pid)
            worker.kill()

    def _let_go(self) -> None:
        """Give free what the next parent needs; all workers have ended."""
        if self._asked.stop.result().successor is not None:
            for listener in self._plan.listeners:
                listener.give_away()
        if self._control is not None:
            self._control.leave()
        self._lock.release()

    # -- what other processes ask (control.Owner)

    async def stop(self, *, end_all: bool) -> dict[str, Any]:
        """Begin to end; see `control.Owner`."""
        workers = list(self._workers.values())
        ends_all = end_all or self._plan.settings.stop_sessions_on_exit
        if not self._asked.to_stop(Stop("stop --all" if end_all else "stop", ends_all=ends_all)):
            raise Refused("it is ending already")
        return {"sessions": await _count(workers), "ends_all": ends_all}

    async def drain(self, seconds: float | None) -> dict[str, Any]:
        """Have all workers drain; see `control.Owner`. It ends when the last of them has."""
        if self._asked.stop.done():
            raise Refused("it is ending already")
        settings, workers = self._plan.settings, [each for each in self._workers.values() if each.ready.is_set()]
        seconds = settings.drain_seconds if seconds is None else seconds
        self._drain_until = asyncio.get_running_loop().time() + seconds
        self._drains.set()
        for worker in workers:
            worker.drain(seconds)
        deadline = time.time() + seconds
        return {"sessions": await _count(workers), "deadline": deadline, "ends_all": settings.stop_sessions_on_exit}

    def offer(self, request: dict[str, Any]) -> Sequence[Listener]:
        """Return what a successor goes on with; see `control.Owner`."""
        count = self._plan.settings.workers
        if self._asked.stop.done():
            raise Refused("it is ending already")
        if self._drains.is_set():
            raise Refused("it is draining")
        if not isinstance(request.get("workers"), int) or request["workers"] < max(2, count):
            raise Refused(f"it has {count} workers, which fewer (WORKERS) cannot replace: stop it first")
        self._alone.clear()
        return self._plan.listeners

    def make_way(self, pid: int) -> None:
        """Begin to let go; see `control.Owner`."""
        if not self._asked.to_stop(Stop(f"replaced by process {pid}", ends_all=False, successor=pid)):
            raise Refused("it is ending already")

    def go_on(self) -> None:
        """Start again what the successor has replaced before it was gone; see `control.Owner`."""
        self._alone.set()


async def _count(workers: Sequence[WorkerProcess]) -> int:
    """Return how many sessions those have that say so in time."""
    counts = [worker.sessions for worker in workers]
    if counts:
        await asyncio.wait(counts, timeout=_ANSWER_SECONDS)
    return sum(count.result() for count in counts if count.done() and not count.cancelled())


def _cause(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"signal {-code}"
