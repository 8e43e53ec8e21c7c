"""A backend in memory: its only program echoes its input like a terminal in raw mode, and knows a few words.

For demonstrations, and for tests of everything above a backend. A line (ended by a carriage return or a line
feed) is also a command if it starts with one of these words; a `command` of such words runs the same way:

    exit N       end with code N (0 without N)
    kill N       end by signal N (15 without N)
    flood N      print N bytes
    env NAME     print the value of a variable
    size         print rows and columns
    cooked       let the interrupt key interrupt; `raw` makes it an ordinary byte again, as at the start
"""

from __future__ import annotations

import asyncio
import re
import signal
from typing import TYPE_CHECKING

from backends.base import Capabilities, ExitStatus
from backends.environment import child_environment
from backends.errors import DirectoryNotFound, OutOfResources, ShellNotFound
from backends.executable import NOT_FOUND

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from backends.base import Order, Program, Pty, Sink, Survivor

BUFFER_BYTES = 64 * 1024
"""Output that waits, at most; while it is full `write` takes nothing."""

_LINES = re.compile(rb"[^\r\n]*[\r\n]|[^\r\n]+")
_LINE_BYTES = 4096
_PIECE_BYTES = 4096
_HARMLESS = {getattr(signal, name) for name in ("SIGCHLD", "SIGCONT", "SIGURG", "SIGWINCH") if hasattr(signal, name)}
"""Signals whose default is to do nothing; every other one ends the program."""


class EchoBackend:
    """Opens up to `limit` echoing terminals at a time (None: any number)."""

    capabilities = Capabilities(signals=True)

    def __init__(self, *, name: str = "echo", limit: int | None = None) -> None:
        """Begin with none open."""
        self.name = name
        self._limit = limit
        self._open: set[EchoPty] = set()

    async def shells(self, user: str | None = None) -> Sequence[str]:  # noqa: ARG002 - there is one user
        """Return the only one."""
        return ["echo"]

    async def open(self, order: Order) -> EchoEnvironment:  # noqa: ARG002 - nothing is provisioned
        """Return an environment."""
        return EchoEnvironment(self._open, self._limit)

    async def survivors(self) -> Sequence[Survivor]:
        """Return none: nothing outlives its process."""
        return ()

    async def check(self) -> None:
        """Do nothing: it always works."""

    async def recall(self, session_id: str) -> Survivor | None:  # noqa: ARG002 - nothing runs elsewhere
        """Return none: what it has `survivors` tells."""
        return None

    async def sweep(self, living: Collection[str]) -> None:
        """Do nothing: nothing is provisioned."""

    async def stop(self) -> None:
        """Nothing runs on."""

    async def close(self) -> None:
        """Do nothing: there is nothing but the environments."""


class EchoEnvironment:
    """The echoing terminals of one session."""

    def __init__(self, everybody: set[EchoPty], limit: int | None) -> None:
        """Count among `everybody` of the backend."""
        self._everybody = everybody
        self._limit = limit
        self._own: set[EchoPty] = set()

    async def spawn(self, program: Program, sink: Sink) -> Pty:
        """Start to echo; see `Environment.spawn`. There is one directory, `/`."""
        environment = child_environment({}, program, "echo")
        if program.cwd not in (None, "/"):
            raise DirectoryNotFound(program.cwd or "", "an echo has no file system")
        if program.command is None and program.shell not in (None, "echo"):
            raise ShellNotFound(program.shell or "", ["echo"])
        if self._limit is not None and len(self._everybody) >= self._limit:
            raise OutOfResources(f"more than {self._limit} echoes")
        pty = EchoPty(sink, environment, (program.rows, program.cols), self._forget)
        self._own.add(pty)
        self._everybody.add(pty)
        if program.command is not None:
            pty.run(" ".join(program.command))
        return pty

    async def adopt(self, survivor: Survivor, sink: Sink, position: int = 0) -> Pty:  # noqa: ARG002
        """Never called: there are no survivors."""
        raise AssertionError("nothing outlives this process")

    async def close(self) -> None:
        """End what is open."""
        for pty in list(self._own):
            await pty.close(0)

    def _forget(self, pty: EchoPty) -> None:
        self._own.discard(pty)
        self._everybody.discard(pty)


