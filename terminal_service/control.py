"""How other processes of this user speak to the running service: to end it, or to take its place.

It listens on `control.sock` in the state directory. Both sides check that the other is the same user. One line of
JSON each way:

======== ===================== ===================================================================================
op       fields                answer: {ok: true, pid, ...} or {ok: false, reason}
======== ===================== ===================================================================================
stop     end_all               sessions: how many live now; ends_all: whether they end. Then nothing until
                               {done: true}, when it has let go of everything, and the end of the connection, when
                               the process ends.
drain    seconds                sessions, deadline, ends_all, as the setting says: it refuses new sessions, and stops
                               when it has none any more or at the deadline (seconds since 1970). Then as `stop`.
replace  pid, holder, workers  places, and in the same message the listening sockets in that order. The successor
                               says {ready: true} when it can take over at once; until then nothing has changed.
                               Then this process lets go, and the successor finds the lock free.
======== ===================== ===================================================================================

A connection that ends without {done} means that the service was killed.
"""

from __future__ import annotations

import asyncio
import json
import os
from typing import TYPE_CHECKING, Any, Protocol

import structlog

from terminal_service.kin import is_same_user, send_with
from terminal_service.listeners import Listener, listen_unix

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence
    from pathlib import Path

CONTROL_FILE = "control.sock"
LINE_BYTES = 64 * 1024
ASK_SECONDS = 10.0
"""How long a connection may take to say what it wants."""
READY_SECONDS = 60.0
"""How long a successor may take to be ready."""
LONGEST_SECONDS = 30 * 86400.0
"""How long sessions may be waited for."""
_PAUSE_SECONDS = 1.0

log = structlog.get_logger()


class Refused(Exception):
    """What was asked cannot be done; the message is one line for whoever asked."""


class Owner(Protocol):
    """The service, as this socket knows it."""

    async def stop(self, *, end_all: bool) -> dict[str, Any]:
        """Begin to end; return what becomes of the sessions. Raises Refused: it ends already."""
        ...

    async def drain(self, seconds: float | None) -> dict[str, Any]:
        """Begin to drain, for so long or as long as the setting says; return until when. Raises Refused: it ends."""
        ...

    def offer(self, request: dict[str, Any]) -> Sequence[Listener]:
        """Return what a successor goes on with. Raises Refused."""
        ...

    def make_way(self, pid: int) -> None:
        """Begin to let go, for the process that is ready to take over. Raises Refused: it ends already."""
        ...

    def go_on(self) -> None:
        """Learn that the process which has been offered something is gone, or was never ready."""
        ...


class Control:
    """Listens until it is cancelled; then `leave` and `finish`."""

    def __init__(self, directory: Path, owner: Owner) -> None:
        """Listen. Raises ListenError."""
        self._owner = owner
        self._listener = listen_unix(directory / CONTROL_FILE, setting="STATE_DIR")
        self._listener.socket.setblocking(False)  # noqa: FBT003 - positional only
        self._waiting: list[socket.socket] = []
        self._is_offered = False

    async def run(self) -> None:
        """Serve."""
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as talks:
            while True:
                try:
                    channel, _ = await loop.sock_accept(self._listener.socket)
                except OSError as error:  # no descriptor left, say
                    log.warning("control socket cannot accept", reason=str(error))
                    await asyncio.sleep(_PAUSE_SECONDS)
                    continue
                talks.create_task(self._serve(channel), name="control connection")

    def leave(self) -> None:
        """Take the socket's name away: from now on it is the next service's."""
        self._listener.close()

    def finish(self) -> None:
        """Tell who waits for the end that all has been let go."""
        for channel in self._waiting:
            try:
                channel.send(encode({"done": True}))
            except OSError as error:  # whoever asked did not wait
                log.debug("nobody waits for the end", reason=str(error))
            channel.detach()  # it ends with the process, which is what it tells
        self._waiting.clear()

    async def _serve(self, channel: socket.socket) -> None:
        keeps = False
        try:
            channel.setblocking(False)  # noqa: FBT003 - positional only
            if is_same_user(channel):
                keeps = await self._answer(channel)
        except (OSError, EOFError, ValueError, TimeoutError) as error:
            log.info("control connection ended", reason=str(error) or type(error).__name__)
        finally:
            if not keeps:
                channel.close()

    async def _answer(self, channel: socket.socket) -> bool:
        """Do what is asked; tell whether the connection is kept to the end of the process."""
        request = await _hear(channel, ASK_SECONDS)
        try:
            match request.get("op"):
                case "stop":
                    told = await self._owner.stop(end_all=bool(request.get("end_all")))
                    self._waiting.append(channel)
                    channel.send(encode({"ok": True, "pid": os.getpid(), **told}))
                    return True
                case "drain":
                    told = await self._owner.drain(_seconds(request.get("seconds")))
                    self._waiting.append(channel)
                    channel.send(encode({"ok": True, "pid": os.getpid(), **told}))
                    return True
                case "replace":
                    return await self._replace(channel, request)
                case other:
                    _refuse(channel, f"it does not know how to {other!r}")
        except Refused as refused:
            _refuse(channel, str(refused))
        return False

    async def _replace(self, channel: socket.socket, request: dict[str, Any]) -> bool:
        """Offer the listening sockets; make way once the successor is ready, and only then."""
        if self._is_offered:
            raise Refused("another process is about to replace it")
        listeners = self._owner.offer(request)
        self._is_offered = True
        try:
            answer = {"ok": True, "pid": os.getpid(), "places": [listener.place for listener in listeners]}
            send_with(channel, encode(answer), [listener.socket for listener in listeners])
            await _hear(channel, READY_SECONDS * int(request.get("workers", 1)))
            self._owner.make_way(int(request["pid"]))
        except BaseException:
            self._owner.go_on()
            raise
        finally:
            self._is_offered = False
        self._waiting.append(channel)
        return True


def _seconds(value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= LONGEST_SECONDS:
        raise Refused(f"seconds are 0 to {LONGEST_SECONDS:.0f}")
    return float(value)


def _refuse(channel: socket.socket, reason: str) -> None:
    channel.send(encode({"ok": False, "reason": reason, "pid": os.getpid()}))


async def _hear(channel: socket.socket, seconds: float) -> dict[str, Any]:
    """Return the next line. Raises EOFError, OSError, TimeoutError, ValueError."""
    loop = asyncio.get_running_loop()
    line = b""
    async with asyncio.timeout(seconds):
        while not line.endswith(b"\n"):
            some = await loop.sock_recv(channel, LINE_BYTES)
            if not some:
                raise EOFError("closed by the other side")
            line += some
            if len(line) > LINE_BYTES:
                raise ValueError("a line is too long")
    return decode(line)


def encode(message: dict[str, Any]) -> bytes:
    """Return a message as a line."""
    return json.dumps(message).encode() + b"\n"


def decode(line: bytes) -> dict[str, Any]:
    """Return a message. Raises ValueError."""
    message = json.loads(line)
    if not isinstance(message, dict):
        raise ValueError("a message is an object")  # noqa: TRY004 - what was sent, not a type of ours
    return message
