"""The service's side of a holder: starts one if need be, speaks with it, and says when it is gone.

Errors::

    HolderError         a BackendError: the holder cannot be reached, or cannot do what was asked
    ├── HolderGone      the holder ended while something was asked of it
    └── HolderMissing   there was no holder, and none can be started: nothing runs
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ptyprocess
import structlog

import backends
from backends.base import BackendError
from backends.holder import EXIT_HELD, SOCKET
from backends.holder.connection import Connection, peer_user, rights
from backends.holder.frames import BadFrame, encode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

START_SECONDS = 10.0
"""How long a holder may take to be ready, and a predecessor of this service to let go of it."""
_ADDRESS_BYTES = 103
"""What fits into the address of a Unix socket everywhere (107 on Linux)."""

_log = structlog.get_logger(__name__)


class HolderError(BackendError):
    """The holder refused, or there is none; the message is fit for whoever runs the service."""

    def __init__(self, reason: str, error: dict[str, Any] | None = None) -> None:
        """Keep the holder's own words, for those who know what they asked."""
        super().__init__(reason)
        self.error = error or {}


class HolderGone(HolderError):
    """The holder ended while it was asked."""


class HolderMissing(HolderError):
    """There is no holder, and none can be started (a full disk, no process left)."""


@dataclass(frozen=True)
class Reply:
    """What the holder answered."""

    fields: dict[str, Any]
    payload: bytes
    descriptors: Sequence[int]
    """The receiver's to close."""


class HolderLink:
    """A connection to a holder, as its owner. Belongs to the event loop's thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop, channel: socket.socket) -> None:
        """Use a connected socket; see `connect`."""
        self.lost: asyncio.Future[None] = loop.create_future()
        """Done when the holder is gone."""
        self.owns = asyncio.Event()
        """Set while this connection is the holder's owner."""
        self._loop = loop
        self._channel = channel
        self._connection = Connection(channel)
        self._requests: dict[int, asyncio.Future[Reply]] = {}
        self._on_exit: dict[int, Callable[[dict[str, int]], None]] = {}
        self._exits: dict[int, dict[str, int]] = {}
        """Of programs that nobody watches yet: an end may be told in one breath with the start."""
        self._unsent: deque[tuple[memoryview, list[Any]]] = deque()
        self._last_id = 0
        loop.add_reader(channel.fileno(), self._receive)

    @classmethod
    async def connect(cls, directory: Path, *, start: bool = True) -> HolderLink:
        """Reach the holder of a directory, starting one if there is none, and become its owner. Raises HolderError."""
        loop = asyncio.get_running_loop()
        reaching = loop.run_in_executor(None, _reach, directory, start)
        try:
            channel = await asyncio.shield(reaching)
        except asyncio.CancelledError:
            reaching.add_done_callback(_close_channel)
            raise
        except OSError as error:
            raise HolderError(f"no holder in {str(directory)!r}: {error}") from error
        link = cls(loop, channel)
        try:
            async with asyncio.timeout(START_SECONDS):
                await link.owns.wait()
        except TimeoutError:
            link.close()
            raise HolderError(f"the holder in {str(directory)!r} belongs to another service") from None
        return link

    async def call(
        self, operation: str, *, payload: bytes = b"", descriptors: Sequence[int] = (), **fields: Any
    ) -> Reply:
        """Ask and wait. Raises HolderError (refused), HolderGone. Cancelled: what was given is given back."""
        asking = self.send(operation, payload=payload, descriptors=descriptors, **fields)
        try:
            return await asyncio.shield(asking)
        except asyncio.CancelledError:
            asking.add_done_callback(_close_descriptors)
            raise

    def send(
        self, operation: str, *, payload: bytes = b"", descriptors: Sequence[int] = (), **fields: Any
    ) -> asyncio.Future[Reply]:
        """Ask without waiting."""
        asking: asyncio.Future[Reply] = self._loop.create_future()
        asking.add_done_callback(_look_at)
        if self.lost.done():
            asking.set_exception(HolderGone("the holder has ended"))
            return asking
        self._last_id += 1
        self._requests[self._last_id] = asking
        header = {**fields, "op": operation, "id": self._last_id}
        if descriptors:
            header["descriptors"] = len(descriptors)
        try:
            self._write(encode(header, payload), descriptors)
        except BadFrame as error:
            del self._requests[self._last_id]
            asking.set_exception(HolderError(str(error)))
        except OSError:
            self._lose()
        return asking

    def watch(self, key: int, on_exit: Callable[[dict[str, int]], None]) -> None:
        """Call back when the program `key` has ended; at once if that has been told already."""
        self._on_exit[key] = on_exit
        if key in self._exits:
            on_exit(self._exits.pop(key))

    def forget(self, key: int) -> None:
        """Call back no more."""
        self._on_exit.pop(key, None)
        self._exits.pop(key, None)

    def close(self) -> None:
        """Let go: the holder goes on, and waits for its next owner. Harmless twice."""
        self._lose()

    # -- the socket

    def _write(self, frame: bytes, descriptors: Sequence[int]) -> None:
        self._unsent.append((memoryview(frame), rights(descriptors)))
        if len(self._unsent) == 1:
            self._flush()

    def _flush(self) -> None:
        """Send what waits, as far as the socket takes it. Raises OSError."""
        while self._unsent:
            frame, ancillary = self._unsent[0]
            try:
                sent = self._channel.sendmsg([frame], ancillary)
            except BlockingIOError:
                self._loop.add_writer(self._channel.fileno(), self._has_room)
                return
            if sent < len(frame):
                self._unsent[0] = (frame[sent:], [])
            else:
                self._unsent.popleft()

    def _has_room(self) -> None:
        self._loop.remove_writer(self._channel.fileno())
        try:
            self._flush()
        except OSError:
            self._lose()

    def _receive(self) -> None:
        try:
            for header, payload in self._connection.receive():
                self._take(header, payload)
        except BlockingIOError:
            return
        except (OSError, EOFError):
            self._lose()
        except BadFrame as error:
            _log.error("the holder does not speak this protocol", reason=str(error))
            self._lose()

    def _take(self, header: dict[str, Any], payload: bytes) -> None:
        descriptors = self._connection.take_descriptors(int(header.get("descriptors", 0)))
        if "event" in header:
            self._hear(header)
            return
        asking = self._requests.pop(header["id"])
        if "error" in header:
            error = header["error"]
            asking.set_exception(HolderError(f"the holder refused: {error.get('reason') or error['kind']}", error))
        else:
            asking.set_result(Reply(header, payload, descriptors))

    def _hear(self, header: dict[str, Any]) -> None:
        if header["event"] == "owner":
            self.owns.set()
        elif header["event"] == "exited":
            key, status = header["key"], header["exit"]
            if key in self._on_exit:
                self._on_exit[key](status)
            else:
                self._exits[key] = status

    def _lose(self) -> None:
        if self.lost.done():
            return
        self._loop.remove_reader(self._channel.fileno())
        self._loop.remove_writer(self._channel.fileno())
        self._connection.close()
        self._unsent.clear()
        self.lost.set_result(None)
        for asking in self._requests.values():
            asking.set_exception(HolderGone("the holder has ended"))
        self._requests.clear()


