"""Durable sessions elsewhere: what they need there, what is theirs there, and what people are told of the link."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import signal
import stat
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from backends.base import ExitStatus, Lost, Notice, Order, Program
from backends.durable.patience import LinkPatience
from backends.errors import AccessRefused, NotProvided, Unreachable, UserRefused
from support.disk import fill, small_disk
from support.durable_place import DurableBackend, Way
from support.holders import held_pids, holder_pid
from support.other_users import BOB, need_root
from support.sink import CollectingSink
from support.terminals import Terminal, Terminals, is_alive, opened
from support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

OLD_PYTHON = f"""#!{sys.executable}
import sys
words = sys.argv[sys.argv.index("-c") + 1 :]
sys.version_info = (3, 6, 9, "final", 0)
exec(words[0])
"""


@pytest.fixture
async def terminals(tmp_path: Path) -> AsyncIterator[Terminals]:
    async with opened(DurableBackend(tmp_path)) as terminals:
        yield terminals


@asynccontextmanager
async def place(directory: Path, **options: Any) -> AsyncIterator[DurableBackend]:
    backend = DurableBackend(directory, **options)
    try:
        yield backend
    finally:
        await backend.stop()


def durable(terminals: Terminals) -> DurableBackend:
    assert isinstance(terminals.backend, DurableBackend)
    return terminals.backend


def mode(file: Path) -> int:
    return stat.S_IMODE(file.stat().st_mode)


# -- what it needs there


async def test_without_python_there_it_is_refused_with_the_reason(tmp_path: Path) -> None:
    async with place(tmp_path, durable_python="no-such-python") as backend:
        with pytest.raises(NotProvided, match=r"there is no 'no-such-python': .*not found"):
            await backend.check()


async def test_with_a_python_that_is_too_old_it_is_refused_with_the_reason(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text(OLD_PYTHON)
    python.chmod(0o755)
    async with place(tmp_path, durable_python=str(python)) as backend:
        with pytest.raises(NotProvided, match=r"needs Python >= 3.8 there; .* is 3.6"):
            await backend.check()


async def test_what_is_no_python_at_all_is_told_in_its_own_words(tmp_path: Path) -> None:
    async with place(tmp_path, durable_python="cat") as backend:
        with pytest.raises(NotProvided, match="no holder can be started there: cat: "):
            await backend.check()


async def test_a_home_that_cannot_be_written_to_is_no_obstacle(tmp_path: Path) -> None:
    async with place(tmp_path, way=Way("/sys")) as backend:
        directory = Path((await backend.target.reach()).surroundings.directory)
        try:
            assert directory.parts[1:3] == ("var", "tmp")
            assert mode(directory) == mode(directory.parent) == 0o700
            await backend.stop_holder(directory)
        finally:
            shutil.rmtree(directory)


async def test_a_full_disk_there_is_told_and_is_no_matter_once_there_is_room(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    with small_disk(disk, size_bytes=1 << 20):
        async with place(tmp_path, durable_directory=str(disk / "holder")) as backend:
            ballast = fill(disk)
            with pytest.raises(NotProvided, match="No space left on device"):
                await backend.check()
            assert not list(disk.glob("holder/*.pyz*")), "nothing half written is left"
            ballast.unlink()
            await backend.check()
            await backend.stop()


def belongs_to_another(directory: Path) -> None:
    need_root()
    directory.mkdir(0o700)
    os.chown(directory, pwd.getpwnam(BOB).pw_uid, -1)


def is_a_link(directory: Path) -> None:
    elsewhere = directory.with_name("elsewhere")
    elsewhere.mkdir(0o700)
    directory.symlink_to(elsewhere)


def is_open_to_others(directory: Path) -> None:
    directory.mkdir()
    directory.chmod(0o777)


def is_below_what_is_open(directory: Path) -> None:
    directory.mkdir(0o700)
    directory.parent.chmod(0o777)


def is_a_file(directory: Path) -> None:
    directory.touch(0o600)


@pytest.mark.parametrize(
    ("plant", "reason"),
    [
        (belongs_to_another, "belongs to another user"),
        (is_a_link, "it is no directory"),
        (is_open_to_others, "others can write to it"),
        (is_below_what_is_open, "others can write to /"),
        (is_a_file, "it is no directory"),
    ],
)
async def test_a_directory_that_others_have_planted_is_not_used(tmp_path: Path, plant: Any, reason: str) -> None:
    planted = tmp_path / "shared" / "holder"
    planted.parent.mkdir()
    planted.parent.chmod(0o1777)
    await asyncio.to_thread(plant, planted)
    async with place(tmp_path, durable_directory=str(planted)) as backend:
        with pytest.raises(NotProvided, match=reason):
            await backend.check()
    assert not list(planted.parent.rglob("*.pyz"))


async def test_a_packed_holder_that_was_changed_there_is_replaced(tmp_path: Path) -> None:
    async with place(tmp_path) as backend:
        await backend.check()
        await backend.stop()
        (packed,) = backend.home.glob(".cache/terminal-service/*.pyz")
        whole = packed.read_bytes()
        assert mode(packed) == 0o600
        packed.write_bytes(whole[:-1] + b"x")
        await backend.check()
        assert packed.read_bytes() == whole


async def test_the_packed_holder_is_sent_once(tmp_path: Path) -> None:
    async with place(tmp_path) as backend:
        await backend.check()
        await backend.close()
        await backend.check()
        first, second = (execution.taken for execution in backend.way.executions)
        assert first > 40_000
        assert second < 5_000


# -- programs


async def test_a_program_has_the_environment_of_its_place(tmp_path: Path) -> None:
    way = Way(tmp_path / "home", PYTHONPATH="/of/the/place", TERMINAL_PROCESS_TREE="of another", SSH_AUTH_SOCK="/x")
    async with opened(DurableBackend(tmp_path, way=way)) as terminals:
        terminal = await terminals.sh("pwd; env", cwd="/usr", env={"PATH": "/more:$PATH"})
        await terminal.wait()
        lines = terminal.output.decode().split("\r\n")
        assert lines[0] == "/usr"
        assert "PYTHONPATH=/of/the/place" in lines
        assert "SSH_AUTH_SOCK=/x" in lines, "without SSH it does not end with the link"
        assert f"HOME={tmp_path / 'home'}" in lines
        (path,) = (line for line in lines if line.startswith("PATH="))
        assert path.startswith("PATH=/more:")
        assert path.endswith(way.environment["PATH"]), "a wrapper of Python may have put something before it"
        assert "TERMINAL_SESSION_ID=session-1" in lines
        assert "TERMINAL_PROCESS_TREE=of another" not in lines


async def test_a_program_starts_at_home_and_a_login_shell_is_the_users(terminals: Terminals) -> None:
    terminal = await terminals.sh("pwd")
    await terminal.wait()
    assert terminal.output.decode().strip() == str(durable(terminals).home)


async def test_another_user_is_refused(terminals: Terminals) -> None:
    with pytest.raises(UserRefused, match=BOB):
        await terminals.run("true", user=BOB)


async def test_a_script_without_an_interpreter_runs_and_a_broken_binary_does_not(
    terminals: Terminals, tmp_path: Path
) -> None:
    script, broken = tmp_path / "script", tmp_path / "broken"
    script.write_text("exit 5\n")
    broken.write_bytes(b"\x7fELF\0\0\n")
    for file in (script, broken):
        file.chmod(0o755)
    assert await (await terminals.run(str(script))).wait() == ExitStatus(code=5)
    terminal = await terminals.run(str(broken))
    assert (await terminal.wait()).code == 126
    assert b"Exec format error" in terminal.output


async def test_all_sessions_of_a_place_share_one_link(tmp_path: Path) -> None:
    async with place(tmp_path) as backend:
        environments = [await backend.open(Order(f"session-{number}")) for number in range(5)]
        sinks = [CollectingSink() for _ in environments]
        ptys = [
            await environment.spawn(
                Program(f"session-{number}", command=["sh", "-c", "echo $TERMINAL_SESSION_ID"]), sink
            )
            for number, (environment, sink) in enumerate(zip(environments, sinks, strict=True))
        ]
        for number, (pty, sink) in enumerate(zip(ptys, sinks, strict=True)):
            await pty.wait()
            assert bytes(sink.output) == b"session-%d\r\n" % number
        for environment in environments:
            await environment.close()
        assert len(backend.way.executions) == 1


async def test_a_link_that_nobody_uses_is_closed(tmp_path: Path) -> None:
    patience = LinkPatience(unused_seconds=0.1)
    async with place(tmp_path, patience=patience) as backend:
        environment = await backend.open(Order("session-1"))
        pty = await environment.spawn(Program("session-1", command=["cat"]), CollectingSink())
        link = backend.target.link()
        await environment.close()
        assert (await pty.wait()).lost is None
        await wait_until(link.lost.done, description="the link is closed")
        assert await backend.shells(), "it is made again"


async def test_two_services_on_one_account_do_not_disturb_each_other(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir(0o700)
    way = Way(tmp_path / "home")
    async with (
        place(tmp_path, way=way) as first,
        place(tmp_path / "second", way=way) as second,
        opened(first) as one,
        opened(second) as other,
    ):
        mine = await one.sh("echo mine; read line; exit 1")
        yours = await other.sh("echo yours; read line; exit 2")
        await mine.sink.until(b"mine")
        await yours.sink.until(b"yours")
        await first.sweep([])
        await second.sweep([])
        await yours.type(b"\n")
        assert await yours.wait() == ExitStatus(code=2)
        assert not mine.pty.write(b"")
        await mine.pty.close(1)
        assert (await mine.wait()).lost is None


async def test_programs_of_sessions_that_nobody_knows_are_ended(tmp_path: Path) -> None:
    first = DurableBackend(tmp_path)
    ptys = []
    for name in ("known", "unknown"):
        environment = await first.open(Order(name))
        sink = CollectingSink()
        ptys.append(await environment.spawn(Program(name, command=["sh", "-c", "echo ready; exec sleep 1000"]), sink))
        await sink.until(b"ready")
    await first.close()  # as the end of its process does
    (directory,) = first.holder_directories()
    assert held_pids(directory) == [pty.pid for pty in ptys]
    async with place(tmp_path) as second:
        await second.sweep(["known"])
        await wait_until(lambda: held_pids(directory) == [ptys[0].pid], description="the other one is ended")
        await second.sweep([])
        await wait_until(lambda: held_pids(directory) == [], description="both are ended")


async def test_a_sweep_starts_no_holder(tmp_path: Path) -> None:
    async with place(tmp_path) as backend:
        await backend.sweep([])
        assert not list(backend.home.rglob("*"))


# -- the link


class Ear:
    """Hears what people are told."""

    def __init__(self) -> None:
        self.heard: list[Notice] = []

    @property
    def kinds(self) -> list[str]:
        return [notice.kind for notice in self.heard]

    async def run(self, backend: DurableBackend, script: str) -> Terminal:
        environment = await backend.open(Order("session-1", tell=self.heard.append))
        sink = CollectingSink()
        return Terminal(await environment.spawn(Program("session-1", command=["sh", "-c", script]), sink), sink)


async def test_a_cut_and_the_link_being_back_are_told_with_reason_and_time(tmp_path: Path) -> None:
    async with place(tmp_path) as backend:
        ear = Ear()
        terminal = await ear.run(backend, "echo ready; read line; exit 3")
        await terminal.sink.until(b"ready")
        backend.way.is_closed = True
        backend.way.cut()
        await wait_until(lambda: ear.kinds == ["link_lost"], description="the cut is told")
        assert "the link was cut" in ear.heard[0].message
        assert "the link was cut" in str(ear.heard[0].fields["reason"])
        backend.way.is_closed = False
        await wait_until(lambda: ear.kinds == ["link_lost", "link_back"], description="its end is told")
        assert float(str(ear.heard[1].fields["seconds"])) > 0
        await terminal.type(b"\n")
        assert await terminal.wait() == ExitStatus(code=3)


async def test_a_link_that_is_given_up_is_told_and_is_no_exit(tmp_path: Path) -> None:
    async with place(tmp_path, durable_give_up_seconds=0.5) as backend:
        ear = Ear()
        terminal = await ear.run(backend, "echo ready; exec sleep 1000")
        await terminal.sink.until(b"ready")
        backend.way.is_closed = True
        backend.way.cut()
        status = await terminal.wait()
        assert (status.code, status.signal, status.lost) == (None, None, Lost.LINK)
        assert "the way is closed" in status.message
        assert ear.kinds == ["link_lost", "link_given_up"]
        assert "the way is closed" in ear.heard[1].message
        backend.way.is_closed = False


async def test_a_holder_that_is_gone_is_a_lost_node(tmp_path: Path) -> None:
    async with place(tmp_path) as backend:
        ear = Ear()
        terminal = await ear.run(backend, "echo ready; exec sleep 1000")
        await terminal.sink.until(b"ready")
        (directory,) = backend.holder_directories()
        pid = holder_pid(directory) or 0
        os.kill(pid, signal.SIGKILL)
        status = await terminal.wait()
        assert (status.code, status.signal, status.lost) == (None, None, Lost.NODE)
        assert "the holder there has ended" in status.message
        await wait_until(lambda: not is_alive(terminal.pty.pid or 0), description="its terminal has hung up")
        again = await ear.run(backend, "exit 4")
        assert await again.wait() == ExitStatus(code=4)


async def test_a_place_that_is_not_reached_is_told_with_the_reason(tmp_path: Path) -> None:
    async with place(tmp_path, patience=LinkPatience(first_seconds=0.2)) as backend:
        backend.way.is_closed = True
        with pytest.raises(Unreachable, match="the way is closed"):
            await backend.check()
        backend.way.is_closed = False
        await backend.check()


async def test_a_refusal_is_told_at_once_and_is_waited_out_where_programs_run(tmp_path: Path) -> None:
    async with place(tmp_path) as backend:
        ear = Ear()
        backend.way.refusal = AccessRefused("the key is not known there")
        with pytest.raises(AccessRefused, match="the key is not known there"):
            await backend.check()
        backend.way.refusal = None
        terminal = await ear.run(backend, "echo ready; read line; exit 3")
        await terminal.sink.until(b"ready")
        backend.way.refusal = AccessRefused("the key is not known there")
        backend.way.cut()
        await wait_until(lambda: "link_lost" in ear.kinds, description="the cut is told")
        backend.way.refusal = None
        await terminal.type(b"\n")
        assert await terminal.wait() == ExitStatus(code=3)


async def test_a_start_while_the_link_is_cut_waits_for_it(terminals: Terminals) -> None:
    await terminals.sh("exit 0")
    way = durable(terminals).way
    way.cut()
    assert await (await terminals.sh("exit 6")).wait() == ExitStatus(code=6)
