"""The composition root: the only module that names concrete classes, and the owner of the process's life.

Order of a stop: accept no more connections unless all ends, tell viewers (1012 with a retry hint), let go of the
programs that go on without this process and end the others politely then firmly, settle their logs and records, give
the holder and the state directory free, close the server.

Order of a replacement (`--replace`): the new process has read its settings, loaded its code and holds the listening
sockets too before the old one does anything; the old one accepts no more, answers what it owes, lets go as above and
gives the state directory free; the new one takes that, then the holder, and serves. The lock of the state directory
and the holder's rule of one owner make it impossible that both have the programs. Connections made meanwhile wait at
the sockets, which are open all the time.

Little is imported at once here: the rest is loaded when connections can wait at the sockets already.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from backends.base import BackendError
from terminal_service import logs, state
from terminal_service.asked import Asked, Stop
from terminal_service.control import Control, Refused
from terminal_service.heard import heard_signals
from terminal_service.listeners import ListenError, listen
from terminal_service.predecessor import Predecessor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from backends.base import Backend
    from replay.redis_persister import Persister
    from replay.store import Store
    from terminal_service.listeners import Listener
    from terminal_service.sessions import Sessions
    from terminal_service.settings import Settings
    from terminal_service.state import Lock
    from transports.bundle import Bundle
    from transports.server import Server

CLOSING_SECONDS = 5
"""How long clients may take to close their side once everything else has ended."""
LEAVING_SECONDS = 1
"""The same where the sessions go on: whoever starts the next process waits for the end of this one."""
DRAIN_SECONDS = 0.5
"""How long requests may take that came before the sessions are let go."""

BUNDLE = Path(__file__).parent / "static"
"""Where the web client is, if it has been built."""

WORKER_THREADS = 4
"""Threads for file operations; all are started with the service, so that none can be missing later."""
RESERVED_DESCRIPTORS, RESERVED_SHARE = 64, 8
"""Sessions leave so many descriptors free, or that part of a small limit: viewers and requests need some too."""

SESSIONS_DIR = "sessions"
"""Of the state directory: the logs and records of sessions."""

log = structlog.get_logger()


class StartError(Exception):
    """The system does not give what the service needs; the message is one line for whoever starts it."""


async def main(
    settings: Settings, environment: Mapping[str, str], *, announce: Callable[[str], None], replaces: bool = False
) -> None:
    """Run the service until it is told to stop; `announce` is called with its URL once it serves.

    `replaces`: take the place of the one that runs, if one does. Raises StateError, StartError, ListenError, Refused
    (that one goes on) or OSError where it cannot start.
    """
    logs.configure(settings.log_level, settings.log_format)
    if settings.ignored:
        log.warning("settings without effect", names=list(settings.ignored))
    with contextlib.ExitStack() as stack:
        lock = stack.enter_context(state.open_lock(settings.state_dir))
        asked = stack.enter_context(heard_signals(stops_sessions=settings.stop_sessions_on_exit))
        predecessor = None
        if replaces:
            predecessor = await Predecessor.find(settings.state_dir, holder=settings.holder_dir)
        if predecessor is None:
            lock.take()
        else:
            stack.callback(predecessor.close)
        inherit = predecessor.socket_at if predecessor is not None else lambda _: None
        listeners = stack.enter_context(listen(settings, environment, inherit))
        service = _Service(settings, environment, lock, listeners, asked)
        await service.check()
        if predecessor is not None:
            if asked.stop.done():
                raise StartError("told to stop before it has replaced the running service")
            await predecessor.take_over(lock)
            predecessor.close()  # where this one does not listen nobody may wait
            log.info("took over", predecessor=predecessor.pid)
        await service.run(announce)


async def end_all(settings: Settings, environment: Mapping[str, str]) -> int:
    """End the sessions that a service has left behind; return how many. Raises as `main`."""
    logs.configure("WARNING", settings.log_format)
    with state.open_lock(settings.state_dir) as lock:
        lock.take()
        _start_threads()
        backends = _make_backends(settings, environment)
        await _check_backends(backends.values())
        store, persister = _make_store(settings)
        sessions = _make_sessions(settings, backends, store)
        async with asyncio.TaskGroup() as tasks:
            copying = tasks.create_task(persister.run(), name="redis") if persister else None
            work = tasks.create_task(sessions.run(), name="sessions")
            await sessions.ready.wait()
            count = sessions.living_count
            sessions.stop(end_all=True)
            await asyncio.wait([work])
            if persister is not None and copying is not None:
                persister.stop()
        await _close_backends(settings, backends, ends_all=True)
    return count


class _Service:
    """One process of the service, from the moment it could serve to its end; single-use. A `control.Owner`."""

    def __init__(
        self,
        settings: Settings,
        environment: Mapping[str, str],
        lock: Lock,
        listeners: Sequence[Listener],
        asked: Asked,
    ) -> None:
        """Load and make everything, and touch nothing that could be another process's yet. Raises StartError.

        The first listener is the service's, the second one, if there is one, that of the metrics.
        """
        from terminal_service.metrics import Metrics
        from terminal_service.tickets import Tickets
        from transports.application import make_application, make_metrics_application
        from transports.server import Server

        _start_threads()
        self._settings = settings
        self._lock = lock
        self._listeners = listeners
        self._asked = asked
        self._backends = _make_backends(settings, environment)
        store, self._persister = _make_store(settings)
        self._sessions = _make_sessions(settings, self._backends, store)
        self._control: Control | None = None
        metrics = Metrics(self._sessions, self._persister.figures if self._persister else None)
        applications = [
            make_application(
                settings,
                self._sessions,
                metrics,
                bundle=_read_bundle(),
                tickets=Tickets(self._sessions.clock),
            ),
            make_metrics_application(settings, metrics),
        ]
        self._servers: dict[Server, Listener] = {
            Server(application, max_message_bytes=settings.websocket_max_message_size): listener
            for application, listener in zip(applications, listeners, strict=False)
        }

    async def check(self) -> None:
        """See whether it could serve, as far as nobody is disturbed. Raises StartError."""
        await _check_shell(self._settings, next(iter(self._backends.values())))

    async def run(self, announce: Callable[[str], None]) -> None:
        """Serve until told to stop; the lock has been taken. Raises StartError."""
        await _check_backends(self._backends.values())
        self._control = self._listen_for_control()
        try:
            async with asyncio.TaskGroup() as tasks:
                if self._persister is not None:
                    tasks.create_task(self._persister.run(), name="redis")
                work = tasks.create_task(self._sessions.run(), name="sessions")
                await self._sessions.ready.wait()
                for server, listener in self._servers.items():
                    tasks.create_task(server.serve([listener.socket]), name="server")
                    await server.ready.wait()
                controlling = tasks.create_task(self._control.run(), name="control") if self._control else None
                gc.enable()
                gc.freeze()  # or each full collection would look at all of this again: every terminal waits 60 ms then
                await self._say_where(announce)
                stop = await self._asked.stop
                await self._begin_to_stop(stop)
                await asyncio.wait([work])
                if self._persister is not None:
                    self._persister.stop()
                if controlling is not None:
                    controlling.cancel()
                await self._let_go(stop)
        finally:
            if self._control is not None:
                self._control.leave()
        if self._control is not None:
            self._control.finish()

    async def _begin_to_stop(self, stop: Stop) -> None:
        log.info("stopping", cause=stop.cause, sessions="end" if stop.ends_all else "go on")
        self._asked.on_hurry = self._hurry
        if not stop.ends_all:
            await asyncio.gather(*(server.drain(DRAIN_SECONDS) for server in self._servers))
        self._sessions.stop(end_all=stop.ends_all)

    async def _let_go(self, stop: Stop) -> None:
        """Give free what the next process needs; then let clients close their side."""
        await _close_backends(self._settings, self._backends, ends_all=stop.ends_all)
        if stop.successor is not None:
            for listener in self._listeners:
                listener.give_away()
        if self._control is not None:
            self._control.leave()
        self._lock.release()
        for server in self._servers:
            server.leave(CLOSING_SECONDS if stop.ends_all else LEAVING_SECONDS)

    def _hurry(self) -> None:
        log.warning("ending at once")
        self._sessions.hurry()
        for server in self._servers:
            server.hurry()

    async def _say_where(self, announce: Callable[[str], None]) -> None:
        url = self._listeners[0].url
        try:
            await asyncio.to_thread(state.announce, self._settings.state_dir, url)
        except OSError as error:  # a full disk is no reason not to serve
            log.warning("address not written", file=state.SERVICE_FILE, reason=str(error))
        announce(url)

    # -- what other processes ask (control.Owner)

    def _listen_for_control(self) -> Control | None:
        if sys.platform == "win32":
            return None
        try:
            return Control(self._settings.state_dir, self)
        except (ListenError, OSError) as error:  # a full disk is no reason not to serve
            log.warning("cannot be asked to stop or to make way, only signalled", reason=str(error))
            return None

    def stop(self, *, end_all: bool) -> dict[str, Any]:
        """Begin to end; see `control.Owner`."""
        ends_all = end_all or self._settings.stop_sessions_on_exit
        if not self._asked.to_stop(Stop("stop --all" if end_all else "stop", ends_all=ends_all)):
            raise Refused("it is ending already")
        return {"sessions": self._sessions.living_count, "ends_all": ends_all}

    def offer(self, request: dict[str, Any]) -> Sequence[Listener]:
        """Return what a successor goes on with; see `control.Owner`."""
        own = self._settings.holder_dir
        if self._asked.stop.done():
            raise Refused("it is ending already")
        if own is None and self._sessions.living_count:
            raise Refused("it has no holder (HOLDER=off), so its sessions would end")
        if request.get("holder") != (str(own) if own else None) and self._sessions.living_count:
            raise Refused("its sessions are in another holder (HOLDER)")
        return self._listeners

    def make_way(self, pid: int) -> None:
        """Begin to let go; see `control.Owner`."""
        if not self._asked.to_stop(Stop(f"replaced by process {pid}", ends_all=False, successor=pid)):
            raise Refused("it is ending already")


def _make_store(settings: Settings) -> tuple[Store, Persister | None]:
    """Return where logs are kept, and what copies them to Redis, if there is one; that has to be run."""
    from replay.file import FileStore

    directory = settings.state_dir / SESSIONS_DIR
    if settings.redis_url is None:
        return FileStore(directory), None
    from replay.redis_persister import Durability, Persister, ring_capacity
    from replay.redis_store import RedisStore

    durability = Durability(settings.redis_durability, settings.redis_replicas)
    persister = Persister(settings.redis_url, durability=durability, ttl_seconds=settings.redis_ttl_seconds)
    return RedisStore(FileStore(directory, capacity=ring_capacity), persister, settings.redis_url), persister


def _make_sessions(settings: Settings, backends: Mapping[str, Backend], store: Store) -> Sessions:
    from terminal_service.clock import Clock
    from terminal_service.counters import Counters
    from terminal_service.records import FileRecords
    from terminal_service.sessions import Sessions

    return Sessions(
        settings=settings,
        backends=backends,
        store=store,
        records=FileRecords(settings.state_dir / SESSIONS_DIR),
        clock=Clock(),
        counters=Counters(),
    )


def _read_bundle() -> Bundle:
    """Return the web client, or an empty one: the terminals are served without it too."""
    from transports.bundle import Bundle, BundleTooLarge

    try:
        return Bundle.read(BUNDLE)
    except (OSError, BundleTooLarge) as error:
        log.warning("web client left out", reason=str(error))
        return Bundle()


def _start_threads() -> None:
    """Start the threads that file operations are done in. Raises StartError."""
    threads = ThreadPoolExecutor(WORKER_THREADS, thread_name_prefix="files")
    started = threading.Barrier(WORKER_THREADS + 1)
    try:
        for _ in range(WORKER_THREADS):
            threads.submit(started.wait)
    except RuntimeError as error:
        started.abort()
        threads.shutdown()
        raise StartError(f"no threads: {error}") from error
    started.wait()
    asyncio.get_running_loop().set_default_executor(threads)


def _make_backends(settings: Settings, environment: Mapping[str, str]) -> dict[str, Backend]:
    """Return the backends by name, the default one first."""
    local: Backend
    if sys.platform == "win32":
        from backends.windows import WindowsBackend

        local = WindowsBackend(environment)
    else:
        from backends.forkers import HolderForker, OwnForker
        from backends.posix import Limits, PosixBackend

        before, limit = _raise_descriptor_limit()
        reserve = min(RESERVED_DESCRIPTORS, max(0, limit) // RESERVED_SHARE)  # without limit, none
        directory = settings.holder_dir
        forker = OwnForker() if directory is None else HolderForker(directory, starts=settings.holder == "on")
        local = PosixBackend(environment, forker, limits=Limits(inherited=before, reserve=reserve))
    from backends.echo import EchoBackend

    echo = EchoBackend()
    return {local.name: local, echo.name: echo}


async def _close_backends(settings: Settings, backends: Mapping[str, Backend], *, ends_all: bool) -> None:
    """Let go of where programs run; a holder of our own ends once there is nothing in it."""
    for backend in backends.values():
        if ends_all and settings.holder == "on":
            await backend.stop()
        await backend.close()


async def _check_backends(backends: Iterable[Backend]) -> None:
    """Raise StartError if it cannot be known what runs: taken for lost it would be ended by the next start."""
    for backend in backends:
        try:
            await backend.survivors()
        except BackendError as error:
            raise StartError(str(error)) from error


async def _check_shell(settings: Settings, backend: Backend) -> None:
    """Refuse a default shell that is not there now, and not when somebody asks for a session. Raises StartError."""
    wanted = settings.default_shell
    if wanted is None:
        return
    found = await backend.shells()
    if wanted not in found:
        raise StartError(f"DEFAULT_SHELL={wanted!r} is wrong; allowed: {', '.join(found) or 'none: there is no shell'}")


def _raise_descriptor_limit() -> tuple[int, int]:
    """Take all descriptors the system allows (a session needs three); return the limit that was, and the one now."""
    if sys.platform == "win32":
        raise AssertionError("there is no such limit")
    import resource

    before, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # macOS says "unlimited" and then refuses that
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return before, resource.getrlimit(resource.RLIMIT_NOFILE)[0]
