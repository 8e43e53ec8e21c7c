"""Programs of other users, as the backend runs them by a holder of root's: logins, shells, ends, another holder."""

from __future__ import annotations

import os
import pwd
import signal
from typing import TYPE_CHECKING

import psutil
import pytest

from backends.base import Order
from backends.errors import DirectoryNotFound, UserRefused
from backends.forkers import HolderForker
from backends.local_pty import Patience
from backends.posix import PosixBackend
from support.other_users import (
    ANN,
    BOB,
    FORBIDDEN,
    guarded_holder,
    private_directory,
    private_file,
    start_guarded_holder,
)
from support.terminals import Terminals, is_alive, opened, plain_environment
from support.wait import wait_until

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.platform("linux")

ESCAPED = "setsid sh -c 'echo $$ > {file}; exec sleep 600' < /dev/null > /dev/null 2>&1 &"
"""A process that leaves its session, and whose parent ends at once."""


@pytest.fixture
async def terminals(holder: asyncio.subprocess.Process, place: Path) -> AsyncIterator[Terminals]:
    """Open terminals as a service does that root runs: it may signal everybody, and must not need to."""
    assert holder.returncode is None
    forker = HolderForker(place / "holder", starts=False)
    backend = PosixBackend(plain_environment(), forker, patience=Patience(leftover=0.3))
    async with opened(backend) as opened_terminals:
        yield opened_terminals


async def test_a_program_starts_as_a_login_of_its_user_would(terminals: Terminals) -> None:
    script = "pwd; echo $HOME $USER $LOGNAME $SHELL ${XDG_RUNTIME_DIR-none} ${TMPDIR-none}; umask"
    terminal = await terminals.sh(script, user=ANN)
    assert (await terminal.wait()).code == 0
    home, variables, _ = terminal.output.decode().split("\r\n", 2)
    entry = pwd.getpwnam(ANN)
    assert home == os.path.realpath(entry.pw_dir)  # noqa: ASYNC240 - a look at this machine
    assert variables == f"{entry.pw_dir} {ANN} {ANN} {entry.pw_shell} none none"


async def test_a_user_without_a_home_starts_in_the_root_directory(terminals: Terminals) -> None:
    terminal = await terminals.sh("pwd", user=BOB)
    assert (await terminal.wait()).code == 0
    assert terminal.output == b"/\r\n"
    with pytest.raises(DirectoryNotFound, match="No such file"):
        await terminals.sh("pwd", user=BOB, cwd="somewhere")


async def test_shells_and_their_default_are_those_of_the_user(terminals: Terminals) -> None:
    assert set(await terminals.backend.shells(ANN)) >= {"bash", "sh"}
    terminal = await terminals.run(user=ANN, env={"PS1": "> "})
    await terminal.type(b"whoami; exit 3\n")
    assert (await terminal.wait()).code == 3
    assert f"{ANN}\r\n".encode() in terminal.output


PRIVATE = {
    "a path": (["{home}/tool", "x"], {}, b"tool x\r\n", 0),
    "a path from the directory": (["./tool"], {}, b"tool\r\n", 0),
    "a script without an interpreter": (["./plain", "y"], {}, b"plain y\r\n", 0),
    "a word in a PATH of their own": (["tool"], {"PATH": "{home}:/usr/bin:/bin"}, b"tool\r\n", 0),
    "a word in PATH": (["sh", "-c", "echo $0"], {}, b"/usr/bin/sh\r\n", 0),
    "nothing": (["./nothing"], {}, b"./nothing: No such file or directory\r\n", 127),
    "no such word": (["nothing-of-that-name"], {}, b"nothing-of-that-name: command not found\r\n", 127),
    "no program": (["./text"], {}, b"./text: Permission denied\r\n", 126),
    "a directory": (["/usr"], {}, b"/usr: Permission denied\r\n", 126),
    "somebody else's": (["/root/tool"], {}, b"/root/tool: Permission denied\r\n", 126),
    "no interpreter": (["./broken"], {}, b"./broken: bad interpreter: No such file or directory\r\n", 126),
}


@pytest.mark.parametrize("name", PRIVATE)
async def test_private_programs_run_as_if_their_user_had_looked_for_them(
    terminals: Terminals, place: Path, name: str
) -> None:
    home = private_directory(place / "ann", ANN)
    private_file(home / "tool", ANN, "#!/bin/sh\necho tool $*\n", 0o700)
    private_file(home / "plain", ANN, "echo plain $*\n", 0o700)
    private_file(home / "text", ANN, "text", 0o600)
    private_file(home / "broken", ANN, "#!/no/such/program\n", 0o700)
    words, env, output, code = PRIVATE[name]
    command = [word.format(home=home) for word in words]
    variables = {key: value.format(home=home) for key, value in env.items()}
    terminal = await terminals.run(*command, user=ANN, cwd=str(home), env=variables)
    assert (await terminal.wait()).code == code
    assert terminal.output == output


async def test_the_reason_why_a_user_cannot_be_run_as_is_told(terminals: Terminals) -> None:
    for user, reason in ((FORBIDDEN, "runs no programs as"), ("no-such-user", "no such user")):
        with pytest.raises(UserRefused, match=reason):
            await terminals.run("true", user=user)


@pytest.mark.parametrize("how", ["close", "exit"])
async def test_all_that_a_user_started_ends_with_the_terminal(terminals: Terminals, place: Path, how: str) -> None:
    home = private_directory(place / "ann", ANN)
    escape = ESCAPED.format(file=home / "escaped")
    script = f"trap '' HUP TERM; {escape} (trap '' HUP TERM; sleep 600) & echo $! ; read line; exit 5"
    terminal = await terminals.sh(script, user=ANN)
    await wait_until(lambda: b"\n" in terminal.output, description="its children")
    stubborn = int(terminal.output.split()[0])
    escaped = int(await wait_until(lambda: _content(home / "escaped"), description="who escaped"))
    if how == "close":
        await terminal.pty.close(0.2)
    else:
        await terminal.type(b"\n")
    status = await terminal.wait()
    assert (status.code, status.signal) == ((None, signal.SIGKILL) if how == "close" else (5, None))
    assert not is_alive(stubborn)
    assert not is_alive(escaped)


def _content(path: Path) -> str:
    return path.read_text() if path.exists() else ""


async def test_programs_of_users_are_given_to_the_next_holder(place: Path) -> None:
    first = await start_guarded_holder(place / "holder")
    forker = HolderForker(place / "holder", starts=False)
    backend = PosixBackend(plain_environment(), forker, patience=Patience(leftover=0.3))
    environment = await backend.open(Order("session-1"))
    terminal = await Terminals(backend, environment).sh("echo ready; read line; sleep 600 & read line", user=ANN)
    await wait_until(lambda: b"ready" in terminal.output, description="its start")
    first.kill()
    await first.wait()
    async with guarded_holder(place / "holder") as second:
        assert second.returncode is None
        await terminal.type(b"on\n")

        async def is_held() -> bool:
            link = await forker._reach()
            return [one["pid"] for one in (await link.call("list")).fields["programs"]] == [terminal.pty.pid]

        await wait_until(is_held, description="the next holder to have it")
        pid = terminal.pty.pid
        assert pid is not None
        await wait_until(lambda: psutil.Process(pid).children(), description="its child")
        children = [child.pid for child in psutil.Process(pid).children()]
        await environment.close()
        assert not any(is_alive(each) for each in (pid, *children))
        await backend.close()
