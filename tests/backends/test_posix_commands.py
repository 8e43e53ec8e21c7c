"""Which commands can be executed, and what is told of those that cannot."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import pytest

from backends.base import Program
from backends.errors import DirectoryNotFound, InvalidProgram, ShellNotFound
from backends.forkers import OwnForker
from backends.posix import PosixBackend
from support.sink import CollectingSink
from support.terminals import Terminals, opened, plain_environment

if TYPE_CHECKING:
    from pathlib import Path


def executable(path: Path, content: bytes, mode: int = 0o755) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(mode)
    return path


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory with one of each kind of file that is hard to execute."""
    executable(tmp_path / "script", b"#!/bin/sh\necho script $0 $1\n")
    executable(tmp_path / "without-interpreter-line", b"echo by the shell $1\nexit 3\n")
    executable(tmp_path / "empty", b"")
    executable(tmp_path / "forbidden", b"#!/bin/sh\n", 0o644)
    executable(tmp_path / "bad-interpreter", b"#!/no/such/interpreter\n")
    executable(tmp_path / "binary", b"\x7fELF\0\0nonsense\n")
    executable(tmp_path / "strange\nname\x1b", b"#!/no/such/interpreter\n")
    (tmp_path / "directory").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "dangling").symlink_to("nowhere")
    executable(tmp_path / "bin" / "tool", b"#!/bin/sh\necho tool\n")
    executable(tmp_path / "early" / "tool", b"", 0o644)
    (tmp_path / "early" / "folder").mkdir()
    executable(tmp_path / "early" / "shadow", b"", 0o644)
    return tmp_path


CASES = {
    "not on PATH": (["no-such"], 127, "no-such: command not found"),
    "no such file": (["./no-such"], 127, "./no-such: No such file or directory"),
    "a link to nowhere": (["./dangling"], 127, "./dangling: No such file or directory"),
    "through a file": (["./script/x"], 127, "./script/x: Not a directory"),
    "a directory": (["./directory"], 126, "./directory: Is a directory"),
    "a directory on PATH": (["folder"], 127, "folder: command not found"),
    "no permission": (["./forbidden"], 126, "./forbidden: Permission denied"),
    "no permission on PATH": (["shadow"], 126, "shadow: Permission denied"),
    "no interpreter": (["./bad-interpreter"], 126, "./bad-interpreter: bad interpreter: No such file or directory"),
    "no program": (["./binary"], 126, "./binary: Exec format error"),
    "a circle of links": (["./loop"], 126, "./loop: Too many levels of symbolic links"),
    "unprintable": (["./strange\nname\x1b"], 126, "./strange\ufffdname\ufffd: bad interpreter: No such file"),
    "too many arguments": (["./script", *["x" * 100_000] * 100], 126, "./script: Argument list too long"),
    "a long name": (["./" + "n" * 300], 126, "File name too long"),
}


@pytest.mark.parametrize("case", CASES)
async def test_what_cannot_be_executed_is_told_as_a_shell_tells_it(local: Terminals, place: Path, case: str) -> None:
    command, code, message = CASES[case]
    env = {"PATH": f"{place}/early:{place}/bin:$PATH"}
    terminal = await local.run(*command, cwd=str(place), env=env)
    status = await terminal.wait()
    assert (status.code, status.signal, status.lost) == (code, None, None)
    assert message in status.message
    assert terminal.output.decode() == f"{status.message}\r\n"
    assert terminal.output.count(b"\n") == 1


@pytest.mark.parametrize(
    ("command", "code", "output"),
    [
        (["./script", "a b"], 0, "script {}/./script a b\r\n"),
        (["script"], 0, "script {}/script\r\n"),
        (["tool"], 0, "tool\r\n"),
        (["./without-interpreter-line", "c"], 3, "by the shell c\r\n"),
        (["./empty"], 0, ""),
    ],
)
async def test_commands_are_found_as_the_child_would_find_them(
    local: Terminals, place: Path, command: list[str], code: int, output: str
) -> None:
    # A file that may not be executed does not hide one further down PATH; an empty element is the directory.
    env = {"PATH": f"early:{place}/bin::$PATH"}
    terminal = await local.run(*command, cwd=str(place), env=env)
    status = await terminal.wait()
    assert (status.code, terminal.output.decode()) == (code, output.format(place))


