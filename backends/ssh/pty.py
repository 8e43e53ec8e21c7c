"""One program at a terminal of a host."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

import structlog

from backends.errors import BackendError
from backends.ssh.program import INPUT_BYTES, ProgramSession
from backends.ssh.script import LAST_SECONDS, end_script, interrupt_script, signal_script

if TYPE_CHECKING:
    from collections.abc import Callable

    import asyncssh

    from backends.base import ExitStatus, Sink
    from backends.ssh.pool import SshPool

_SIGNALS = 64
"""Signals that wait for the link, at most."""

_INTERRUPT = b"\x03"

_LEFTOVERS_SECONDS = 1.0
"""For each of HUP, TERM and KILL to what a program left running."""

_log = structlog.get_logger(__name__)


class SshPty(ProgramSession):
    """A `Pty`. The host's window bounds what it sends while reading is paused."""

    unconfirmed = 0

    def __init__(self, sink: Sink, pool: SshPool, over: Callable[[SshPty], None]) -> None:
        """Begin before the start; `over` is called at the end."""
        super().__init__(pool)
        self.written = 0
        """Bytes of input it has taken."""
        self._sink = sink
        self._over = over
        self._loop = asyncio.get_running_loop()
        self._paused = False
        self._undelivered = False
        self._wants_room = False
        self._signals = 0
        self._closing = asyncio.Lock()
        self._is_swept = False
        self._is_interrupting = False
        self._gone: asyncio.Future[ExitStatus] = self._loop.create_future()
        self._ended: asyncio.Future[ExitStatus] = self._loop.create_future()

    @property
    def pid(self) -> int | None:
        """Process id on its host."""
        return self.leader

    def write(self, data: bytes | memoryview) -> int:
        """Take what fits into the buffer in front of the host's window."""
        if self.status is not None or self._gone.done() or self.channel is None or self.channel.is_closing():
            return len(data)
        if self._is_interrupting:  # the key may have to be typed first
            self._wants_room = True
            return 0
        taken = bytes(data[: max(0, INPUT_BYTES - self.channel.get_write_buffer_size())])
        self.channel.write(taken)
        self.written += len(taken)
        if len(taken) < len(data) and not self._wants_room:
            self._wants_room = True
            if self.channel.get_write_buffer_size() < INPUT_BYTES:  # the window took it: nothing will resume us
                self._loop.call_soon(self.resume_writing)
        return len(taken)

    def interrupt(self) -> bool:
        """Have the foreground programs interrupted if the host takes no input, else have the key written.

        What the terminal is set to only the host knows: if it turns out that the key is an ordinary byte there, it is
        written in its turn. Input on its way is not discarded, as the key would do.
        """
        if not self._is_usable or self.channel is None:
            return True
        if not self.channel.get_write_buffer_size():
            return False
        if not self._is_interrupting:
            self._is_interrupting = True
            self.pool.start(self._interrupt(self.channel), "ssh: interrupt")
        return True

    def resize(self, rows: int, cols: int) -> None:
        """Set the size."""
        if self._is_usable and self.channel is not None:
            self.channel.change_terminal_size(cols, rows)

    def signal(self, signum: int) -> None:
        """Have the foreground programs signalled; what the host says to it is only logged.

        Raises ValueError for an unknown signal, ProcessLookupError if too many wait for the link.
        """
        if signum not in signal.valid_signals():
            raise ValueError(f"no such signal: {signum}")
        if not self._is_usable:
            return
        if self._signals >= _SIGNALS:
            raise ProcessLookupError("many signals wait for the link")
        self._signals += 1
        self.pool.start(self._send_signal(signal.Signals(signum).name.removeprefix("SIG")), "ssh: signal")

    def pause_reading(self) -> None:
        """Take no more: the host may fill the channel's window, then it feels it."""
        if self._is_usable and self.channel is not None:
            self._paused = True
            self.channel.pause_reading()

    def resume_reading(self) -> None:
        """Take again."""
        if self._paused and self.channel is not None:
            self._paused = False
            self.channel.resume_reading()

    async def wait(self) -> ExitStatus:
        """Wait for the end of the program, of its output and of what it left running."""
        return await asyncio.shield(self._ended)

    def annotate(self, note: str) -> None:
        """Do nothing: it ends with this process."""

    async def detach(self) -> None:
        """Do nothing: it ends with this process."""

    async def close(self, grace_seconds: float) -> None:
        """Have the whole process tree ended, then release all. Bounded by three graces and the link's patience."""
        async with self._closing:
            if self._is_usable:
                self._is_swept = True
                await self._end_tree(grace_seconds)
            if not self._gone.done() and self.channel is not None:
                await self._hang_up(self.channel)
        await self.wait()

    # -- the session

    def took(self, data: bytes, datatype: int | None) -> None:  # noqa: ARG002 - a terminal has one output
        """Hand output to the sink."""
        self._sink.data_received(data)
        if not self._undelivered:
            self._undelivered = True
            self._loop.call_soon(self._drained)

    def resume_writing(self) -> None:
        """Tell whoever was refused."""
        if self._wants_room and not self._is_interrupting:
            self._wants_room = False
            self._sink.resume_writing()

    def eof_received(self) -> bool:
        """Keep the channel open until its status has come."""
        return True

    def over(self, status: ExitStatus) -> None:
        """End, once what it left running has ended too."""
        if self._gone.done():
            return
        self._gone.set_result(status)
        self._is_interrupting = False
        self.resume_writing()
        if self._is_swept or self.leader is None or status.lost is not None:
            self._finish()
        else:
            self.pool.start(self._sweep(), "ssh: end what a program left running")

    @property
    def _is_usable(self) -> bool:
        return self.leader is not None and self.status is None and not self._gone.done()

    def _drained(self) -> None:
        self._undelivered = False
        self._sink.drained()

    async def _sweep(self) -> None:
        try:
            await self._end_tree(_LEFTOVERS_SECONDS)
        finally:
            self._finish()

    def _finish(self) -> None:
        if self._undelivered:
            self._drained()
        if not self._ended.done():
            self._ended.set_result(self._gone.result())
        self._over(self)

    async def _end_tree(self, grace_seconds: float) -> None:
        script = end_script(self.leader or -1, self.token, grace_seconds)
        try:
            lines = await self.pool.run(script, seconds=3 * grace_seconds + LAST_SECONDS)
        except BackendError as error:
            _log.warning("the processes of a terminal could not be ended", pid=self.pid, reason=str(error))
            return
        if lines[-1:] != ["ended"]:
            _log.warning("processes survived the end of their terminal", pid=self.pid, said=lines[-1:])

    async def _hang_up(self, channel: asyncssh.SSHClientChannel[bytes]) -> None:
        """Close the channel: the host hangs up on whoever still has the terminal."""
        try:
            async with asyncio.timeout(1.0):
                await asyncio.shield(self._gone)  # its status is on the way
        except TimeoutError:
            channel.abort()
            try:
                async with asyncio.timeout(1.0):
                    await asyncio.shield(self._gone)
            except TimeoutError:
                self.connection_lost(None)

    async def _send_signal(self, name: str) -> None:
        try:
            said = await self.pool.run(signal_script(self.leader or -1, name))
            if said[-1:] != ["sent"]:
                _log.warning("a signal reached nobody", pid=self.pid, signal=name, said=said[-1:])
        except BackendError as error:
            _log.warning("a signal was sent the plain way", pid=self.pid, signal=name, reason=str(error))
            if self._is_usable and self.channel is not None:
                self.channel.send_signal(name)
        finally:
            self._signals -= 1

    async def _interrupt(self, channel: asyncssh.SSHClientChannel[bytes]) -> None:
        said = "unknown"
        try:
            said = (await self.pool.run(interrupt_script(self.leader or -1)) or [said])[-1]
        except BackendError as error:
            _log.warning("an interrupt waits for the input before it", pid=self.pid, reason=str(error))
        finally:
            self._is_interrupting = False
            if said != "sent" and self._is_usable and not channel.is_closing():
                channel.write(_INTERRUPT)
            if channel.get_write_buffer_size() < INPUT_BYTES:
                self.resume_writing()
