"""Terminals on a host reached by SSH: how programs begin, are signalled, and end with all they started."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
from typing import TYPE_CHECKING, Any, cast

import pytest

from backends.base import ExitStatus, Order
from backends.errors import InvalidProgram, UserRefused
from backends.ssh.credentials import Credentials
from backends.ssh.environment import SshEnvironment
from backends.ssh.link import Hop
from backends.ssh.pool import SshPool
from backends.ssh.trust import RecordedKeys
from support.sshd import Sshd, SshPlace, can_mount, reached, running_sshd
from support.terminals import Terminals, is_alive
from support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from backends.abilities import Connection
    from backends.base import Backend


@pytest.fixture
async def place(sshd: Sshd, tmp_path: Path) -> AsyncIterator[SshPlace]:
    async with reached(sshd, tmp_path) as place:
        yield place


@pytest.fixture
async def terminals(place: SshPlace) -> Terminals:
    return place.terminals


async def test_a_terminal_has_its_kind_its_size_and_its_modes(terminals: Terminals) -> None:
    terminal = await terminals.sh('echo "$TERM"; stty size; stty -a', rows=31, cols=97, env={"TERM": "vt100"})
    await terminal.wait()
    lines = terminal.output.decode().replace("\r", "").splitlines()
    assert lines[:2] == ["vt100", "31 97"]
    modes = " ".join(lines)
    for mode in ("intr = ^C;", "erase = ^?;", " iutf8", " icanon", " echo ", " onlcr"):
        assert mode in modes


async def test_a_new_size_is_told_to_the_program(terminals: Terminals) -> None:
    terminal = await terminals.sh("trap 'stty size' WINCH; echo ready; while :; do sleep 0.05; done")
    await terminal.sink.until(b"ready")
    terminal.pty.resize(40, 120)
    await terminal.sink.until(b"40 120")
    await terminal.pty.close(0.2)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM, signal.SIGHUP])
async def test_an_exit_by_signal_is_told(terminals: Terminals, number: signal.Signals) -> None:
    terminal = await terminals.sh(f"kill -{number.value} $$")
    assert await terminal.wait() == ExitStatus(signal=number)


async def test_a_signal_reaches_the_foreground_program_and_not_the_shell(terminals: Terminals) -> None:
    terminal = await terminals.run(shell="bash")
    await terminal.type(b"trap 'echo shell hit' USR1; sh -c 'trap \"echo program hit; exit\" USR1; echo re''ady;")
    await terminal.type(b" while :; do sleep 0.05; done'\r")
    await terminal.sink.until(b"ready\r\n")
    terminal.pty.signal(signal.SIGUSR1)
    await terminal.sink.until(b"program hit\r\n")
    with pytest.raises(ValueError, match="9999"):
        terminal.pty.signal(9999)
    await terminal.type(b"exit 4\r")
    assert (await terminal.wait()).code == 4
    assert b"shell hit\r\n" not in terminal.output


async def test_an_interrupt_key_is_typed_where_the_host_takes_input(terminals: Terminals) -> None:
    terminal = await terminals.sh("trap 'echo interrupted; exit 6' INT; echo ready; while :; do sleep 0.05; done")
    await terminal.sink.until(b"ready")
    assert not terminal.pty.interrupt()
    await terminal.type(b"\x03")
    await terminal.sink.until(b"^Cinterrupted")
    assert (await terminal.wait()).code == 6


@pytest.mark.parametrize("raw", [False, True])
async def test_an_interrupt_overtakes_input_that_the_host_does_not_take(terminals: Terminals, *, raw: bool) -> None:
    mode = "stty raw -echo;" if raw else ""
    script = f"{mode} trap 'echo interrupted; exit 6' INT; echo ready; while :; do sleep 0.05; done"
    terminal = await terminals.sh(script)
    await terminal.sink.until(b"ready")
    line = b"x" * 99 + b"\n"

    async def takes_nothing() -> bool:
        return not terminal.pty.write(line * 640)

    await wait_until(takes_nothing, description="no room is left")
    assert terminal.pty.interrupt()
    if raw:
        assert terminal.pty.write(b"later") == 0
        await asyncio.sleep(0.3)
        assert b"interrupted" not in terminal.output
        await terminal.pty.close(0.2)
    else:
        await terminal.sink.until(b"interrupted")
        assert (await terminal.wait()).code == 6


async def test_what_a_program_left_running_ends_with_it(terminals: Terminals) -> None:
    script = "trap '' HUP; setsid sh -c 'trap \"\" HUP; sleep 1003' & nohup sleep 1001 & echo $! $$; sleep 0.2"
    terminal = await terminals.sh(script)
    assert (await terminal.wait()).code == 0
    assert not any(is_alive(int(pid)) for pid in re.findall(rb"\d+", terminal.output))
    assert not running("sleep\x001003")


async def test_closing_ends_what_hides_and_what_ignores_hang_ups(terminals: Terminals) -> None:
    hidden = "(setsid sh -c 'trap \"\" HUP TERM; while :; do sleep 1002; done' &)"
    terminal = await terminals.sh(f"trap '' HUP; {hidden}; echo $$; while :; do sleep 0.05; done")
    await terminal.sink.until(b"\n")
    await wait_until(lambda: running("sleep\x001002"), description="it hides")
    leader = int(terminal.output)
    assert terminal.pty.pid == leader
    await terminal.pty.close(0.2)
    assert (await terminal.wait()).signal == signal.SIGTERM
    assert not is_alive(leader)
    assert not running("sleep\x001002")


def running(words: str) -> list[int]:
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):  # noqa: PTH208
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as line:  # noqa: PTH123
                if words.encode() in line.read():
                    found.append(int(pid))
        except OSError:
            continue
    return found


@pytest.mark.parametrize("shell", ["/bin/sh", "/bin/bash", "/usr/bin/zsh", "/usr/bin/fish"])
async def test_words_arrive_as_they_are_through_every_login_shell(shell: str, tmp_path: Path) -> None:
    if shutil.which(shell) is None or not can_mount():
        shell = "/bin/sh"  # a user's own login shell cannot be chosen
    words = [
        "plain",
        "two words",
        "it's",
        '"quoted"',
        "$HOME `x` $(y)",
        "a\\b\\\\c\\",
        "!x !!",
        "*?[a]~",
        "",
        "-n",
        "ä€",
        "a\nb",
    ]
    async with running_sshd(tmp_path / "sshd", shell=shell) as server, reached(server, tmp_path) as place:
        execution = await place.execute("printf", "%s|", *words)
        assert b"".join([data async for _, data in execution]).decode() == "".join(f"{word}|" for word in words)
        terminal = await place.terminals.run("printf", "%s|", *words)
        await terminal.wait()
        assert terminal.output.decode().replace("\r", "") == "".join(f"{word}|" for word in words)
        own = await place.terminals.run()
        await own.pty.close(0.5)


async def test_what_login_scripts_say_is_output_and_hides_nothing(tmp_path: Path) -> None:
    if not can_mount():
        pytest.skip("needs root and mount namespaces, to have a home of its own")
    async with running_sshd(tmp_path / "sshd") as server:
        (tmp_path / "sshd" / "home" / ".bashrc").write_text("echo welcome; echo oops >&2\n")
        async with reached(server, tmp_path) as place:
            terminal = await place.terminals.sh("echo works; exit 3")
            assert (await terminal.wait()).code == 3
            assert terminal.output == b"welcome\r\noops\r\nworks\r\n"
            assert next(iter(await place.backend.shells())) == "bash"
            missing = await place.terminals.run("no-such-command")
            assert missing.output == b"no-such-command: command not found\r\n"


async def test_directories_are_entered_from_home(terminals: Terminals) -> None:
    for cwd, shown in {"/usr": b"/usr\r\n", None: b"/home\r\n", ".": b"/home\r\n"}.items():
        terminal = await terminals.sh("pwd", cwd=cwd)
        await terminal.wait()
        assert terminal.output.endswith(shown) or not can_mount()


async def test_a_path_is_taken_and_extended(terminals: Terminals, tmp_path: Path) -> None:
    (tmp_path / "greet").write_text("#!/bin/sh\necho hello\n")
    (tmp_path / "greet").chmod(0o755)
    env = {"PATH": f"{tmp_path}:$PATH"}
    terminal = await terminals.run("greet", env=env)
    assert (await terminal.wait()).code == 0
    shell = await terminals.run(shell="bash", env=env)
    await shell.type(b"greet; ls /dev/null; exit 3\r")
    assert (await shell.wait()).code == 3
    for output in (terminal.output, shell.output):
        assert b"hello\r\n" in output
    assert b"\n/dev/null\r\n" in shell.output


async def test_what_a_host_cannot_give_is_refused(place: SshPlace) -> None:
    with pytest.raises(UserRefused, match="somebody"):
        await place.terminals.sh("true", user="somebody")
    with pytest.raises(InvalidProgram, match="rows"):
        await place.terminals.sh("true", rows=0)
    with pytest.raises(InvalidProgram, match="command"):
        await place.terminals.run("a\0b")
    for fields in ({"image": "x"}, {"gpus": 1}, {"cpus": 1.0}, {"memory_bytes": 1}):
        wanted: dict[str, Any] = fields
        with pytest.raises(InvalidProgram, match=next(iter(fields))):
            await place.backend.open(Order("session-1", **wanted))


class Stream:
    """A connection of this process's own, as a tunnel would give it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def read(self) -> bytes:
        return await self._reader.read(65536)

    async def write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def write_eof(self) -> None:
        self._writer.write_eof()

    async def close(self) -> None:
        self._writer.close()