@pytest.mark.parametrize(
    "fields",
    [
        {"command": []},
        {"command": [""]},
        {"command": ["a\0b"]},
        {"command": ["echo", "\ud800"]},
        {"shell": "sh", "rows": 0},
        {"shell": "sh", "cols": 65536},
        {"shell": "sh", "cwd": "a\0b"},
    ],
)
async def test_a_program_that_no_system_can_start_is_refused(local: Terminals, fields: dict[str, object]) -> None:
    with pytest.raises(InvalidProgram):
        await local.environment.spawn(Program("session-1", **fields), CollectingSink())  # type: ignore[arg-type]


async def test_a_directory_that_cannot_be_entered_is_told_with_the_reason(local: Terminals, place: Path) -> None:
    for name, reason in (("no-such", "No such file"), ("script", "Not a directory"), ("loop", "Too many levels")):
        with pytest.raises(DirectoryNotFound, match=reason) as caught:
            await local.sh("exit", cwd=str(place / name))
        assert caught.value.cwd == str(place / name)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "sh"])
async def test_shells_really_run(local: Terminals, shell: str) -> None:
    if shell not in await local.backend.shells():
        pytest.skip(f"{shell} is not installed")
    terminal = await local.run(shell=shell)
    # Asking twice: fish throws away what was typed before it asked the terminal for its features.
    async with asyncio.timeout(30):
        while b"x42y" not in terminal.output:
            await terminal.type(b"echo x(math 6 x 7)y\r" if shell == "fish" else b"echo x$((6*7))y\r")
            await asyncio.sleep(0.3)
    await terminal.type(b"exit 5\r")
    assert (await terminal.wait(30)).code == 5


@pytest.mark.parametrize(
    ("shell", "question"),
    [("bash", b"shopt -q login_shell && echo lo''gin\r"), ("zsh", b"[[ -o login ]] && echo lo''gin\r")],
)
async def test_bash_and_zsh_are_login_shells(local: Terminals, shell: str, question: bytes) -> None:
    if shell not in await local.backend.shells():
        pytest.skip(f"{shell} is not installed")
    terminal = await local.run(shell=shell)
    await terminal.type(question)
    await terminal.sink.until(b"login\r\n")
    await terminal.pty.close(1)


async def test_pwsh_is_started_by_either_name(tmp_path: Path) -> None:
    executable(tmp_path / "pwsh", b'#!/bin/sh\necho "pwsh:$#:$*"\n')
    async with opened(PosixBackend(plain_environment(PATH=f"{tmp_path}:{os.environ['PATH']}"), OwnForker())) as local:
        assert "pwsh" in await local.backend.shells()
        for name in ("pwsh", "powershell"):
            terminal = await local.run(shell=name)
            await terminal.wait()
            assert terminal.output == b"pwsh:1:-NoLogo\r\n"


async def test_only_shells_on_path_are_listed_and_the_users_own_is_the_default(tmp_path: Path) -> None:
    for name in ("sh", "fish"):
        executable(tmp_path / name, f"#!/bin/sh\necho this is {name}\n".encode())
    executable(tmp_path / "zsh", b"#!/bin/sh\n", 0o644)
    for own, expected in (("/usr/bin/fish", ["fish", "sh"]), ("/opt/nu", ["fish", "sh"]), ("/bin/sh", ["sh", "fish"])):
        async with opened(PosixBackend(plain_environment(PATH=str(tmp_path), SHELL=own), OwnForker())) as local:
            assert await local.backend.shells() == expected
            terminal = await local.run()
            await terminal.wait()
            assert terminal.output == f"this is {expected[0]}\r\n".encode()
            for missing in ("zsh", "powershell", "/bin/sh", "rm"):
                with pytest.raises(ShellNotFound) as caught:
                    await local.run(shell=missing)
                assert (caught.value.shell, list(caught.value.available)) == (missing, expected)


async def test_without_any_shell_the_default_is_told_missing(tmp_path: Path) -> None:
    async with opened(PosixBackend(plain_environment(PATH=str(tmp_path)), OwnForker())) as local:
        assert await local.backend.shells() == []
        with pytest.raises(ShellNotFound, match="none"):
            await local.run()
