"""One worker as its parent sees it: a process, and the channel to it (`worker` has the messages)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from terminal_service.control import decode, encode
from terminal_service.listeners import place_tcp, place_unix
from terminal_service.worker import VARIABLE
from terminal_service.worker_places import worker_dir

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter
    from collections.abc import Mapping, Sequence

    from terminal_service.asked import Stop
    from terminal_service.listeners import Listener
    from terminal_service.settings import Settings


@dataclass(frozen=True)
class Plan:
    """What all workers of a parent have in common."""

    program: Sequence[str]
    """The command that runs this program, with the options every worker has."""
    environment: Mapping[str, str]
    settings: Settings
    listeners: Sequence[Listener]
    crew: int
    """A descriptor they keep open as long as they live."""

    @property
    def place(self) -> str:
        """Where they are told to listen; see `Listener`."""
        settings = self.settings
        if settings.unix_socket is not None:
            return place_unix(settings.unix_socket)
        return place_tcp(settings.host, self._port)

    @property
    def _port(self) -> int:
        return int(self.listeners[0].socket.getsockname()[1])

    def listener_of(self, number: int) -> Listener:
        """Return the socket that a worker accepts from."""
        return self.listeners[(number - 1) % len(self.listeners)]

    def environment_of(self, number: int) -> dict[str, str]:
        """Return the variables of a worker: its own settings, which win over those of a file."""
        settings = self.settings
        metrics = settings.prometheus_port
        return {
            **self.environment,
            "WORKERS": "1",
            "STATE_DIR": str(worker_dir(settings.state_dir, number)),
            "HOST": settings.host,
            "PORT": "" if settings.unix_socket else str(self._port),
            "UNIX_SOCKET": str(settings.unix_socket or ""),
            "HOLDER": settings.holder,
            "PROMETHEUS_PORT": "" if metrics is None else str(metrics and metrics + number - 1),
        }


class WorkerProcess:
    """A process from its start to its end; single-use."""

    def __init__(self, process: asyncio.subprocess.Process, reader: StreamReader, writer: StreamWriter) -> None:
        """See `start`."""
        self.ready = asyncio.Event()
        self.sessions: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        """How many lived when it began to end, or to drain; cancelled if it never says so."""
        self.is_drained = False
        """Whether it has drained, and waits to be told to end."""
        self._process = process
        self._reader, self._writer = reader, writer

    @classmethod
    async def start(cls, plan: Plan, number: int, *, replaces: bool) -> WorkerProcess:
        """Start one; `replaces`: in the place of another parent's. Raises OSError."""
        if sys.platform == "win32":
            raise AssertionError("there are no workers on Windows")
        listener = plan.listener_of(number).socket.fileno()
        ours, theirs = socket.socketpair()
        with theirs, contextlib.ExitStack() as on_error:
            on_error.enter_context(ours)
            told = {
                "parent": os.getpid(),
                "number": number,
                "place": plan.place,
                "listener": listener,
                "channel": theirs.fileno(),
                "crew": plan.crew,
            }
            process = await asyncio.create_subprocess_exec(
                *plan.program,
                *(["--replace"] if replaces else []),
                env={**plan.environment_of(number), VARIABLE: json.dumps(told)},
                pass_fds=(listener, theirs.fileno(), plan.crew),
                stdin=asyncio.subprocess.DEVNULL,
            )
            on_error.pop_all()
        return cls(process, *await asyncio.open_unix_connection(sock=ours))

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    async def run(self) -> int:
        """Hear what it says until it ends; return its exit code, or minus the signal that has killed it.

        Cancelled, it kills the process: its shells go on.
        """
        try:
            with contextlib.suppress(ConnectionError):  # it may end while it is being told something
                while line := await self._reader.readline():
                    self._note(decode(line))
            return await self._process.wait()
        finally:
            self.kill()
            self.sessions.cancel()
            self._writer.close()

    def stop(self, stop: Stop) -> None:
        """Ask it to end."""
        self._tell(stop=stop.cause, ends_all=stop.ends_all)

    def drain(self, seconds: float) -> None:
        """Have it take no new sessions, and end when it has none any more, or after so long."""
        self._tell(drain=seconds)

    def hurry(self) -> None:
        """Have it end at once."""
        if self.ready.is_set():
            self._tell(hurry=True)
        else:
            self.kill()  # it may not even have begun to listen

    def kill(self) -> None:
        """Have it end without a word; its shells go on."""
        if self._process.returncode is None:
            self._process.kill()

    def _tell(self, **message: Any) -> None:
        self._writer.write(encode(message))

    def _note(self, message: dict[str, Any]) -> None:
        if "ready" in message:
            self.ready.set()
        elif "drained" in message:
            self.is_drained = True
        elif not self.sessions.done():
            self.sessions.set_result(int(message.get("stopping", message.get("draining", 0))))
