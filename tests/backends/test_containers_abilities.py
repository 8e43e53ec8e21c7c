"""What can be done in a container beside terminals."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING, Any

import pytest

from backends.abilities import Channel, Command, FileError
from backends.base import ExitStatus, Order
from backends.errors import InvalidProgram, NotSupported, Unreachable
from support.containers import backend_of, finished, opened_place, placed
from support.made_container import made_container
from support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from backends.containers.backend import ContainerBackend
    from support.container_daemon import ContainerDaemon
    from support.containers import Place


FIELDS: dict[str, Any] = {"read_only": False, "snapshots": "snapshots/ours", "allowed_images": ("snapshots/*",)}


# One container of each daemon for all of them, whatever their order: so not one fixture with parameters.
@pytest.fixture(scope="module")
def in_docker(dockerd: ContainerDaemon) -> Iterator[Callable[[], ContainerBackend]]:
    with made_container(dockerd, **FIELDS) as entered:
        yield entered


@pytest.fixture(scope="module")
def in_podman(podman: ContainerDaemon) -> Iterator[Callable[[], ContainerBackend]]:
    with made_container(podman, **FIELDS) as entered:
        yield entered


@pytest.fixture
def made(request: pytest.FixtureRequest, daemon: ContainerDaemon) -> ContainerBackend:
    backend: ContainerBackend = request.getfixturevalue(f"in_{daemon.kind}")()
    return backend


@pytest.fixture
async def place(made: ContainerBackend) -> AsyncIterator[Place]:
    async with opened_place(made) as place:
        yield place


async def test_a_command_has_two_channels_input_and_an_exit_code(place: Place) -> None:
    script = "cat; echo on stderr >&2; exit 7"
    execution = await place.environment.execute(Command(("sh", "-c", script), cwd="/tmp"))
    await execution.write(b"some input\n" * 10_000)
    await execution.close_input()
    assert await finished(execution) == (b"some input\n" * 10_000, b"on stderr\n", ExitStatus(code=7))


async def test_a_command_that_is_not_there_says_so(place: Place) -> None:
    out, error, status = await finished(await place.environment.execute(Command(("no-such-command",))))
    assert (out, error, status.code) == (b"", b"no-such-command: command not found\n", 127)


async def test_a_command_that_nobody_reads_fills_no_memory_and_can_be_ended(place: Place) -> None:
    execution = await place.environment.execute(Command(("sh", "-c", "yes & exec yes")))
    async for _ in execution:
        break
    held = execution._held_bytes
    await asyncio.sleep(0.3)
    assert max(held, execution._held_bytes) < 1 << 20
    await execution.close()
    await wait_until(lambda: _is_alone(place), description="both of its processes have ended")


async def _is_alone(place: Place) -> bool:
    return "yes" not in await place.output("cat /proc/[0-9]*/comm")


async def test_files_are_written_listed_read_and_removed(place: Place) -> None:
    files = place.environment.files()

    async def pieces() -> AsyncIterator[bytes]:
        for number in range(100):
            yield bytes([number]) * 5000

    assert await files.write("/tmp/file", pieces(), mode=0o640) == 500_000
    info = await files.stat("/tmp/file")
    assert (info.size, info.mode) == (500_000, 0o640)
    assert [each.path for each in await files.list("/tmp")] == ["/tmp/file"]
    tail = b"".join([piece async for piece in files.read("/tmp/file", offset=495_000)])
    assert tail == bytes([99]) * 5000
    await files.remove("/tmp/file")
    with pytest.raises(FileError, match="/tmp/file"):
        await files.stat("/tmp/file")


async def test_a_port_of_the_container_is_reached_and_one_nobody_listens_at_is_told(place: Place) -> None:
    script = "while :; do nc -l -p 7000 -e cat; done"
    server = await place.environment.execute(Command(("sh", "-c", script)))

    async def connected() -> object:
        try:
            return await place.environment.connect(7000, "127.0.0.1")
        except Unreachable:
            return None

    connection = await wait_until(connected, description="the server in the container")
    for number in range(20):  # a relay that holds its output's pipe comes to a halt at about every other one
        said = b"there and back %d" % number
        await connection.write(said)  # type: ignore[attr-defined]
        assert await connection.read() == said  # type: ignore[attr-defined]
    await connection.close()  # type: ignore[attr-defined]
    with pytest.raises(Unreachable, match="7001 cannot be reached"):
        await place.environment.connect(7001, "127.0.0.1")
    with pytest.raises(InvalidProgram, match="host"):
        await place.environment.connect(80, "-e")
    await server.close()


async def test_usage_is_measured(place: Place) -> None:
    first = await place.environment.stats()
    busy = await place.environment.execute(Command(("sh", "-c", "while :; do :; done")))
    await asyncio.sleep(0.5)
    second = await place.environment.stats()
    assert first.cpu_seconds is not None
    assert second.cpu_seconds is not None
    assert second.cpu_seconds - first.cpu_seconds > 0.1
    assert second.cpus is not None
    assert 0.1 < second.cpus < 2
    assert second.memory_bytes is not None
    assert 0 < second.memory_bytes < (second.memory_limit_bytes or 0) == 1 << 30
    await busy.close()


async def test_a_snapshot_is_an_image_for_its_owner_alone(place: Place, daemon: ContainerDaemon) -> None:
    await place.output("echo kept > /data/kept")
    name = await place.environment.snapshot("after-work")
    assert name == "snapshots/ours:after-work"
    fields: dict[str, Any] = {"allowed_images": ("snapshots/*",), "read_only": True}
    async with placed(daemon, Order("session-2", owner="ann", image=name), **fields) as other:
        assert await other.output("cat /data/kept") == "kept\n"
    backend = backend_of(daemon, **fields)
    with pytest.raises(Exception, match="somebody else's"):
        await backend.open(Order("session-3", owner="bob", image=name))
    await backend.close()
    with pytest.raises(InvalidProgram, match="name"):
        await place.environment.snapshot("a b")


async def test_without_a_repository_no_snapshots_are_made(daemon: ContainerDaemon) -> None:
    async with placed(daemon) as place:
        assert not place.backend.capabilities.snapshot
        with pytest.raises(NotSupported, match="snapshot"):
            await place.environment.snapshot("name")


async def test_a_paused_container_stands_still_and_goes_on(place: Place) -> None:
    terminal = await place.sh("n=0; while :; do n=$((n+1)); echo $n; sleep 0.05; done")
    await terminal.sink.until(b"3\r\n")
    await place.environment.pause()
    await place.environment.pause()
    await asyncio.sleep(0.2)
    size = len(terminal.output)
    await asyncio.sleep(0.3)
    assert len(terminal.output) == size
    await place.environment.unpause()
    await place.environment.unpause()
    await terminal.sink.until_size(size + 3)
    await place.environment.pause()  # it is closed so


async def test_signals_reach_the_foreground_programs(place: Place) -> None:
    terminal = await place.sh("trap 'echo got it' USR1; echo ready; while :; do sleep 0.05; done")
    await terminal.sink.until(b"ready")
    terminal.pty.signal(signal.SIGUSR1)
    await terminal.sink.until(b"got it")
    with pytest.raises(ValueError, match="no such signal"):
        terminal.pty.signal(999)
    terminal.pty.signal(signal.SIGKILL)
    assert await terminal.wait() == ExitStatus(signal=signal.SIGKILL)


async def test_a_size_is_set_at_the_start_and_later(place: Place) -> None:
    terminal = await place.sh("trap 'stty size' WINCH; stty size; while :; do sleep 0.05; done", rows=33, cols=101)
    await terminal.sink.until(b"33 101")
    terminal.pty.resize(40, 120)
    await terminal.sink.until(b"40 120")
    await terminal.pty.close(0.2)


async def test_without_stty_the_size_is_there_before_the_program(place: Place) -> None:
    terminal = await place.run("/bin/stty", "size", env={"PATH": "/nowhere"}, rows=30, cols=99)
    assert (await terminal.wait()).code == 0
    assert terminal.output == b"30 99\r\n"


async def test_closing_ends_the_whole_tree(place: Place) -> None:
    terminal = await place.sh("setsid sleep 1234 & (trap '' HUP TERM; sleep 1234) & echo ready; sleep 1234")
    await terminal.sink.until(b"ready")
    await terminal.pty.close(0.2)
    assert "1234" not in await place.output("cat /proc/[0-9]*/cmdline | tr '\\0' ' '")


async def test_the_interrupt_key_works_though_input_is_stuck(place: Place) -> None:
    terminal = await place.sh("trap 'echo interrupted; exit 5' INT; echo ready; while :; do sleep 0.05; done")
    await terminal.sink.until(b"ready")
    while not terminal.pty.interrupt():
        terminal.pty.write(b"x" * 4096)
        await asyncio.sleep(0)
    await terminal.sink.until(b"interrupted")
    assert (await terminal.wait()).code == 5


async def test_channels_have_the_numbers_of_the_api() -> None:
    assert (Channel.STDOUT, Channel.STDERR) == (1, 2)
