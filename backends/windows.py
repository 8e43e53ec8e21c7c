"""Shells and commands on this machine, where it is Windows. Only this module and windows_pty import pywinpty.

Not run on this project's own machines, which have no Windows: it is type-checked, and the shared contract tests
(tests/backends/test_contract.py) run it wherever they are run on Windows.
"""

from __future__ import annotations

import asyncio
import secrets
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backends.base import Capabilities
from backends.environment import check_text, child_environment, windows_base
from backends.errors import DirectoryNotFound, InvalidProgram, OutOfResources, ShellNotFound
from backends.executable import NOT_EXECUTABLE, NOT_FOUND, CannotExecute, printable
from backends.failed_pty import tell_failure
from backends.windows_pty import WindowsPty, end_tree

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from backends.base import Order, Program, Pty, Sink, Survivor

_SHELLS: Mapping[str, tuple[str, ...]] = {
    "powershell": ("-NoLogo",),
    "pwsh": ("-NoLogo",),
    "cmd": (),
    "wsl": (),
}
_END_SECONDS = 1.0


class WindowsBackend:
    """This machine, as the user the service runs as; `environment` is where children's variables come from."""

    name = "local"
    capabilities = Capabilities()

    def __init__(self, environment: Mapping[str, str]) -> None:
        """Keep the allow-listed part of the environment."""
        self._environment = windows_base(environment)

    async def shells(self, user: str | None = None) -> Sequence[str]:  # noqa: ARG002 - refused by the settings
        """Return the known shells on PATH."""
        return await asyncio.to_thread(_available, _path(self._environment))

    async def open(self, order: Order) -> WindowsEnvironment:
        """Return an environment: there is nothing to provision."""
        check_text("session_id", order.session_id)
        return WindowsEnvironment(self._environment)

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
        """Do nothing: nothing is kept here."""


class WindowsEnvironment:
    """The terminals of one session on this machine."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        """Start with none."""
        self._environment = environment
        self._open: set[WindowsPty] = set()

    async def spawn(self, program: Program, sink: Sink) -> Pty:
        """Start a program; see `Environment.spawn`."""
        launch = asyncio.get_running_loop().run_in_executor(None, _launch, program, self._environment)
        try:
            terminal = await asyncio.shield(launch)
        except asyncio.CancelledError:
            launch.add_done_callback(_discard)
            raise
        except CannotExecute as failure:
            return tell_failure(failure, sink)
        pty = WindowsPty(terminal, sink, self._open.discard)
        self._open.add(pty)
        return pty

    async def adopt(self, survivor: Survivor, sink: Sink, position: int = 0) -> Pty:  # noqa: ARG002
        """Never called: there are no survivors."""
        raise AssertionError("nothing outlives this process")

    async def close(self) -> None:
        """End all terminals that are still open, at the same time."""
        async with asyncio.TaskGroup() as closing:
            for pty in list(self._open):
                closing.create_task(pty.close(_END_SECONDS))


def _discard(launch: asyncio.Future[Any]) -> None:
    """End what a cancelled spawn has started."""
    if not launch.cancelled() and launch.exception() is None:
        end_tree(launch.result().pid, 0.0)


def _launch(program: Program, base: Mapping[str, str]) -> Any:
    """Check and start a program, in a thread; return a winpty.PTY.

    Raises CannotExecute, ShellNotFound, DirectoryNotFound, InvalidProgram, OutOfResources.
    """
    import winpty  # noqa: PLC0415 - exists on Windows only

    environment = child_environment(base, program, secrets.token_hex(16))
    word, *arguments = _command(program, _path(environment))
    cwd = program.cwd or _variable(environment, "USERPROFILE") or str(Path.home())
    if not Path(cwd).is_dir():
        raise DirectoryNotFound(cwd, "no such directory")
    file = shutil.which(word, path=_path(environment))
    if file is None:
        raise CannotExecute(NOT_FOUND, f"{printable(word)}: command not found")
    try:
        terminal = winpty.PTY(program.cols, program.rows)
    except winpty.WinptyError as error:
        raise OutOfResources(str(error)) from None
    block = "".join(f"{name}={value}\0" for name, value in environment.items())
    try:
        terminal.spawn(file, cmdline=" " + subprocess.list2cmdline(arguments), cwd=cwd, env=block)
    except winpty.WinptyError as error:
        raise CannotExecute(NOT_EXECUTABLE, f"{printable(word)}: {printable(str(error))}") from None
    return terminal


def _command(program: Program, path: str) -> list[str]:
    if program.command is not None:
        if not program.command or not program.command[0]:
            raise InvalidProgram("command", "has no program to execute")
        for index, word in enumerate(program.command):
            check_text(f"command[{index}]", word)
        return list(program.command)
    available = _available(path)
    shell = program.shell or next(iter(available), "cmd")
    if shell not in available:
        raise ShellNotFound(shell, available)
    return [shell, *_SHELLS[shell]]


def _available(path: str) -> list[str]:
    return [name for name in _SHELLS if shutil.which(name, path=path)]


def _path(environment: Mapping[str, str]) -> str:
    return _variable(environment, "PATH")


def _variable(environment: Mapping[str, str], wanted: str) -> str:
    """Look a variable up as Windows does, without regard to case."""
    return next((value for name, value in environment.items() if name.upper() == wanted), "")
