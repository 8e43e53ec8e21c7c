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
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from nodes.base import NodeState
from terminal_service import logs, state
from terminal_service.asked import Asked, Stop
from terminal_service.backends_app import StartError, check_backends, check_shell, close_backends, make_backends
from terminal_service.control import Control, Refused
from terminal_service.heard import heard_signals
from terminal_service.listeners import ListenError, listen
from terminal_service.predecessor import Predecessor
from terminal_service.threads import start_threads

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from terminal_service.listeners import Listener
    from terminal_service.node import Node
    from terminal_service.places import Places
    from terminal_service.redis_app import RedisParts
    from terminal_service.sessions import Sessions
    from terminal_service.settings import Settings
    from terminal_service.state import Lock
    from terminal_service.worker import Worker
    from transports.bundle import Bundle
    from transports.server import Server

CLOSING_SECONDS = 5
"""How long clients may take to close their side once everything else has ended."""
LEAVING_SECONDS = 1
"""The same where the sessions go on: whoever starts the next process waits for the end of this one."""
ANSWER_SECONDS = 0.5
"""How long requests may take that came before the sessions are let go."""

BUNDLE = Path(__file__).parent / "static"
"""Where the web client is, if it has been built."""


SESSIONS_DIR = "sessions"
"""Of the state directory: the logs and records of sessions."""

log = structlog.get_logger()


