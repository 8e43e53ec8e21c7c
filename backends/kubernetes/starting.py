"""Starts a program in a container by way of the wrapper, and says why it could not be."""

from __future__ import annotations

import asyncio
import errno
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog

from backends.errors import BackendError, DirectoryNotFound, ShellNotFound
from backends.executable import exec_failed
from backends.kubernetes.channels import Outcome, Stream, answered, open_exec
from backends.kubernetes.processes import not_started
from backends.kubernetes.wrapper import BOOT, Marks, Setup, compose

if TYPE_CHECKING:
    from backends.kubernetes.channels import Channels
    from backends.kubernetes.processes import Processes

_log = structlog.get_logger(__name__)

_START_SECONDS = 60.0
_NOISE_BYTES = 1 << 20
_END_SECONDS = 10.0
"""To end what was started for nobody."""

_DIRECTORY_REASONS = {"m": "No such file or directory", "k": "Not a directory", "d": "Permission denied"}
_PROGRAM_ERRORS = {"127": errno.ENOENT, "126d": errno.EISDIR, "126x": errno.EACCES}


def new_nonce() -> str:
    """Return what no program can guess."""
    return secrets.token_hex(12)


@dataclass
class Started:
    """A program that runs."""

    channels: Channels
    marks: Marks
    early: list[tuple[int, bytes]] = field(default_factory=list)
    """What has come of its output already, by channel."""
    outcome: Outcome | None = None
    """If it has ended already."""


async def start(processes: Processes, setup: Setup) -> Started:
    """Start a program; returns when it runs.

    Raises CannotExecute, DirectoryNotFound, ShellNotFound, InvalidProgram, other BackendErrors; then, and when this
    is cancelled, nothing is left.
    """
    script = compose(setup)
    target = processes.target
    async with answered(f"start a program in pod {target.pod}", _START_SECONDS):
        channels = await open_exec(
            processes.api,
            target,
            ["/bin/sh", "-c", BOOT, setup.mark],
            pulse=processes.pulse,
            tty=setup.size is not None,
        )
        started = Started(channels, Marks(setup.nonce))
        try:
            await _begin(started, setup, script)
        except BaseException:
            await _undo(processes, started, setup.mark)
            raise
    return started


async def _begin(started: Started, setup: Setup, script: bytes) -> None:
    """Send the script and wait until the program runs. Raises Cut and what `start` does."""
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(_send(started.channels, setup, script), name="pod: script")
            await _listen(started, setup)
    except BaseExceptionGroup as group_error:
        raise group_error.exceptions[0] from None


async def _send(channels: Channels, setup: Setup, script: bytes) -> None:
    if setup.size is not None:
        await channels.resize(*setup.size)
    for start_ in range(0, len(script), 16 * 1024):
        await channels.send(Stream.STDIN, script[start_ : start_ + 16 * 1024])


async def _listen(started: Started, setup: Setup) -> None:
    """Read until the wrapper has said that the program runs, or why it does not."""
    said, noise = Stream.STDOUT if setup.size is not None else Stream.STDERR, b""
    while started.marks.begun is None:
        channel, data = await started.channels.receive()
        if channel == said:
            output = started.marks.feed(data)
            noise = (noise + data)[-_NOISE_BYTES:]
            if output:
                started.early.append((channel, output))
        elif channel == Stream.STATUS:
            _raise_failure(Outcome.parse(data), noise)
        elif channel == Stream.STDOUT:
            started.early.append((channel, data))
        if started.marks.refused is not None:
            _raise_refusal(started.marks.refused, setup)


def _raise_failure(outcome: Outcome, noise: bytes) -> None:
    """Say why not even the wrapper ran."""
    message = outcome.message or noise[-300:].decode(errors="replace").strip() or "it ended before it had begun"
    raise not_started(message)


def _raise_refusal(refused: str, setup: Setup) -> None:
    kind, rest = refused[:1], refused[1:]
    if kind == "D":
        raise DirectoryNotFound(setup.cwd or "", _DIRECTORY_REASONS.get(rest, rest))
    if kind == "S":
        raise ShellNotFound(setup.shell, rest.split())
    raise exec_failed(setup.words[0], _PROGRAM_ERRORS.get(rest, errno.ENOENT), found=rest != "127")


async def _undo(processes: Processes, started: Started, mark: str) -> None:
    """End what was started for nobody, and close the stream; what cannot be ended now is found by its mark."""
    await started.channels.close()
    if started.marks.refused is not None:
        return
    try:
        async with asyncio.timeout(_END_SECONDS):
            await processes.end(mark, 0)
    except (BackendError, TimeoutError) as error:
        _log.warning("a program that was not wanted any more was not ended", mark=mark, reason=str(error))
