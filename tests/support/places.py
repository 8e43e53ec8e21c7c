"""Places with files, for tests of what is promised of them."""

from __future__ import annotations

import os
import shutil
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from backends.abilities import Channel, Command, FileError
from backends.files.by_commands import ExecFiles
from support.local_executor import LocalExecutor

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from backends.abilities import Executor, Files

DIRECTORY = "/tmp/files of a test"

_APPLETS = (
    *("cat", "chmod", "dd", "diff", "head", "ln", "ls", "mkdir", "mkfifo", "mv", "readlink", "rm", "rmdir", "sh"),
    *("stat", "tail", "tar", "touch"),
)


@dataclass
class Place:
    """Files somewhere, with a directory for the test, and a shell to look behind their back."""

    files: Files
    executor: Executor
    directory: str

    def __truediv__(self, name: str) -> str:
        return f"{self.directory}/{name}"

    async def sh(self, script: str, *words: str) -> bytes:
        """Run a script in the directory; return what it printed."""
        command = Command(("sh", "-c", f'cd "$0" || exit\n{script}', self.directory, *words))
        execution = await self.executor.execute(command)
        try:
            printed = [data async for channel, data in execution if channel is Channel.STDOUT]
            assert (await execution.wait()).code == 0, script
        finally:
            await execution.close()
        return b"".join(printed)

    async def names(self) -> list[str]:
        """Return what is in the directory."""
        return [info.path.removeprefix(f"{self.directory}/") for info in await self.files.list(self.directory)]


@asynccontextmanager
async def placed(files: Files, executor: Executor, directory: str = DIRECTORY) -> AsyncIterator[Place]:
    """Give a directory there, and remove it."""
    with suppress(FileError):  # a test that was killed left it
        await files.remove(directory, recursive=True)
    await files.make_directory(directory, parents=True)
    yield Place(files, executor, directory)
    await files.remove(directory, recursive=True)


def tools(kind: str, directory: Path) -> dict[str, str]:
    """Return the environment in which the commands are BusyBox's, or coreutils', or BusyBox's with some missing."""
    if kind == "coreutils":
        return {"PATH": os.environ["PATH"]}
    directory.mkdir()
    busybox = shutil.which("busybox")
    assert busybox, "needs busybox"
    for name in _APPLETS:
        if kind != "sparse" or name not in ("stat", "readlink"):
            (directory / name).symlink_to(busybox)
    return {"PATH": str(directory), "ASH_STANDALONE": "0"}


@asynccontextmanager
async def local_place(kind: str, directory: Path, prefix: Sequence[str] = ()) -> AsyncIterator[Place]:
    """Give a place on this machine, reached by commands, in a directory that somebody else removes."""
    executor = LocalExecutor(tools(kind, directory / "tools"), prefix=prefix, half_close=False)
    (directory / "files").mkdir()
    try:
        yield Place(ExecFiles(executor), executor, str(directory / "files"))
    finally:
        await executor.close()