class EchoPty:
    """One echoing program. Output leaves on a later turn of the loop, in pieces, as from a real terminal."""

    pid: int | None = None
    unconfirmed = 0

    def __init__(
        self, sink: Sink, environment: dict[str, str], size: tuple[int, int], over: Callable[[EchoPty], None]
    ) -> None:
        """Begin; `over` is called at the end."""
        self._loop = asyncio.get_running_loop()
        self._sink = sink
        self._environment = environment
        self._size = size
        self._over = over
        self.written = 0
        """Bytes of input it has taken."""
        self._output = bytearray()
        self._flood = 0
        self._line = bytearray()
        self._paused = False
        self._raw = True
        self._was_refused = False
        self._turn: asyncio.Handle | None = None
        self._status: ExitStatus | None = None
        self._ended: asyncio.Future[ExitStatus] = self._loop.create_future()

    def write(self, data: bytes | memoryview) -> int:
        """Echo what fits into the buffer."""
        if self._is_over:
            return len(data)
        room = max(BUFFER_BYTES - len(self._output), 0)
        taken = 0
        for part in _LINES.finditer(bytes(data[:room])):
            if self._is_busy:  # a word takes effect before what is typed behind it
                break
            self._type(part[0])
            taken = part.end()
        self.written += taken
        if self._is_over:
            return len(data)
        self._was_refused = self._was_refused or taken < len(data)
        self._deliver_soon()
        return taken

    def interrupt(self) -> bool:
        """Stop a flood and forget the line that was begun, unless in raw mode."""
        if self._raw and not self._is_over:
            return False
        if not self._is_over:
            self._flood = 0
            self._line.clear()
            self._print(b"^C\r\n")
        return True

    def resize(self, rows: int, cols: int) -> None:
        """Note the size."""
        self._size = (rows, cols)

    def signal(self, signum: int) -> None:
        """End by this signal, if that is its default effect."""
        if signum not in signal.valid_signals():
            raise ValueError(f"no such signal: {signum}")
        if signum not in _HARMLESS:
            self._flood = 0
            self._end(ExitStatus(signal=signum))

    def pause_reading(self) -> None:
        """Hold the output back."""
        self._paused = True

    def resume_reading(self) -> None:
        """Deliver again."""
        self._paused = False
        self._deliver_soon()

    async def wait(self) -> ExitStatus:
        """Wait for the end."""
        return await asyncio.shield(self._ended)

    async def close(self, grace_seconds: float) -> None:  # noqa: ARG002 - it does not linger
        """Hang up."""
        self._flood = 0
        self._end(ExitStatus(signal=1))  # SIGHUP, which Windows' signal module does not name
        await self.wait()

    def annotate(self, note: str) -> None:
        """Do nothing: it ends with this process."""

    async def detach(self) -> None:
        """Do nothing: it ends with this process."""

    def run(self, line: str) -> None:
        """Do what a line says; as a command of its own the program ends after it."""
        if not self._obey(line):
            message = f"{line.split(' ', 1)[0]}: command not found"
            self._print(message.encode("utf-8", "replace") + b"\r\n")
            self._end(ExitStatus(code=NOT_FOUND, message=message))
        self._end(ExitStatus(code=0))

    @property
    def _is_over(self) -> bool:
        return self._status is not None

    @property
    def _is_busy(self) -> bool:
        return self._is_over or self._flood > 0

    def _type(self, text: bytes) -> None:
        """Take a line, or the beginning of one."""
        self._output += text
        self._line += text
        del self._line[:-_LINE_BYTES]
        if not text.endswith((b"\r", b"\n")):
            return
        line = self._line.decode("utf-8", "replace")
        self._line.clear()
        self._obey(line)

    def _obey(self, line: str) -> bool:
        """Do what a line says; False if its first word is none of ours."""
        word, _, argument = line.strip().partition(" ")
        number = int(argument) if argument.isdecimal() else 0
        match word:
            case "exit":
                self._end(ExitStatus(code=number & 0xFF))
            case "kill":
                self._end(ExitStatus(signal=number or 15))
            case "flood":
                self._flood = number
            case "env":
                self._print(self._environment.get(argument, "").encode("utf-8", "surrogateescape") + b"\r\n")
            case "size":
                self._print(b"%d %d\r\n" % self._size)
            case "cooked" | "raw":
                self._raw = word == "raw"
            case _:
                return False
        return True

    def _print(self, text: bytes) -> None:
        self._output += text
        self._deliver_soon()

    def _end(self, status: ExitStatus) -> None:
        if self._status is None:
            self._status = status
            self._deliver_soon()

    def _deliver_soon(self) -> None:
        if self._turn is None and not self._ended.done():
            self._turn = self._loop.call_soon(self._deliver)

    def _deliver(self) -> None:
        """Deliver one piece; once all is delivered take input again, or end."""
        self._turn = None
        if self._paused and self._status is None:
            return
        piece = bytes(self._output[:_PIECE_BYTES])
        del self._output[:_PIECE_BYTES]
        if not piece and self._flood:
            piece = b"x" * min(self._flood, _PIECE_BYTES)
            self._flood -= len(piece)
        if piece:
            self._sink.data_received(piece)
        if self._output or self._flood:
            self._deliver_soon()
            return
        self._sink.drained()
        if self._was_refused:
            self._was_refused = False
            self._sink.resume_writing()
        if self._status is not None and not self._ended.done():
            self._over(self)
            self._ended.set_result(self._status)
