"""What a local program finds when it starts (quality.md A8)."""

from __future__ import annotations

import os
import pwd
import signal
import stat
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from backends.forkers import OwnForker
from backends.posix import PosixBackend
from support.terminals import Terminals, opened, plain_environment
from support.wait import wait_until

pytestmark = pytest.mark.asyncio(loop_factories=["uvloop", "asyncio"])


OF_THE_C_LIBRARY = 1 << 31 | 1 << 32
"""The mask of signals 32 and 33, which glibc keeps to itself (signal(7)): what was inherited of them stays."""


def descriptors(pid: int | None) -> dict[str, str]:
    found = {}
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed since it was listed
            found[link.name] = str(link.readlink())
    return found


@pytest.mark.platform("linux")
async def test_a_child_has_exactly_three_descriptors(local: Terminals, tmp_path: Path) -> None:
    with (tmp_path / "open").open("w") as held:
        os.set_inheritable(held.fileno(), True)  # noqa: FBT003 - positional only
        terminal = await local.run("sleep", "600")
    pid = terminal.pty.pid
    seen: dict[str, str] = {}

    def three() -> bool:
        seen.clear()
        seen.update(descriptors(pid))
        return sorted(seen) == ["0", "1", "2"]

    # The program's own loader opens one for a moment; what was inherited would stay.
    await wait_until(three, description="three descriptors")
    device = set(seen.values())
    assert len(device) == 1
    assert device.pop().startswith("/dev/pts/")
    await terminal.pty.close(1)


@pytest.mark.platform("linux")
async def test_a_child_leads_its_own_session_with_the_terminal_as_its_controlling_one(local: Terminals) -> None:
    terminal = await local.sh("cat /proc/$$/stat; tty")
    await terminal.wait()
    fields = terminal.output.rpartition(b")")[2].split()
    pid = terminal.pty.pid
    _state, _parent, group, session, device, foreground = fields[:6]
    assert (int(group), int(session), int(foreground)) == (pid, pid, pid)
    assert int(device) != 0
    assert fields[-1].startswith(b"/dev/pts/")
    assert session != str(os.getsid(0)).encode()


@pytest.mark.platform("linux")
async def test_a_child_ignores_and_blocks_no_signal(local: Terminals) -> None:
    before = signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    try:
        terminal = await local.run("/bin/cat", "/proc/self/status")
        await terminal.wait()
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR1])
        signal.signal(signal.SIGUSR2, before)
    status = dict(line.split(b":\t", 1) for line in terminal.output.splitlines() if b":\t" in line)
    left = {name: int(status[name], 16) & ~OF_THE_C_LIBRARY for name in (b"SigIgn", b"SigBlk")}
    assert left == {b"SigIgn": 0, b"SigBlk": 0}


async def test_secrets_of_the_service_do_not_reach_its_children() -> None:
    canaries = {
        name: f"canary-{number}"
        for number, name in enumerate(
            [
                *("API_KEYS", "REDIS_URL", "DATABASE_URL", "AWS_SECRET_ACCESS_KEY", "GITHUB_TOKEN", "SSH_AUTH_SOCK"),
                *("DISPLAY", "DBUS_SESSION_BUS_ADDRESS", "LD_PRELOAD", "PYTHONPATH", "VIRTUAL_ENV", "BASH_ENV"),
                *("PYTHONSTARTUP", "ENV", "HTTP_PROXY", "TERM", "COLORTERM", "PWD", "OLDPWD", "XTERM_VERSION"),
            ]
        )
    }
    allowed = {"LC_TIME": "de_DE.UTF-8", "TZ": "Europe/Berlin", "TMPDIR": "/var/tmp", "XDG_RUNTIME_DIR": "/run/user/0"}
    async with opened(PosixBackend(plain_environment(**canaries, **allowed), OwnForker())) as local:
        terminal = await local.run("env")
        await terminal.wait()
    assert b"canary" not in terminal.output
    variables = dict(line.split("=", 1) for line in terminal.output.decode().splitlines())
    user = pwd.getpwuid(os.geteuid())
    assert set(variables.pop("TERMINAL_PROCESS_TREE")) <= set("0123456789abcdef")
    assert variables == {
        **plain_environment(),
        **allowed,
        "USER": user.pw_name,
        "LOGNAME": user.pw_name,
        "SHELL": user.pw_shell,
        "TERM": "xterm-256color",
        "COLORTERM": "truecolor",
        "TERMINAL_SESSION_ID": "session-1",
    }


