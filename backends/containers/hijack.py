"""The connection of one exec: an HTTP request that turns into the program's own bytes in both directions.

Own code, not aiodocker's stream, because that one is read into a queue of messages: here what arrives goes into the
reader's own memory, and a reader that pauses stops the program. Daemons hijack in the same way: status 101, then bytes.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Protocol, cast

from backends.containers.unread import count_unread

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping

INPUT_BYTES = 64 * 1024
"""Input on its way to the daemon's socket, at most."""

_PACE_BYTES = 4096
_PACE_SECONDS = (0.001, 0.032)
"""Podman's conmon writes input to a terminal without reading its output meanwhile, so that a program that answers to
all it reads comes to a halt for ever with it, if it is given much at once, or any more while its output is not read.
Podman gives it at once what it reads at once. So a piece is sent only when the last was read, and on a machine that is
too busy for that the pace slackens, from the first of these to the second.
"""

_HEAD_BYTES = 64 * 1024
_SWITCHED = {101, 200}


class Refused(Exception):
    """The daemon did not start it: HTTP status and its words."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class Receiver(Protocol):
    """Where the bytes go; all calls on the loop's thread."""

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return writable memory."""
        ...

    def buffer_updated(self, nbytes: int) -> None:
        """Take what was written to it."""
        ...

    def resume_writing(self) -> None:
        """Learn that input is taken again."""
        ...

    def stream_ended(self) -> None:
        """Learn that nothing more comes: called once, and it does not say why."""
        ...


class Hijack(asyncio.BufferedProtocol):
    """One connection. Made by asyncio, used once."""

    def __init__(self, receiver: Receiver, *, is_paced: bool = False) -> None:
        """Begin unconnected. `is_paced`: input is given in small pieces with a moment between them."""
        self._is_paced = is_paced
        self._pace: asyncio.TimerHandle | None = None
        self._pace_seconds = _PACE_SECONDS[0]
        self._window = _PACE_BYTES
        self._receiver = receiver
        self._transport: asyncio.Transport | None = None
        self._memory = memoryview(bytearray(_HEAD_BYTES))
        self._head = bytearray()
        self._started: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._is_open = False
        self._is_full = False
        self._is_over = False
        self._paused = False
        self.has_ended_input = False

    # -- asyncio.BufferedProtocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note the transport; input waits in it while its socket is full."""
        self._transport = cast("asyncio.Transport", transport)
        # Filled to the brim it is above `high`, so that whoever was refused is called back.
        self._transport.set_write_buffer_limits(high=INPUT_BYTES - 1, low=0)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return the receiver's memory, or our own for the head of the answer."""
        return self._receiver.get_buffer(sizehint) if self._is_open else self._memory

    def buffer_updated(self, nbytes: int) -> None:
        """Take what has arrived."""
        if self._is_open:
            self._receiver.buffer_updated(nbytes)
            return
        self._head += self._memory[:nbytes]
        self._read_head()

    def eof_received(self) -> bool:
        """Let the connection close."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the receiver."""
        if not self._started.done():
            self._started.set_exception(exc or ConnectionResetError("the daemon closed the connection"))
        self._end()

    def pause_writing(self) -> None:
        """Take no more input."""
        self._is_full = True

    def resume_writing(self) -> None:
        """Take input again."""
        self._is_full = False
        if self._is_open:
            self._receiver.resume_writing()

    # -- our side

    async def start(self, host: str, path: str, body: Mapping[str, object]) -> None:
        """Send the request; return when bytes may flow. Raises Refused, OSError."""
        assert self._transport is not None  # noqa: S101 - asyncio has called connection_made
        data = json.dumps(body).encode()
        head = (
            f"POST {path} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
        )
        self._transport.write(head.encode() + data)
        await self._started

    def write(self, data: bytes | memoryview) -> int:
        """Hand over input without blocking; return how much was taken. Less than all: `resume_writing` will be called.

        A connection that is over takes everything.
        """
        transport = self._transport
        taken = 0
        while taken < len(data):
            if transport is None or self._is_over or transport.is_closing() or self.has_ended_input:
                return len(data)
            room = INPUT_BYTES - transport.get_write_buffer_size()
            if self._is_paced:
                room = min(room, self._window)
                self._keep_pace()
            if room <= 0:
                break
            piece = bytes(data[taken : taken + room])
            transport.write(piece)
            taken += len(piece)
            if self._is_paced:
                self._window -= len(piece)
        return taken

    def _keep_pace(self) -> None:
        if self._pace is None and not self._paused:
            self._pace = asyncio.get_running_loop().call_later(self._pace_seconds, self._open_window)

    def _stop_pace(self) -> None:
        if self._pace is not None:
            self._pace.cancel()
            self._pace = None

    def _open_window(self) -> None:
        self._pace = None
        if self._has_unread:
            self._pace_seconds = min(2 * self._pace_seconds, _PACE_SECONDS[1])
            self._keep_pace()
            return
        self._pace_seconds = max(self._pace_seconds / 2, _PACE_SECONDS[0])
        was_shut, self._window = self._window <= 0, _PACE_BYTES
        if was_shut and not self._is_full and self._is_open:
            self._receiver.resume_writing()

    @property
    def _has_unread(self) -> bool:
        """Whether the daemon has not read all input yet."""
        transport = self._transport
        if transport is None or self._is_over or transport.is_closing():
            return False
        return transport.get_write_buffer_size() > 0 or count_unread(self.socket) > 0

    @property
    def socket(self) -> socket.socket:
        """What it goes over."""
        assert self._transport is not None  # noqa: S101 - asyncio has called connection_made
        found: socket.socket = self._transport.get_extra_info("socket")
        return found

    def insist(self, key: bytes) -> None:
        """Put a key behind the input that waits, though there is no room."""
        if self._transport is not None and not self._is_over and not self._transport.is_closing():
            self._transport.write(key)

    @property
    def is_full(self) -> bool:
        """Whether no input is taken now."""
        return (self._is_full or self._window <= 0) and not self._is_over

    def write_eof(self) -> bool:
        """End the input; False where the connection cannot (TLS)."""
        if self._transport is None or not self._transport.can_write_eof():
            return False
        if not self.has_ended_input and not self._is_over:
            self.has_ended_input = True
            self._transport.write_eof()
        return True

    def pause_reading(self) -> None:
        """Read no more: what is on its way fills the sockets, and then the program waits."""
        if not self._paused and not self._is_over and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()
            self._stop_pace()

    def resume_reading(self) -> None:
        """Read again."""
        if self._paused and not self._is_over and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()
            if self._is_paced:
                self._keep_pace()

    def close(self) -> None:
        """Close the connection at once; the receiver hears of the end. Harmless twice."""
        self._started.cancel()
        if self._transport is not None:
            self._transport.abort()
        self._end()

    def _end(self) -> None:
        if self._is_over:
            return
        self._is_over = True
        self._stop_pace()
        if self._is_open:
            self._receiver.stream_ended()

    def _read_head(self) -> None:
        head, end, rest = bytes(self._head).partition(b"\r\n\r\n")
        if not end:
            if len(self._head) > _HEAD_BYTES:
                self._fail(Refused(0, "the answer is not HTTP"))
            return
        try:
            status = int(head.split(None, 2)[1])
        except (IndexError, ValueError):
            self._fail(Refused(0, "the answer is not HTTP"))
            return
        if status not in _SWITCHED:
            length = _content_length(head)
            if len(rest) < min(length, _HEAD_BYTES):
                return
            self._fail(Refused(status, _message(rest)))
            return
        self._is_open = True
        self._head.clear()
        if not self._started.done():
            self._started.set_result(None)
        self._hand_over(memoryview(rest))

    def _hand_over(self, rest: memoryview) -> None:
        while rest:
            memory = self._receiver.get_buffer(len(rest))
            size = min(len(memory), len(rest))
            memory[:size] = rest[:size]
            self._receiver.buffer_updated(size)
            rest = rest[size:]

    def _fail(self, error: Refused) -> None:
        if not self._started.done():
            self._started.set_exception(error)
        if self._transport is not None:
            self._transport.abort()


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length" and value.strip().isdigit():
            return int(value)
    return 0


def _message(body: bytes) -> str:
    with contextlib.suppress(ValueError):
        told = json.loads(body)
        if isinstance(told, dict) and "message" in told:
            return str(told["message"])
    return body.decode("utf-8", "replace")
