"""One program at a pseudo console (ConPTY) of this machine. Not run on this project's machines; see `windows`.

pywinpty's calls block, so each terminal has three threads: one reads, one writes, one waits for the end.
"""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

import psutil

from backends.base import ExitStatus, Lost

if TYPE_CHECKING:
    from collections.abc import Callable

    from backends.base import Sink

_OUTPUT_BYTES = 256 * 1024
"""Output between the reading thread and the event loop, at most; then the thread waits."""

_INPUT_BYTES = 64 * 1024
"""Input that waits for the writing thread, at most; then `write` takes nothing."""

_QUIET_SECONDS = 0.25
_DRAIN_SECONDS = 2.0
_IDLE_SECONDS = 0.01
_START_SECONDS = 30.0
"""A program is that old at the most when its `WindowsPty` is made."""

_ENDING_SIGNALS = {int(signal.SIGTERM), 1, 9}  # HUP and KILL have no name in Windows' signal module


class WindowsPty:
    """A `Pty` on a `winpty.PTY` that has been spawned."""

    unconfirmed = 0

    def __init__(self, terminal: Any, sink: Sink, over: Callable[[WindowsPty], None]) -> None:
        """Start the threads; `over` is called at the end."""
        self._terminal = terminal
        self._sink = sink
        self._over = over
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[ExitStatus] = self._loop.create_future()
        self.written = 0
        """Bytes of input it has taken."""
        self._changed = threading.Condition()  # guards the five below
        self._is_paused = False
        self._is_over = False
        self._output_bytes = 0
        self._input = bytearray()
        self._was_refused = False
        self._last_read = self._loop.time()
        self._since = time.time() - _START_SECONDS
        for work in (self._read, self._write, self._wait_for_exit):
            threading.Thread(target=work, name=f"{work.__name__} {self.pid}", daemon=True).start()

    @property
    def pid(self) -> int | None:
        """Process id."""
        pid: int | None = self._terminal.pid
        return pid

    def write(self, data: bytes | memoryview) -> int:
        """Queue what fits."""
        with self._changed:
            if self._is_over:
                return len(data)
            taken = min(len(data), _INPUT_BYTES - len(self._input))
            self._input += data[:taken]
            self.written += taken
            self._was_refused = self._was_refused or taken < len(data)
            self._changed.notify_all()
        return taken

    def interrupt(self) -> bool:
        """Return False: whether the key interrupts now cannot be seen from outside a console."""
        return False

    def resize(self, rows: int, cols: int) -> None:
        """Set the size."""
        if not self._ended.done():
            self._terminal.set_size(cols, rows)

    def signal(self, signum: int) -> None:
        """Interrupt (ahead of queued input) or end the program; raises ValueError for what Windows has not."""
        if self._ended.done():
            return
        if signum == signal.SIGINT:
            with self._changed:
                self._input[:0] = b"\x03"
                self._changed.notify_all()
        elif signum in _ENDING_SIGNALS:
            self._loop.run_in_executor(None, end_tree, self.pid, self._since)
        else:
            raise ValueError(f"Windows has no signal {signum}")

    def pause_reading(self) -> None:
        """Stop reading."""
        with self._changed:
            self._is_paused = True

    def resume_reading(self) -> None:
        """Read again."""
        with self._changed:
            self._is_paused = False
            self._changed.notify_all()

    async def wait(self) -> ExitStatus:
        """Wait for the end of the program and of its output."""
        return await asyncio.shield(self._ended)

    async def close(self, grace_seconds: float) -> None:
        """End the whole process tree. Windows knows no polite signal, so this is firm at once."""
        if not self._ended.done():
            await asyncio.to_thread(end_tree, self.pid, self._since, grace_seconds)
        await self.wait()

    # -- the threads

    def annotate(self, note: str) -> None:
        """Do nothing: it ends with this process."""

    async def detach(self) -> None:
        """Do nothing: it ends with this process."""

    def _read(self) -> None:
        """Hand output to the loop, until the end of the console; never more than a bound ahead of it."""
        while True:
            with self._changed:
                self._changed.wait_for(self._may_read)
                if self._is_over and self._ended.done():
                    return
            try:
                text = self._terminal.read(blocking=True)
            except Exception:  # noqa: BLE001 - winpty.WinptyError, a name that exists on Windows only: the end
                return
            if not text:
                with self._changed:
                    self._changed.wait(_IDLE_SECONDS)
                continue
            data = text.encode("utf-8", "replace")
            with self._changed:
                self._output_bytes += len(data)
            self._call(self._take, data)

    def _may_read(self) -> bool:
        return self._is_over or (not self._is_paused and self._output_bytes < _OUTPUT_BYTES)

    def _write(self) -> None:
        """Write what is queued; a console takes characters, which may be cut anywhere between two writes."""
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._input or self._is_over)
                if self._is_over:
                    return
                data = bytes(self._input)
                self._input.clear()
                was_refused, self._was_refused = self._was_refused, False
            try:
                self._terminal.write(decoder.decode(data))
            except Exception:  # noqa: BLE001 - as in `_read`: the console is gone, and nobody will read this
                return
            if was_refused:
                self._call(self._sink.resume_writing)

    def _wait_for_exit(self) -> None:
        with contextlib.suppress(psutil.NoSuchProcess):
            psutil.Process(self.pid).wait()
        try:
            code = self._terminal.get_exitstatus()
        except Exception:  # noqa: BLE001 - as in `_read`
            code = None
        self._call(self._exited, ExitStatus(lost=Lost.NODE) if code is None else ExitStatus(code=code))

    # -- on the loop

    def _call(self, callback: Callable[..., None], *arguments: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to be told
            self._loop.call_soon_threadsafe(callback, *arguments)

    def _take(self, data: bytes) -> None:
        self._last_read = self._loop.time()
        if not self._ended.done():
            self._sink.data_received(data)
            self._sink.drained()
        with self._changed:
            self._output_bytes -= len(data)
            self._changed.notify_all()

    def _exited(self, status: ExitStatus) -> None:
        """Take input no more, read even if paused, and end when the output has been quiet for a while."""
        with self._changed:
            self._is_over = True
            self._input.clear()
            was_refused, self._was_refused = self._was_refused, False
            self._changed.notify_all()
        if was_refused:
            self._sink.resume_writing()
        self._settle(status, self._loop.time() + _DRAIN_SECONDS)

    def _settle(self, status: ExitStatus, deadline: float) -> None:
        now = self._loop.time()
        end = min(max(self._last_read, deadline - _DRAIN_SECONDS) + _QUIET_SECONDS, deadline)
        if now < end:
            self._loop.call_at(end, self._settle, status, deadline)
            return
        self._ended.set_result(status)
        self._over(self)
        with self._changed:
            self._changed.notify_all()
        self._loop.run_in_executor(None, self._release)

    def _release(self) -> None:
        """Wake the reading thread: a console does not end its output when its program ends."""
        end_tree(self.pid, self._since)
        cancel = getattr(self._terminal, "cancel_io", None)
        if cancel is not None:
            cancel()


def end_tree(pid: int | None, since: float, grace_seconds: float = 0) -> None:
    """End a process and its descendants; blocks until they are gone, for `grace_seconds` at most.

    A child keeps the number of its parent when that has ended, so descendants of a dead one are found too; what
    was created before `since` (seconds since the epoch) had another parent with the same number.
    """
    children: dict[int, list[psutil.Process]] = {}
    tree: list[psutil.Process] = []
    for process in psutil.process_iter(["ppid", "create_time"]):
        if (process.info["create_time"] or 0) >= since:
            children.setdefault(process.info["ppid"], []).append(process)
            if process.pid == pid:
                tree.append(process)
    waiting = [pid]
    while waiting:
        found = children.pop(waiting.pop() or -1, [])
        tree += found
        waiting += [process.pid for process in found]
    for process in tree:
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            process.kill()
    psutil.wait_procs(tree, timeout=grace_seconds)