async def main(
    settings: Settings,
    environment: Mapping[str, str],
    *,
    announce: Callable[[str], None],
    replaces: bool = False,
    worker: Worker | None = None,
) -> None:
    """Run the service until it is told to stop; `announce` is called with its URL once it serves.

    `replaces`: take the place of the one that runs, if one does. `worker`: be one of several. Raises StateError,
    StartError, ListenError, Refused (that one goes on) or OSError where it cannot start.
    """
    logs.configure(settings.log_level, settings.log_format)
    if settings.ignored and worker is None:
        log.warning("settings without effect", names=list(settings.ignored))
    with contextlib.ExitStack() as stack:
        lock = stack.enter_context(state.open_lock(settings.state_dir))
        asked = stack.enter_context(heard_signals(stops_sessions=settings.stop_sessions_on_exit))
        if worker is not None:
            stack.enter_context(worker.heard(asked))
        predecessor = None
        if replaces:
            predecessor = await Predecessor.find(settings.state_dir, holder=settings.holder_dir)
        if predecessor is None:
            lock.take()
        else:
            stack.callback(predecessor.close)
        inherit = predecessor.socket_at if predecessor is not None else lambda _: None
        listeners = stack.enter_context(listen(settings, environment, worker.inherit(inherit) if worker else inherit))
        if worker is not None:
            listeners[0].give_away()  # its name is the parent's
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
        start_threads()
        node_id = state.read_node_id(settings.state_dir)
        places = make_backends(settings, environment, node_id)
        await check_backends(places)
        parts = _make_redis_parts(settings, node_id)
        sessions = _make_sessions(settings, places, parts, node_id)
        async with asyncio.TaskGroup() as tasks:
            copying = tasks.create_task(parts.persister.run(), name="redis") if parts else None
            work = tasks.create_task(sessions.run(), name="sessions")
            await sessions.ready.wait()
            count = sessions.living_count
            sessions.stop(end_all=True)
            await asyncio.wait([work])
            if parts is not None and copying is not None:
                parts.persister.stop()
                await parts.directory.close()
        await close_backends(settings, places, ends_all=True)
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
        from nodes.memory_tickets import MemoryTickets
        from terminal_service.metrics import Metrics
        from terminal_service.tickets import Tickets
        from transports.alone import alone
        from transports.application import make_application, make_metrics_application
        from transports.server import Server

        start_threads()
        self._settings = settings
        self._lock = lock
        self._listeners = listeners
        self._asked = asked
        node_id = state.read_node_id(settings.state_dir)
        self._places = make_backends(settings, environment, node_id)
        self._parts = parts = _make_redis_parts(settings, node_id)
        self._sessions = sessions = _make_sessions(settings, self._places, parts, node_id)
        self._node = node = self._join(parts)
        if node is not None:
            sessions.draining.on_begin = lambda: node.announce(NodeState.DRAINING)
        self._control: Control | None = None
        metrics = Metrics(
            sessions, copied=parts.persister.figures if parts else None, node=self._node, places=self._places
        )
        applications = [
            make_application(
                settings,
                self._sessions,
                metrics,
                bundle=_read_bundle(),
                tickets=Tickets(parts.tickets if parts else MemoryTickets(sessions.clock.monotonic)),
                fleet=self._node.fleet if self._node else alone(sessions, node_id=node_id, backends=self._places.names),
                find=self._node.find if self._node else None,
                assignments=parts.assignments if parts else None,
            ),
            make_metrics_application(settings, metrics),
        ]
        self._servers: dict[Server, Listener] = {
            Server(application, max_message_bytes=settings.websocket_max_message_size): listener
            for application, listener in zip(applications, listeners, strict=False)
        }

    def _join(self, parts: RedisParts | None) -> Node | None:
        """Return this node as one of several; None: it is alone."""
        if parts is None:
            return None
        from terminal_service.node import Node

        url = self._listeners[0].url
        around = parts.surroundings(url, self._places.names, on_fenced=self._sessions.lose)
        return Node(around, self._sessions, spreads=self._settings.node_placement == "least")

    async def check(self) -> None:
        """See whether it could serve, as far as nobody is disturbed. Raises StartError."""
        await check_shell(self._settings, self._places.first.backend)

    async def run(self, announce: Callable[[str], None]) -> None:
        """Serve until told to stop; the lock has been taken. Raises StartError."""
        await check_backends(self._places)
        self._control = self._listen_for_control()
        try:
            async with asyncio.TaskGroup() as tasks:
                if self._parts is not None:
                    tasks.create_task(self._parts.persister.run(), name="redis")
                if self._node is not None:
                    tasks.create_task(self._node.run(), name="node")
                work = tasks.create_task(self._sessions.run(), name="sessions")
                await self._sessions.ready.wait()
                for server, listener in self._servers.items():
                    tasks.create_task(server.serve([listener.socket]), name="server")
                    await server.ready.wait()
                controlling = tasks.create_task(self._control.run(), name="control") if self._control else None
                gc.enable()
                gc.freeze()  # or each full collection would look at all of this again: every terminal waits 60 ms then
                await self._say_where(announce)
                draining = tasks.create_task(self._stop_when_drained(), name="drain")
                self._asked.on_drain = self._drain
                stop = await self._asked.stop
                draining.cancel()
                await self._begin_to_stop(stop)
                await asyncio.wait([work])
                await self._leave_others()
                if controlling is not None:
                    controlling.cancel()
                await self._let_go(stop)
        finally:
            if self._control is not None:
                self._control.leave()
        if self._control is not None:
            self._control.finish()

    def _drain(self, seconds: float) -> int:
        """Begin to drain, as the parent of several says; return how many sessions live."""
        self._sessions.drain(seconds)
        return self._sessions.living_count

    async def _stop_when_drained(self) -> None:
        await self._sessions.draining.over(lambda: self._sessions.living_count)
        self._asked.on_drained(Stop("drained", ends_all=self._settings.stop_sessions_on_exit))

    async def _begin_to_stop(self, stop: Stop) -> None:
        log.info("stopping", cause=stop.cause, sessions="end" if stop.ends_all else "go on")
        self._asked.on_begin(self._sessions.living_count)
        self._asked.on_hurry = self._hurry
        if not stop.ends_all:
            await asyncio.gather(*(server.drain(ANSWER_SECONDS) for server in self._servers))
        if self._node is not None:
            self._node.send_away()
        self._sessions.stop(end_all=stop.ends_all)

    async def _leave_others(self) -> None:
        """Say no more to Redis, and have the other nodes wait for the next process if programs go on."""
        if self._node is not None:
            goes_on = self._sessions.living_count > 0
            await self._node.leave(self._settings.node_away_seconds if goes_on else 0)
        if self._parts is not None:
            self._parts.persister.stop()

    async def _let_go(self, stop: Stop) -> None:
        """Give free what the next process needs; then let clients close their side."""
        await close_backends(self._settings, self._places, ends_all=stop.ends_all)
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

    async def stop(self, *, end_all: bool) -> dict[str, Any]:
        """Begin to end; see `control.Owner`."""
        ends_all = end_all or self._settings.stop_sessions_on_exit
        if not self._asked.to_stop(Stop("stop --all" if end_all else "stop", ends_all=ends_all)):
            raise Refused("it is ending already")
        return {"sessions": self._sessions.living_count, "ends_all": ends_all}

    async def drain(self, seconds: float | None) -> dict[str, Any]:
        """Begin to drain; see `control.Owner`."""
        if self._asked.stop.done():
            raise Refused("it is ending already")
        deadline = self._sessions.drain(self._settings.drain_seconds if seconds is None else seconds)
        ends_all = self._settings.stop_sessions_on_exit
        return {"sessions": self._sessions.living_count, "deadline": deadline, "ends_all": ends_all}

    def offer(self, request: dict[str, Any]) -> Sequence[Listener]:
        """Return what a successor goes on with; see `control.Owner`."""
        own = self._settings.holder_dir
        if self._asked.stop.done():
            raise Refused("it is ending already")
        if self._sessions.draining.is_on:
            raise Refused("it is draining")
        if own is None and self._sessions.living_count:
            raise Refused("it has no holder (HOLDER=off), so its sessions would end")
        if request.get("workers", 1) != 1:
            raise Refused("it is one process, which several (WORKERS) cannot replace: stop it first")
        if request.get("holder") != (str(own) if own else None) and self._sessions.living_count:
            raise Refused("its sessions are in another holder (HOLDER)")
        return self._listeners

    def make_way(self, pid: int) -> None:
        """Begin to let go; see `control.Owner`."""
        if not self._asked.to_stop(Stop(f"replaced by process {pid}", ends_all=False, successor=pid)):
            raise Refused("it is ending already")

    def go_on(self) -> None:
        """Nothing has changed; see `control.Owner`."""


def _make_redis_parts(settings: Settings, node_id: str) -> RedisParts | None:
    """Return what speaks to Redis, if there is one."""
    if settings.redis_url is None:
        return None
    from terminal_service.redis_app import RedisParts

    return RedisParts(settings, settings.redis_url, node_id, settings.state_dir / SESSIONS_DIR)


def _make_sessions(settings: Settings, places: Places, parts: RedisParts | None, node_id: str) -> Sessions:
    from nodes.memory_directory import MemoryDirectory
    from replay.file import FileStore
    from terminal_service.clock import Clock
    from terminal_service.counters import Counters
    from terminal_service.publisher import Publisher
    from terminal_service.records import FileRecords
    from terminal_service.sessions import Sessions
    from transports.views import describe

    directory, clock = settings.state_dir / SESSIONS_DIR, Clock()
    publisher = Publisher(
        parts.directory if parts else MemoryDirectory(),
        node_id,
        describe=lambda session: describe(session, node_id),
        user_limit=settings.max_concurrent_sessions_per_user,
        clock=clock,
    )
    return Sessions(
        settings=settings,
        places=places,
        store=parts.store if parts else FileStore(directory),
        records=FileRecords(directory),
        publisher=publisher,
        clock=clock,
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