async def test_the_marks_of_a_session_cannot_be_overridden(local: Terminals) -> None:
    terminal = await local.run("env", env={"TERMINAL_SESSION_ID": "mine", "TERMINAL_PROCESS_TREE": "mine"})
    await terminal.wait()
    assert b"mine" not in terminal.output


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("/opt/bin:$PATH", "/opt/bin:{}"),
        ("${PATH}:/opt/bin", "{}:/opt/bin"),
        ("$PATHS:$HOME:$$:\\1", "$PATHS:$HOME:$$:\\1"),
        ("$PATH$PATH", "{}{}"),
    ],
)
async def test_a_variable_may_refer_to_itself_only(local: Terminals, value: str, expected: str) -> None:
    terminal = await local.run("/usr/bin/printenv", "PATH", env={"PATH": value})
    await terminal.wait()
    path = plain_environment()["PATH"]
    assert terminal.output.decode().rstrip("\r\n") == expected.replace("{}", path)


async def test_a_program_starts_in_the_directory_asked_for(local: Terminals, tmp_path: Path) -> None:
    for cwd, expected in ((None, "/"), (str(tmp_path), str(tmp_path)), ("tmp", "/tmp"), ("/usr/..", "/")):
        terminal = await local.run("/bin/pwd", "-P", cwd=cwd)
        await terminal.wait()
        assert terminal.output.decode().rstrip("\r\n") == expected


async def test_without_a_home_a_program_starts_at_the_root(local: Terminals) -> None:
    terminal = await local.run("/bin/pwd", env={"HOME": "/no-such-home"})
    await terminal.wait()
    assert terminal.output == b"/\r\n"


async def test_a_program_starts_at_the_size_asked_for(local: Terminals) -> None:
    terminal = await local.run("stty", "size", rows=51, cols=123)
    await terminal.wait()
    assert terminal.output == b"51 123\r\n"


async def test_a_terminal_erases_characters_not_bytes(local: Terminals) -> None:
    terminal = await local.run("stty", "-a")
    await terminal.wait()
    assert b" iutf8" in terminal.output


@pytest.mark.platform("linux")
async def test_the_terminal_device_belongs_to_its_user_alone(local: Terminals) -> None:
    terminal = await local.sh("tty; read line")
    await terminal.sink.until(b"\n")
    status = os.stat(terminal.output.decode().strip())  # noqa: PTH116 - a device in memory
    assert stat.S_IMODE(status.st_mode) & 0o007 == 0
    assert status.st_uid == os.geteuid()
    await terminal.pty.close(1)


async def test_a_service_without_standard_descriptors_still_gives_its_children_three(tmp_path: Path) -> None:
    program = tmp_path / "bare.py"
    result = tmp_path / "result"
    program.write_text(
        "import asyncio, os, sys\n"
        "for descriptor in (0, 1, 2): os.close(descriptor)\n"
        "from backends.forkers import OwnForker\n"
        "from backends.posix import PosixBackend\n"
        "from support.terminals import opened, plain_environment\n"
        "async def main():\n"
        "    async with opened(PosixBackend(plain_environment(), OwnForker())) as local:\n"
        "        terminal = await local.sh('test -t 0 && test -t 1 && test -t 2 && ls /proc/$$/fd')\n"
        "        status = await terminal.wait()\n"
        "        open(sys.argv[1], 'w').write(f'{status.code} {terminal.output.split()}')\n"
        "asyncio.run(main())\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    # PythonPath first: pytest's own is not inherited.
    subprocess.run([sys.executable, str(program), str(result)], env=environment, timeout=30, check=False)  # noqa: ASYNC221
    assert result.read_text() == "0 [b'0', b'1', b'2']"
