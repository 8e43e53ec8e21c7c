"""Containers: processes started by the runtime program, seen from the event loop."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import socket
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from support.kube.descriptors import Descriptor

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PROGRAM = Path(__file__).with_name("runtime.py")
MOST_BYTES = 1 << 17
SIZE = (24, 80)


class NotStarted(Exception):
    """A program could not be started: there is none of that name, or it may not be run."""


@dataclass(eq=False)
class Running:
    """A process of a container and the near ends of its streams."""

    pid: int
    """As this machine numbers it."""
    stdin: Descriptor
    stdout: Descriptor
    stderr: Descriptor | None
    """None with a terminal, whose master is stdin and stdout."""
    exited: asyncio.Future[int]
    """128 + n for signal n, as Kubernetes has it."""

    @property
    def is_tty(self) -> bool:
        return self.stdin is self.stdout

    def close(self) -> None:
        for descriptor in (self.stdin, self.stdout, self.stderr):
            if descriptor is not None:
                descriptor.close()


@dataclass(frozen=True, kw_only=True)
class Sandbox:
    """What a container is made of."""

    name: str
    pod: str
    hostname: str
    root: Path
    mounts: Sequence[tuple[str, str, bool]] = ()
    """Source, target and whether it is read-only."""
    is_read_only: bool = False


@dataclass(frozen=True, kw_only=True)
class User:
    """As whom a container's programs run, and what they may do."""

    uid: int = 0
    gid: int = 0
    groups: Sequence[int] = ()
    """Supplementary ones."""
    drops: bool = False
    """Without any capability."""
    no_new_privileges: bool = False


ROOT = User()


@dataclass(frozen=True, kw_only=True)
class Command:
    """What to run in a container."""

    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: str = "/"
    user: User = ROOT
    tty: bool = False
    stdin: bool = True

    @property
    def request(self) -> dict[str, Any]:
        return {
            "argv": [*self.argv],
            "env": {**self.env},
            "cwd": self.cwd,
            **asdict(self.user),
            "tty": self.tty,
            "size": SIZE,
        }


class Runtime:
    """The runtime program; needs root."""

    def __init__(self) -> None:
        self._ids = itertools.count()
        self._answers: dict[int, asyncio.Future[tuple[dict[str, Any], list[int]]]] = {}
        self._exits: dict[int, asyncio.Future[int]] = {}
        self._early: dict[int, int] = {}

    async def start(self) -> None:
        self._channel, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._channel.settimeout(0)
        words = (sys.executable, "-I", "-S", str(PROGRAM), str(there.fileno()))
        with there:
            self._process = await asyncio.create_subprocess_exec(
                *words, pass_fds=[there.fileno()], stdin=asyncio.subprocess.DEVNULL
            )
        asyncio.get_running_loop().add_reader(self._channel, self._receive)

    async def close(self) -> None:
        """End all containers."""
        asyncio.get_running_loop().remove_reader(self._channel)
        self._channel.close()
        await self._process.wait()
        for exited in self._exits.values():
            exited.cancel()
        for future in self._answers.values():
            future.cancel()

    def _receive(self) -> None:
        with suppress(BlockingIOError):
            while True:
                data, descriptors, _, _ = socket.recv_fds(self._channel, MOST_BYTES, 1)
                if not data:
                    raise AssertionError("the container runtime has ended")
                message = json.loads(data)
                if "exited" in message:
                    self._note_exit(message["exited"], message["code"])
                    continue
                answer = self._answers.pop(message["id"])
                if answer.cancelled():
                    self._drop(message.get("pid", 0), descriptors)
                else:
                    answer.set_result((message, descriptors))

    def _drop(self, pid: int, descriptors: list[int]) -> None:
        """End what was started for somebody who is gone."""
        for descriptor in descriptors:
            os.close(descriptor)
        if pid and pid not in self._early:
            number = next(self._ids)
            self._answers[number] = asyncio.get_running_loop().create_future()
            message = {"id": number, "do": "kill", "pid": pid, "signal": 9}
            socket.send_fds(self._channel, [json.dumps(message).encode()], [])

    def _note_exit(self, pid: int, code: int) -> None:
        exited = self._exits.pop(pid, None)
        if exited is None:
            self._early[pid] = code  # the answer that tells of its start is on the way
        elif not exited.done():
            exited.set_result(code)

    async def _ask(self, do: str, *descriptors: int, **fields: Any) -> tuple[dict[str, Any], list[int]]:
        number = next(self._ids)
        answer = asyncio.get_running_loop().create_future()
        self._answers[number] = answer
        message = json.dumps({"id": number, "do": do, **fields}).encode()
        socket.send_fds(self._channel, [message], descriptors)
        answered, given = await answer
        if "error" in answered:
            raise OSError(answered["error"], answered["message"])
        return answered, given

    async def open_pod(self, pod: str) -> None:
        await self._ask("open", pod=pod)

    async def close_pod(self, pod: str) -> None:
        await self._ask("close", pod=pod)

    async def run(self, sandbox: Sandbox, command: Command) -> Running:
        """Start a container; raise NotStarted."""
        return await self._start(
            command,
            do="start",
            container=sandbox.name,
            pod=sandbox.pod,
            hostname=sandbox.hostname,
            root=str(sandbox.root),
            mounts=list(sandbox.mounts),
            read_only=sandbox.is_read_only,
        )

    async def exec(self, container: str, command: Command) -> Running:
        """Start one more process in a container; raise NotStarted, or ProcessLookupError if the container is gone."""
        return await self._start(command, do="exec", container=container)

    async def _start(self, command: Command, **fields: Any) -> Running:
        pairs = [] if command.tty else [os.pipe() for _ in range(3)]
        theirs = [read if number == 0 else write for number, (read, write) in enumerate(pairs)]
        ours = [write if number == 0 else read for number, (read, write) in enumerate(pairs)]
        try:
            answered, given = await self._ask(fields.pop("do"), *theirs, **fields, **command.request)
        except BaseException as error:
            for descriptor in ours:
                os.close(descriptor)
            if isinstance(error, ProcessLookupError) or not isinstance(error, OSError):
                raise
            raise NotStarted(_in_words(error, command.argv[0])) from error
        finally:
            for descriptor in theirs:
                os.close(descriptor)
        ends = [Descriptor(number) for number in given or ours]
        stdin, stdout, stderr = (ends[0], ends[0], None) if command.tty else ends
        running = Running(answered["pid"], stdin, stdout, stderr, self._exit_of(answered["pid"]))
        if not (command.stdin or command.tty):
            running.stdin.close()
        return running

    def _exit_of(self, pid: int) -> asyncio.Future[int]:
        exited: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        if pid in self._early:
            exited.set_result(self._early.pop(pid))
        else:
            self._exits[pid] = exited
        return exited

    async def kill(self, running: Running, signal: int) -> None:
        if not running.exited.done():
            await self._ask("kill", pid=running.pid, signal=int(signal))

    async def dial(self, pod: str, port: int) -> Descriptor:
        """Connect to a port of a pod; raise OSError."""
        _, given = await self._ask("dial", pod=pod, port=port)
        return Descriptor(given[0])


def _in_words(error: OSError, program: str) -> str:
    reason = {
        2: f'exec: "{program}": executable file not found in $PATH'
        if "/" not in program
        else "no such file or directory",
        13: f'exec: "{program}": permission denied',
    }.get(error.errno or 0, str(error))
    return f"unable to start container process: {reason}: unknown"