class Detour:
    """A `Route` by way of this process's own TCP connections."""

    def __init__(self, server: Sshd) -> None:
        self._server = server
        self.streams: list[Stream] = []

    async def open(self) -> Connection:
        stream = Stream(*await asyncio.open_connection(self._server.host, self._server.port))
        self.streams.append(stream)
        return stream


async def test_a_host_is_reached_over_a_stream_of_another_kind(sshd: Sshd, tmp_path: Path) -> None:
    route = Detour(sshd)
    trust = RecordedKeys(tmp_path / "known_hosts", listed=(sshd.public_key,))
    pool = SshPool([Hop("ws-1", 22, sshd.user, Credentials(keys=(str(sshd.client_key),)), trust, route)])
    environment = SshEnvironment(pool, Order("session-1"))
    terminals = Terminals(cast("Backend", None), environment)  # there is only the environment
    terminal = await terminals.sh("stty raw -echo; echo ready; exec cat")
    await terminal.sink.until(b"ready\n")
    data = os.urandom(300_000)
    await terminal.type(data)
    await terminal.sink.until_size(len(data) + 6)
    assert terminal.output.endswith(data)
    await route.streams[0].close()
    status = await terminal.wait()
    assert status.lost is not None
    assert "ws-1:22" in status.message
    again = await terminals.sh("exit 3")
    assert (await again.wait()).code == 3
    assert len(route.streams) == 2
    await environment.close()
    await pool.close()
