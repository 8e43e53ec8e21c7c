"""One terminal somewhere, whoever leads there: the plain tool, a backend of the service, the whole service.

All keep what comes in, with its time, and do nothing else with it while the clock runs.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import pty
import struct
import subprocess
from abc import ABC, abstractmethod
from collections import deque
from fcntl import ioctl
from termios import TIOCSWINSZ
from time import perf_counter
from typing import TYPE_CHECKING, Protocol

from backends.base import Program
from backends.errors import BackendError
from bench.client import TIMEOUT_SECONDS, BenchError, Connection, connect
from bench.text import PROGRAM, READY
from bench.wires import MsgpackWire

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from backends.base import Environment, Pty
    from bench.text import Text

READ_BYTES = 64 * 1024
READS_PER_WAKEUP = 16
POLL_SECONDS = 0.002
ROWS, COLS = 24, 80


class Line(ABC):
    """What came from a terminal so far. `type` and `close` are of those that lead there."""

    def __init__(self) -> None:
        self.pieces: list[tuple[float, bytes]] = []
        self.received = 0
        self.closed = False
        self.on_piece: Callable[[float, bytes], None] | None = None

    def take(self, data: bytes) -> None:
        """Keep what came, and when."""
        if self.on_piece is not None:
            self.on_piece(perf_counter(), data)
            return
        self.pieces.append((perf_counter(), data))
        self.received += len(data)

    def clear(self) -> None:
        """Forget it."""
        self.pieces.clear()
        self.received = 0

    def output(self) -> bytes:
        """Return what came."""
        return b"".join(data for _, data in self.pieces)

    async def expect(self, needle: bytes) -> None:
        """Wait until the output has this. Raises BenchError."""
        deadline = perf_counter() + TIMEOUT_SECONDS
        while needle not in self.output():
            if self.closed or perf_counter() > deadline:
                raise BenchError(f"waited for {needle!r}, got {self.output()[-300:]!r}")
            await asyncio.sleep(POLL_SECONDS)

    async def collect(self, text: Text) -> float:
        """Wait for all of `text`, verify every byte, return when the last one came. Raises BenchError."""
        deadline = perf_counter() + TIMEOUT_SECONDS
        while self.received < text.terminal_bytes:
            if self.closed or perf_counter() > deadline:
                raise BenchError(f"expected {text.terminal_bytes} bytes, got {self.received}")
            await asyncio.sleep(POLL_SECONDS)
        digest = hashlib.sha256()
        for _, data in self.pieces:
            digest.update(data)
        if self.received != text.terminal_bytes or digest.hexdigest() != text.sha256:
            raise BenchError(f"the output is not what was printed ({self.received} bytes)")
        return self.pieces[-1][0]

    @abstractmethod
    def type(self, data: bytes) -> None:
        """Send as if typed."""

    @abstractmethod
    async def close(self) -> None:
        """End the terminal."""


class ToolLine(Line):
    """A program that wants a terminal itself (`ssh -tt`, `docker exec -it`), at a PTY of this machine."""

    def __init__(self, argv: Sequence[str], environment: dict[str, str] | None = None) -> None:
        super().__init__()
        self._master, slave = pty.openpty()
        ioctl(slave, TIOCSWINSZ, struct.pack("HHHH", ROWS, COLS, 0, 0))
        self._process = subprocess.Popen(
            argv, stdin=slave, stdout=slave, stderr=slave, start_new_session=True, env=environment
        )
        os.close(slave)
        os.set_blocking(self._master, False)
        self._buffer = memoryview(bytearray(READ_BYTES))
        asyncio.get_running_loop().add_reader(self._master, self._read)

    def _read(self) -> None:
        try:
            for _ in range(READS_PER_WAKEUP):
                count = os.readv(self._master, [self._buffer])
                self.take(bytes(self._buffer[:count]))
        except BlockingIOError:
            pass
        except OSError:  # nobody has the other end open any more
            self.closed = True
            asyncio.get_running_loop().remove_reader(self._master)

    def type(self, data: bytes) -> None:
        """Send as if typed; a little, so that it fits."""
        os.write(self._master, data)

    async def close(self) -> None:
        """Kill the program."""
        asyncio.get_running_loop().remove_reader(self._master)
        self._process.kill()
        await asyncio.to_thread(self._process.wait)
        os.close(self._master)


class BackendLine(Line):
    """A PTY of a backend; this is its sink."""

    pty: Pty

    def __init__(self) -> None:
        super().__init__()
        self._memory = memoryview(bytearray(READ_BYTES))

    @classmethod
    async def open(cls, environment: Environment, number: int = 0) -> BackendLine:
        """Start the program in it. Raises BenchError."""
        line = cls()
        try:
            program = Program(f"bench-{number}", command=PROGRAM, rows=ROWS, cols=COLS)
            line.pty = await environment.spawn(program, line)
        except BackendError as error:
            raise BenchError(str(error)) from error
        return line

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - the sink's shape
        """Give memory."""
        return self._memory

    def buffer_updated(self, nbytes: int) -> None:
        """Take what is in it."""
        self.take(bytes(self._memory[:nbytes]))

    def data_received(self, data: bytes | bytearray | memoryview) -> None:
        """Take a copy."""
        self.take(bytes(data))

    def drained(self) -> None:
        """Deliver nothing: it is counted as it comes."""

    def resume_writing(self) -> None:
        """Never wait: what is typed is little."""

    def type(self, data: bytes) -> None:
        """Send as if typed."""
        if self.pty.write(data) != len(data):
            raise BenchError("the terminal took not all of a few bytes")

    async def close(self) -> None:
        """End the program."""
        await self.pty.close(0.1)


class Closer(Protocol):
    """What ends a session of a service."""

    def close(self, url: str) -> None:
        """End it."""
        ...


class ServiceLine(Line):
    """A session of the whole service, through its WebSocket."""

    def __init__(self, connection: Connection, service: Closer, url: str) -> None:
        super().__init__()
        self._connection = connection
        self._service = service
        self._url = url
        connection.on_frame = self._take_frames
        self._take_frames()

    @classmethod
    async def open(cls, service: Closer, url: str) -> ServiceLine:
        """Attach to a session whose program is to say that it is ready."""
        return cls(await connect(url, MsgpackWire()), service, url)

    def _take_frames(self) -> None:
        frames = self._connection.frames[:]
        self._connection.frames.clear()
        for at, kind, payload in frames:
            data = self._connection.wire.stdout(kind, payload)
            if data and self.on_piece is not None:
                self.on_piece(at, data)
            elif data:
                self.pieces.append((at, data))
                self.received += len(data)

    def type(self, data: bytes) -> None:
        """Send as if typed."""
        self._connection.type(data)

    async def close(self) -> None:
        """Hang up, and end the session."""
        self._connection.on_frame = None
        self._connection.transport.disconnect()
        await self._connection.transport.wait_disconnected()
        await asyncio.to_thread(self._service.close, self._url)


class Echo:
    """Presses keys at a line whose program is `cat` in raw mode, and times each until it comes back."""

    def __init__(self, line: Line) -> None:
        self.seconds: list[float] = []
        self._line = line
        self._pressed: deque[float] = deque()

    async def begin(self) -> None:
        """Start the program, and press some keys that do not count."""
        self._line.clear()
        self._line.type(b"stty raw -echo; printf raw-%s mode; exec cat\n")
        await self._line.expect(b"raw-mode")
        self._line.on_piece = self._came
        for _ in range(5):
            self.press()
            await self.settle()
        self.seconds.clear()

    def press(self) -> None:
        """Press a key, whether or not earlier ones have come back."""
        self._pressed.append(perf_counter())
        self._line.type(b"x")

    def _came(self, at: float, data: bytes) -> None:
        for _ in data:
            self.seconds.append(at - self._pressed.popleft())

    async def settle(self) -> None:
        """Wait until every key has come back. Raises BenchError."""
        deadline = perf_counter() + TIMEOUT_SECONDS
        while self._pressed:
            if perf_counter() > deadline or self._line.closed:
                raise BenchError(f"{len(self._pressed)} keys were never echoed")
            await asyncio.sleep(POLL_SECONDS)


async def ready(line: Line) -> Line:
    """Wait for the program's word; the line is closed where it does not come. Raises BenchError."""
    try:
        await line.expect(READY)
    except BaseException:
        await line.close()
        raise
    line.clear()
    return line
