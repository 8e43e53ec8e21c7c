"""A program on a host's channel, from the line that starts it to its exit status."""

from __future__ import annotations

import asyncio
import re
import secrets
import signal
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import asyncssh

from backends.base import ExitStatus, Lost
from backends.errors import BackendError

if TYPE_CHECKING:
    from backends.ssh.link import Link
    from backends.ssh.pool import SshPool

INPUT_BYTES = 64 * 1024
"""Input that waits here for the host's window, at most."""

NOISE_BYTES = 64 * 1024
"""What login scripts may say before a program starts, at most."""


class Report:
    """What the start of a program came to: see `script.start_line`."""

    def __init__(self, kind: str, value: str) -> None:
        """Split what was said behind the nonce."""
        self.kind = kind
        self.words = value.split()

    @property
    def word(self) -> str:
        """Return the first: a process id, or the name of an error."""
        return self.words[0] if self.words else ""


class ProgramSession(asyncssh.SSHClientSession[bytes], ABC):
    """Hears a channel: first the report of the start, which nobody else sees, then the program.

    Subclasses take output (`took`) and learn of the end (`over`), once.
    """

    def __init__(self, pool: SshPool) -> None:
        """Begin before the start."""
        self.pool = pool
        self.token = secrets.token_hex(16)
        """The mark that its processes carry."""
        self.leader: int | None = None
        """Process id on the host, once it has started."""
        self.nonce = secrets.token_hex(16)
        self.report: asyncio.Future[Report] = asyncio.get_running_loop().create_future()
        self.link: Link | None = None
        self.channel: asyncssh.SSHClientChannel[bytes] | None = None
        self.status: ExitStatus | None = None
        self._noise = b""
        self._is_over = False
        self._line = re.compile(rb"%b (\w+) ([^\r\n]*)\.\r?\n" % self.nonce.encode())

    @abstractmethod
    def took(self, data: bytes, datatype: int | None) -> None:
        """Take output."""

    @abstractmethod
    def over(self, status: ExitStatus) -> None:
        """Learn of the end."""

    def hold(self, link: Link) -> None:
        """Count as a channel of this link, until it is over."""
        self.link = link
        if self._is_over:
            self.pool.release(link)

    def connection_made(self, chan: asyncssh.SSHClientChannel[bytes]) -> None:
        """Keep the channel."""
        self.channel = chan
        # A write that is cut short leaves more than `high`, so `resume_writing` follows.
        chan.set_write_buffer_limits(high=INPUT_BYTES - 1, low=INPUT_BYTES // 2)

    def data_received(self, data: bytes, datatype: int | None) -> None:
        """Take data."""
        if self.leader is not None:
            self.took(data, datatype)
        elif datatype is not None:
            self._noise += data
        else:
            self._hear(data)

    def exit_status_received(self, status: int) -> None:
        """Keep an exit code."""
        self._exit(ExitStatus(code=status))

    def exit_signal_received(self, signal: str, core_dumped: bool, msg: str, lang: str) -> None:  # noqa: ARG002, FBT001
        """Keep an exit signal."""
        number = signal_number(signal)
        self._exit(ExitStatus(signal=number) if number else ExitStatus(code=255, message=f"ended by signal {signal}"))

    def connection_lost(self, exc: Exception | None) -> None:
        """End: with its status, or because the link is lost."""
        if self._is_over:
            return
        self._is_over = True
        if self.channel is not None:
            self.channel.resume_reading()  # what has arrived is delivered first
        status = self.status
        if status is None:
            message = "the host ended the session without saying how the program ended"
            if exc is not None or (self.link is not None and not self.link.is_open):
                message = self.link.why_lost(exc) if self.link is not None else str(exc)
            status = ExitStatus(lost=Lost.LINK, message=message)
        if not self.report.done():
            self.report.set_exception(BackendError(self._why_not_started(status)))
            self.report.exception()  # nobody may be waiting
        if self.link is not None:
            self.pool.release(self.link)
        if status.lost is not None:  # also what may just be starting: it has its mark by then
            self.pool.end_later(self.leader or -1, self.token)
        self.over(status)

    def _exit(self, status: ExitStatus) -> None:
        self.status = status
        if self.channel is not None:
            self.channel.resume_reading()

    def _hear(self, data: bytes) -> None:
        """Look for the report; what login scripts said before it is output too."""
        self._noise += data
        found = self._line.search(self._noise)
        if found is None:
            if len(self._noise) > NOISE_BYTES and self.channel is not None:
                self.channel.abort()
            return
        before, after = self._noise[: found.start()], self._noise[found.end() :]
        self._noise = b""
        report = Report(found[1].decode(), found[2].decode("utf-8", "replace"))
        if report.kind == "started":
            self.leader = int(report.word)
            if before:
                self.took(before, None)
        if not self.report.done():
            self.report.set_result(report)
        if after and self.leader is not None:
            self.took(after, None)

    def _why_not_started(self, status: ExitStatus) -> str:
        if status.lost is not None:
            return status.message
        said = self._noise[-500:].decode("utf-8", "replace").strip()
        how = f"signal {status.signal}" if status.signal else f"exit code {status.code}"
        return f"the host did not start the program ({how})" + (f": {said}" if said else "")


def signal_number(name: str) -> int | None:
    """Return the number here of a signal's name without SIG (RFC 4254, 6.10); OpenSSH adds @openssh.com to others."""
    return getattr(signal, f"SIG{name.partition('@')[0]}", None)
