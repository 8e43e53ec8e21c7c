"""The composition root: the only module that names concrete classes, and the owner of the process's life.

Order of a stop: refuse new sessions, tell viewers (1012 with a retry hint), end the shells politely then firmly,
settle their logs and records, close the server.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog
import uvicorn

from backends.base import BackendError
from replay.file import FileStore
from terminal_service import logs, state
from terminal_service.clock import Clock
from terminal_service.counters import Counters
from terminal_service.listeners import listen_tcp, listen_unix
from terminal_service.metrics import Metrics
from terminal_service.records import FileRecords
from terminal_service.sessions import Sessions
from transports.application import make_application, make_metrics_application
from transports.connections import with_peer
from transports.http_bounds import IDLE_SECONDS, BoundedHttp, IdleConnections
from transports.picows_protocol import PicowsProtocol

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping

    from backends.base import Backend
    from terminal_service.settings import Settings

SHUTDOWN_SECONDS = 5
"""How long the server waits for open requests once everything else has ended."""

WORKER_THREADS = 4
"""Threads for file operations; all are started with the service, so that none can be missing later."""
RESERVED_DESCRIPTORS, RESERVED_SHARE = 64, 8
"""Sessions leave so many descriptors free, or that part of a small limit: viewers and requests need some too."""

log = structlog.get_logger()


class StartError(Exception):
    """The system does not give what the service needs; the message is one line for whoever starts it."""


class Server(uvicorn.Server):
    """A uvicorn server that leaves signals to this module.

    uvicorn closes every WebSocket as soon as it catches a signal, before anyone could be told, and raises the
    signal again after `serve`, so that nothing after it would run.
    """

    def __init__(self, config: uvicorn.Config) -> None:
        """Begin; `ready` is set once connections are accepted."""
        super().__init__(config)
        self.ready = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to accept connections."""
        await super().startup(sockets)
        self.ready.set()

    def leave(self) -> None:
        """Stop serving soon; `serve` returns."""
        self.should_exit = True

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


async def main(settings: Settings, environment: Mapping[str, str], *, announce: Callable[[str], None]) -> None:
    """Run the service until SIGINT or SIGTERM; `announce` is called with its URL once it serves.

    Raises StateError, StartError, ListenError or OSError where it cannot start.
    """
    logs.configure(settings.log_level, settings.log_format)
    if settings.ignored:
        log.warning("settings without effect", names=list(settings.ignored))
    with state.hold(settings.state_dir):
        _start_threads()
        backends = _make_backends(settings, environment)
        await _check_shell(settings, next(iter(backends.values())))
        await _check_backends(backends.values())
        directory = settings.state_dir / "sessions"
        sessions = Sessions(
            settings=settings,
            backends=backends,
            store=FileStore(directory),
            records=FileRecords(directory),
            clock=Clock(),
            counters=Counters(),
        )
        with _listen(settings) as (listener, url):
            ends_all = await _serve(settings, sessions, listener, lambda: _say_where(settings, url, announce))
        for backend in backends.values():
            if ends_all and settings.holder == "on":
                await backend.stop()
            await backend.close()


async def _serve(
    settings: Settings, sessions: Sessions, listener: socket.socket, announce: Callable[[], Awaitable[None]]
) -> bool:
    """Serve until a signal; return whether that ended all sessions."""
    metrics = Metrics(sessions)
    servers = {_make_server(make_application(settings, sessions, metrics), settings): listener}
    if settings.prometheus_port is not None:
        metrics_listener, _ = listen_tcp("127.0.0.1", settings.prometheus_port, setting="PROMETHEUS_PORT")
        servers[_make_server(make_metrics_application(settings, metrics), settings)] = metrics_listener
    async with _signals() as stop, asyncio.TaskGroup() as tasks:
        work = tasks.create_task(sessions.run(), name="sessions")
        work.add_done_callback(lambda _: _leave(servers))
        await sessions.ready.wait()
        for server, socket_ in servers.items():
            tasks.create_task(server.serve([socket_]), name="server")
            await server.ready.wait()
        gc.freeze()  # or each full collection would look at all of this again: every terminal waits 60 ms then
        await announce()
        number = await stop
        ends_all = number == signal.SIGINT or settings.stop_sessions_on_exit
        log.info("stopping", signal=number.name, sessions="end" if ends_all else "go on")
        sessions.stop(end_all=ends_all)
    return ends_all


async def _say_where(settings: Settings, url: str, announce: Callable[[str], None]) -> None:
    try:
        await asyncio.to_thread(state.announce, settings.state_dir, url)
    except OSError as error:  # a full disk is no reason not to serve
        log.warning("address not written", file=state.SERVICE_FILE, reason=str(error))
    announce(url)


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


def _leave(servers: Iterable[Server]) -> None:
    for server in servers:
        server.leave()


async def _check_backends(backends: Iterable[Backend]) -> None:
    """Raise StartError if it cannot be known what runs: taken for lost it would be ended by the next start."""
    for backend in backends:
        try:
            await backend.survivors()
        except BackendError as error:
            raise StartError(str(error)) from error


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


def _make_server(app: Any, settings: Settings) -> Server:
    protocol: Any = with_peer(BoundedHttp)
    make_http: Any = partial(protocol, idle=IdleConnections())
    return Server(
        uvicorn.Config(
            app,
            http=make_http,
            timeout_keep_alive=IDLE_SECONDS,
            ws=PicowsProtocol,
            ws_max_size=settings.websocket_max_message_size,
            lifespan="off",
            access_log=False,  # it would print query strings
            log_config=None,
            server_header=False,
            proxy_headers=False,  # the guard believes listed proxies only
            timeout_graceful_shutdown=SHUTDOWN_SECONDS,
        )
    )


@contextlib.contextmanager
def _listen(settings: Settings) -> Iterator[tuple[socket.socket, str]]:
    """Give the socket the service is used through and its URL. Raises ListenError."""
    if settings.unix_socket is not None:
        with listen_unix(settings.unix_socket) as listening:
            yield listening
    else:
        yield listen_tcp(settings.host, settings.port)


@contextlib.asynccontextmanager
async def _signals() -> AsyncIterator[asyncio.Future[signal.Signals]]:
    """Give the first signal that comes: SIGINT or SIGTERM."""
    loop = asyncio.get_running_loop()
    came: asyncio.Future[signal.Signals] = loop.create_future()

    def note(number: signal.Signals) -> None:
        if not came.done():
            came.set_result(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        if sys.platform == "win32":
            signal.signal(number, lambda number, _: loop.call_soon_threadsafe(note, signal.Signals(number)))
        else:
            loop.add_signal_handler(number, note, number)
    try:
        yield came
    finally:
        if sys.platform != "win32":
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)
