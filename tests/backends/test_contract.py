"""What every backend promises (backends/base.py), held against each of them."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import TYPE_CHECKING

import pytest

from backends.base import ExitStatus, Program
from backends.echo import EchoBackend
from backends.errors import DirectoryNotFound, InvalidProgram, ShellNotFound
from support.dialect import POSIX, Dialect, words
from support.sink import CollectingSink
from support.terminals import Terminal, Terminals, opened, plain_environment
from support.wait import wait_until

if sys.platform == "win32":
    from backends.windows import WindowsBackend
else:
    from backends.containers.backend import ContainerBackend
    from backends.containers.profile import ContainerProfile
    from backends.forkers import HolderForker, OwnForker
    from backends.posix import PosixBackend
    from backends.profile import Site
    from backends.ssh.backend import SshBackend
    from backends.workstations.backend import WorkstationsBackend
    from support.container_daemon import IMAGE
    from support.durable_ssh import DurableSsh
    from support.made_container import made_container
    from support.pods import thread_backend
    from support.workstations import grpc_opened, make_profile, serving_cloud

    __all__ = ["grpc_opened"]  # a fixture

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from backends.base import Backend
    from support.container_daemon import ContainerDaemon
    from support.kube_thread import KubeThread
    from support.sshd import Sshd

pytestmark = pytest.mark.asyncio(loop_factories=["uvloop", "asyncio"])

PASTE_BYTES = 1 << 20


def _local(directory: Path) -> Backend:
    if sys.platform == "win32":
        return WindowsBackend(os.environ)
    return PosixBackend(plain_environment(), HolderForker(directory))


def _own(_: Path) -> Backend:
    return PosixBackend(plain_environment(), OwnForker())


def _container(daemon: ContainerDaemon) -> Backend:
    profile = ContainerProfile(name=daemon.kind, socket=daemon.url, image=IMAGE, pull="never")
    return ContainerBackend(profile, Site("node-1", daemon.directory))


DIALECTS = {
    "echo": Dialect(lambda _: EchoBackend(), exits="exit {}", echoes="", floods="flood {}", prints="env {}"),
    "held": Dialect(_local, **POSIX),
    "own": Dialect(_own, **POSIX),
    "windows": Dialect(
        _local,
        exits="cmd /c|exit {}",
        echoes=None,
        floods="powershell -NoProfile -Command|'x' * {}",
        prints="cmd /c|echo %{}%",
    ),
}


PLACES = [
    "echo",
    *(
        ["windows"]
        if sys.platform == "win32"
        else [
            "held",
            "own",
            "ssh",
            pytest.param("ssh_durable", marks=pytest.mark.one_loop),
            pytest.param("kubernetes", marks=pytest.mark.one_loop),
            pytest.param("docker", marks=pytest.mark.one_loop),
            pytest.param("podman", marks=pytest.mark.one_loop),
            pytest.param("workstations", marks=pytest.mark.one_loop),
        ]
    ),
]
"""Each is in DIALECTS, or has a fixture of its own that starts its server: `ssh_dialect`."""


@pytest.fixture(scope="module", params=PLACES)
def dialect(request: pytest.FixtureRequest) -> Dialect:
    if request.param not in DIALECTS:
        started: Dialect = request.getfixturevalue(f"{request.param}_dialect")
        return started
    return DIALECTS[request.param]


@pytest.fixture(scope="module")
def ssh_dialect(sshd: Sshd) -> Dialect:
    return Dialect(lambda directory: SshBackend(sshd.profile(), Site("node", directory / "ssh")), **POSIX)


@pytest.fixture(scope="module")
def workstations_dialect(
    sshd: Sshd,
    tmp_path_factory: pytest.TempPathFactory,
    grpc_opened: None,  # noqa: ARG001
) -> Iterator[Dialect]:
    directory = tmp_path_factory.mktemp("cloud")
    with serving_cloud(directory, sshd.port) as endpoint:
        profile = make_profile(directory, endpoint, user=sshd.user, keys=(str(sshd.client_key),))
        yield Dialect(lambda own: WorkstationsBackend(profile, Site("node", own / "workstations")), **POSIX)


@pytest.fixture(scope="module")
def ssh_durable_dialect(sshd: Sshd) -> Dialect:
    return Dialect(lambda directory: DurableSsh(sshd, directory / "ssh"), **POSIX)


@pytest.fixture(scope="module")
def kubernetes_dialect(kube: KubeThread) -> Dialect:
    return Dialect(lambda directory: thread_backend(kube, directory), **POSIX)


@pytest.fixture(scope="module")
def docker_dialect(dockerd: ContainerDaemon) -> Dialect:
    return Dialect(lambda _: _container(dockerd), **POSIX)


@pytest.fixture(scope="module")
def podman_dialect(podman: ContainerDaemon) -> Iterator[Dialect]:
    with made_container(podman) as entered:  # it takes a second or two to make one
        yield Dialect(lambda _: entered(), **POSIX)


@pytest.fixture
async def terminals(dialect: Dialect, tmp_path: Path) -> AsyncIterator[Terminals]:
    async with opened(dialect.make(tmp_path)) as terminals:
        yield terminals


async def echoing(dialect: Dialect, terminals: Terminals, sink: CollectingSink | None = None) -> Terminal:
    """Start what echoes every byte as it is."""
    if dialect.echoes is None:
        pytest.skip("nothing on this platform echoes bytes as they are")
    terminal = await terminals.run(*words(dialect.echoes), sink=sink)
    if dialect.echoes:
        await terminal.sink.until(b"ready\n")
        terminal.sink.output.clear()
    return terminal


@pytest.mark.parametrize("code", [0, 1, 7, 255])
async def test_an_exit_code_is_told_exactly(dialect: Dialect, terminals: Terminals, code: int) -> None:
    terminal = await terminals.run(*words(dialect.exits, code))
    assert await terminal.wait() == ExitStatus(code=code)


async def test_everything_printed_reaches_the_sink_before_the_end(dialect: Dialect, terminals: Terminals) -> None:
    terminal = await terminals.run(*words(dialect.floods, 300_000))
    assert (await terminal.wait()).code == 0
    assert len(terminal.output) >= 300_000
    assert terminal.sink.batches > 0


async def test_input_comes_back_whole_and_in_order(dialect: Dialect, terminals: Terminals) -> None:
    terminal = await echoing(dialect, terminals)
    before = terminal.pty.written
    data = b"".join(b"%08d " % number for number in range(PASTE_BYTES // 9))
    await terminal.type(data)
    await terminal.sink.until_size(len(data))
    assert terminal.output == data
    assert terminal.pty.written - before == len(data)
    await wait_until(lambda: terminal.pty.unconfirmed == 0, description="it is known to have arrived")
    await terminal.pty.close(0.5)


async def test_a_full_terminal_takes_nothing_until_it_is_read(dialect: Dialect, terminals: Terminals) -> None:
    terminal = await echoing(dialect, terminals)
    terminal.pty.pause_reading()
    piece = b"x" * 4096
    taken = 0
    async with asyncio.timeout(30):
        while terminal.pty.write(piece) == len(piece) or not await refuses_for_good(terminal):
            taken += 1
            assert taken < 1000, "a terminal has a bound"
            await asyncio.sleep(0.001)
    assert not terminal.output
    terminal.sink.room.clear()
    terminal.pty.resume_reading()
    async with asyncio.timeout(30):
        await terminal.sink.room.wait()
    assert terminal.pty.write(b"y") == 1
    await terminal.sink.until(b"y")
    await terminal.pty.close(0.5)


async def refuses_for_good(terminal: Terminal) -> bool:
    """Tell whether nothing is taken any more, though the program has had time to echo all it was given."""
    for _ in range(20):
        await asyncio.sleep(0.01)
        if terminal.pty.write(b"x"):
            return False
    return True


async def test_output_is_held_back_while_reading_is_paused(dialect: Dialect, terminals: Terminals) -> None:
    terminal = await echoing(dialect, terminals)
    terminal.pty.pause_reading()
    terminal.pty.pause_reading()
    await terminal.type(b"held back")
    other = await echoing(dialect, terminals)
    await other.type(b"goes on")
    await other.sink.until(b"goes on")
    assert not terminal.output
    terminal.pty.resume_reading()
    await terminal.sink.until(b"held back")
    await terminal.pty.close(0.5)


async def test_a_paused_terminal_still_delivers_its_last_output(dialect: Dialect, terminals: Terminals) -> None:
    terminal = await terminals.run(*words(dialect.prints, "WORD"), env={"WORD": "last words"})
    terminal.pty.pause_reading()
    assert (await terminal.wait()).code == 0
    assert b"last words" in terminal.output


async def test_variables_reach_the_program(dialect: Dialect, terminals: Terminals) -> None:
    env = {"GREETING": "good day", "TERM": "$TERM-and-more", "OTHER": "$GREETING"}
    for name, value in {
        "GREETING": "good day",
        "TERM": "xterm-256color-and-more",
        "OTHER": "$GREETING",
        "COLORTERM": "truecolor",
        "TERMINAL_SESSION_ID": "session-1",
    }.items():
        terminal = await terminals.run(*words(dialect.prints, name), env=env)
        await terminal.wait()
        assert value.encode() in terminal.output


@pytest.mark.parametrize(
    "env",
    [{"A=B": "x"}, {"": "x"}, {"A": "x\0y"}, {"A\0": "x"}, {"A": "\ud800"}],
    ids=["equals sign", "no name", "NUL in value", "NUL in name", "half a surrogate pair"],
)
async def test_variables_that_no_system_takes_are_refused(terminals: Terminals, env: dict[str, str]) -> None:
    with pytest.raises(InvalidProgram, match="env"):
        await terminals.run("exit", env=env)


async def test_a_missing_shell_is_told_with_those_that_exist(terminals: Terminals) -> None:
    with pytest.raises(ShellNotFound) as caught:
        await terminals.run(shell="no-such-shell")
    shells = await terminals.backend.shells()
    assert shells
    assert list(caught.value.available) == list(shells)
    assert "no-such-shell" in str(caught.value)
    assert shells[0] in str(caught.value)


async def test_every_shell_that_is_listed_starts(terminals: Terminals) -> None:
    for shell in await terminals.backend.shells():
        terminal = await terminals.run(shell=shell)
        await terminal.pty.close(2)
        await terminal.wait()


async def test_a_missing_directory_is_told(terminals: Terminals) -> None:
    with pytest.raises(DirectoryNotFound, match="no-such-directory"):
        await terminals.run("exit", cwd="/no-such-directory")


async def test_a_missing_command_is_127_and_the_viewer_sees_why(terminals: Terminals) -> None:
    terminal = await terminals.run("no-such-command", "argument")
    status = await terminal.wait()
    assert (status.code, status.signal) == (127, None)
    assert status.message == "no-such-command: command not found"
    assert terminal.output == b"no-such-command: command not found\r\n"


async def test_an_ended_terminal_takes_every_call_and_does_nothing(dialect: Dialect, terminals: Terminals) -> None:
    for command in (words(dialect.exits, 3), ["no-such-command"]):
        terminal = await terminals.run(*command)
        status = await terminal.wait()
        printed = terminal.output
        pty = terminal.pty
        assert pty.write(b"for nobody") == 10
        assert pty.interrupt() in (True, False)
        pty.resize(30, 90)
        pty.signal(signal.SIGTERM)
        pty.pause_reading()
        pty.resume_reading()
        await pty.close(0)
        await pty.close(0)
        assert await pty.wait() == status
        assert terminal.output == printed


async def test_closing_ends_the_program_for_all_who_wait(dialect: Dialect, terminals: Terminals) -> None:
    terminal = await echoing(dialect, terminals)
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        waits = [group.create_task(terminal.pty.wait()) for _ in range(3)]
        for _ in range(3):
            group.create_task(terminal.pty.close(0.5))
    statuses = {wait.result() for wait in waits}
    assert len(statuses) == 1
    assert statuses.pop().lost is None


async def test_giving_up_waiting_changes_nothing(dialect: Dialect, terminals: Terminals) -> None:
    terminal = await echoing(dialect, terminals)
    waiting = asyncio.create_task(terminal.pty.wait())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await terminal.type(b"still here")
    await terminal.sink.until(b"still here")
    await terminal.pty.close(0.5)


async def test_a_refused_write_is_resumed_by_the_end_of_the_program(dialect: Dialect, terminals: Terminals) -> None:
    terminal = await echoing(dialect, terminals)
    terminal.pty.pause_reading()
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        group.create_task(terminal.type(bytes(PASTE_BYTES)))
        await asyncio.sleep(0)
        group.create_task(terminal.pty.close(0.5))


async def test_closing_the_environment_ends_its_terminals(dialect: Dialect, tmp_path: Path) -> None:
    backend = dialect.make(tmp_path)
    async with opened(backend) as terminals:
        several = [await terminals.run(shell=(await backend.shells())[0]) for _ in range(3)]
        await terminals.environment.close()
        for terminal in several:
            await terminal.wait()


async def test_a_cancelled_start_leaves_nothing(dialect: Dialect, terminals: Terminals) -> None:
    for turns in range(6):
        sink = CollectingSink()
        start = asyncio.create_task(
            terminals.environment.spawn(Program("session-1", command=words(dialect.exits, 0)), sink)
        )
        for _ in range(turns):
            await asyncio.sleep(0)
        start.cancel()
        try:
            pty = await start
        except asyncio.CancelledError:
            continue
        await pty.close(0)
