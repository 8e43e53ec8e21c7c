"""The service's side of a holder: starts one if need be, speaks with it, and says when it is gone.

Errors::

    HolderError         a BackendError: the holder cannot be reached, or cannot do what was asked
    ├── HolderGone      the holder ended while something was asked of it
    └── HolderMissing   there was no holder, and none can be started: nothing runs
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import structlog

from backends.errors import BackendError
from backends.holder.connection import Connection, rights
from backends.holder.frames import BadFrame, encode
from backends.holder.reach import START_SECONDS, NoHolder, NotOurs, connect, reach

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence
    from pathlib import Path

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
        """Set while this connection is the holder's owner, and when the holder is gone."""
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
        deadline = loop.time() + START_SECONDS
        while loop.time() < deadline:
            link = cls(loop, await _reach_off_loop(directory, start=start))
            try:
                async with asyncio.timeout_at(deadline):
                    await link.owns.wait()
            except TimeoutError:
                link.close()
                raise HolderError(f"the holder in {str(directory)!r} belongs to another service") from None
            except asyncio.CancelledError:
                link.close()
                raise
            if not link.lost.done():  # a holder that is killed closes its connections before it stops to listen
                return link
        raise HolderGone(f"the holder in {str(directory)!r} ends again and again")

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
        self.owns.set()  # nobody waits for it any more
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


async def _reach_off_loop(directory: Path, *, start: bool) -> socket.socket:
    reaching = asyncio.get_running_loop().run_in_executor(None, _reach, directory, start)
    try:
        return await asyncio.shield(reaching)
    except asyncio.CancelledError:
        reaching.add_done_callback(_close_channel)
        raise
    except OSError as error:
        raise HolderError(f"no holder in {str(directory)!r}: {error}") from error


def _reach(directory: Path, start: bool) -> socket.socket:  # noqa: FBT001 - handed to a thread
    """Return a socket connected to the directory's holder. Raises OSError, HolderMissing, HolderError."""
    try:
        channel = reach(str(directory), environment={}) if start else connect(str(directory))
    except NoHolder as error:
        raise HolderMissing(str(error)) from error
    except NotOurs as error:
        raise HolderError(str(error)) from error
    channel.setblocking(False)  # noqa: FBT003 - positional only
    return channel