def _look_at(asking: asyncio.Future[Reply]) -> None:
    """Let nobody be warned of an answer that nobody waited for."""
    if not asking.cancelled():
        asking.exception()


def _close_channel(reaching: asyncio.Future[socket.socket]) -> None:
    if reaching.exception() is None:
        reaching.result().close()


def _close_descriptors(asking: asyncio.Future[Reply]) -> None:
    if not asking.cancelled() and asking.exception() is None:
        for descriptor in asking.result().descriptors:
            os.close(descriptor)


# -- reaching a holder, in a thread


def _reach(directory: Path, start: bool) -> socket.socket:  # noqa: FBT001 - handed to a thread
    """Return a socket connected to the directory's holder. Raises OSError, SubprocessError, HolderError."""
    try:
        return _connect(directory)
    except (FileNotFoundError, ConnectionRefusedError):
        if not start:
            raise
    try:
        _start(directory)
        return _connect(directory)
    except (OSError, subprocess.SubprocessError) as error:
        raise HolderMissing(f"no holder can be started: {error}") from error


def _connect(directory: Path) -> socket.socket:
    channel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        channel.settimeout(START_SECONDS)
        with _short(directory / SOCKET) as address:
            channel.connect(address)
        _check_user(peer_user(channel), directory)
        channel.setblocking(False)  # noqa: FBT003 - positional only
    except BaseException:
        channel.close()
        raise
    return channel


def _check_user(user: int, directory: Path) -> None:
    if user not in (os.geteuid(), 0):
        raise HolderError(f"the holder in {str(directory)!r} belongs to user {user}")


@contextlib.contextmanager
def _short(path: Path) -> Iterator[str]:
    """Give a name of a socket that fits into an address; a long one goes by its directory's descriptor (Linux)."""
    if len(os.fsencode(path)) <= _ADDRESS_BYTES or sys.platform != "linux":
        yield str(path)
        return
    directory = os.open(path.parent, os.O_PATH | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)


def _start(directory: Path) -> None:
    """Start a holder in the background; returns when it listens. Raises HolderMissing, OSError, SubprocessError.

    It sees no site-packages but where ptyprocess is, and nothing of this process's environment.
    """
    places = {str(Path(module.__path__[0]).parent) for module in (backends, ptyprocess)}
    done = subprocess.run(  # noqa: S603 - this interpreter and our own module
        [sys.executable, "-S", "-s", "-m", "backends.holder", str(directory)],
        env={"PYTHONPATH": os.pathsep.join(sorted(places)), "PYTHONUTF8": "1", "PYTHONDONTWRITEBYTECODE": "1"},
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        timeout=START_SECONDS,
        start_new_session=True,
        check=False,
    )
    if done.returncode not in (0, EXIT_HELD):
        raise HolderMissing(f"no holder can be started: {done.stderr.decode(errors='replace').strip()[-500:]}")
