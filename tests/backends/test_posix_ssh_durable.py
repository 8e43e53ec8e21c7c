"""Durable sessions on a real SSH server that loses connections, is stopped and started again."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from backends.base import ExitStatus, Lost, Order
from backends.errors import AccessRefused, NotProvided, Unreachable
from support.durable_ssh import DurableSsh
from support.sink import CollectingSink
from support.sshd import make_key, serving_sshd
from support.terminals import Terminal
from support.told_session import ToldSession
from support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from support.sshd import Sshd

NUMBERS = 400_000


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[Sshd]:
    with serving_sshd(tmp_path / "sshd") as server:
        yield server


@pytest.fixture
async def backend(sshd: Sshd, tmp_path: Path) -> AsyncIterator[DurableSsh]:
    backend = DurableSsh(sshd, tmp_path / "site")
    yield backend
    await backend.stop()


def cut(server: Sshd) -> None:
    """End all connections, as a restarted network does."""
    for pid in server.sessions():
        os.kill(pid, signal.SIGKILL)


def numbered(count: int) -> bytes:
    return b"".join(b"%d\n" % number for number in range(1, count + 1))


@pytest.mark.full
async def test_a_lost_connection_is_made_again_and_nothing_is_lost(
    sshd: Sshd, backend: DurableSsh, size: Callable[[int, int], int]
) -> None:
    data = numbered(size(100_000, 2_000_000))
    script = f"stty raw -echo; echo ready; head -c {len(data)} | sha256sum; seq 1 {NUMBERS}; exit 7"
    session = await ToldSession.start(backend, script)
    await session.terminal.sink.until(b"ready")
    typing = asyncio.create_task(session.terminal.type(data))
    for count in range(1, size(3, 50) + 1):
        await wait_until(lambda: len(sshd.sessions()) > 0, description="there is a connection")
        cut(sshd)
        await wait_until(lambda count=count: session.told.count("link_back") >= count, description="it is made again")  # type: ignore[misc]
    await typing
    assert await session.terminal.wait(100) == ExitStatus(code=7)
    first, _, rest = session.terminal.output.partition(b"  -\n")
    assert first.endswith(hashlib.sha256(data).hexdigest().encode())
    assert rest == numbered(NUMBERS)
    assert session.told[:2] == ["link_lost", "link_back"]


async def test_a_server_that_is_stopped_and_started_keeps_its_sessions(sshd: Sshd, backend: DurableSsh) -> None:
    session = await ToldSession.start(backend, "echo ready; read line; echo got $line; exit 3")
    await session.terminal.sink.until(b"ready")
    sshd.stop()
    await wait_until(lambda: session.told == ["link_lost"], description="the cut is told")
    assert session.terminal.pty.write(b"early") == 0
    with pytest.raises(Unreachable):
        await backend.check()
    sshd.start()
    await session.terminal.type(b"hello\n")
    await session.terminal.sink.until(b"got hello")
    assert await session.terminal.wait() == ExitStatus(code=3)
    assert session.told == ["link_lost", "link_back"]


async def test_a_host_that_is_never_reached_again_is_a_lost_link(sshd: Sshd, tmp_path: Path) -> None:
    backend = DurableSsh(sshd, tmp_path / "site", durable_give_up_seconds=0.5)
    session = await ToldSession.start(backend, "echo ready; exec sleep 1000")
    await session.terminal.sink.until(b"ready")
    sshd.stop()
    status = await session.terminal.wait()
    assert (status.code, status.signal, status.lost) == (None, None, Lost.LINK)
    assert session.told == ["link_lost", "link_given_up"]
    await backend.stop()


async def test_another_host_key_is_not_believed_and_the_link_waits_for_the_operator(
    sshd: Sshd, backend: DurableSsh, tmp_path: Path
) -> None:
    session = await ToldSession.start(backend, "echo ready; read line; exit 3")
    await session.terminal.sink.until(b"ready")
    right = sshd.known_hosts.read_bytes()
    sshd.write_known_hosts(make_key(tmp_path / "other_key"))
    cut(sshd)
    await wait_until(lambda: session.told == ["link_lost"], description="the cut is told")
    with pytest.raises(AccessRefused, match="host key"):
        await backend.check()
    sshd.known_hosts.write_bytes(right)
    await session.terminal.type(b"\n")
    assert await session.terminal.wait() == ExitStatus(code=3)


async def test_fifty_sessions_take_one_channel_of_one_connection(sshd: Sshd, backend: DurableSsh) -> None:
    sessions = [
        await ToldSession.start(backend, "echo $TERMINAL_SESSION_ID; read line; exit 3", f"session-{number}")
        for number in range(50)
    ]
    assert len(sshd.sessions()) == 1
    cut(sshd)
    for number, session in enumerate(sessions):
        await session.terminal.type(b"\n")
        assert await session.terminal.wait() == ExitStatus(code=3)
        assert session.terminal.output == b"session-%d\r\n\r\n" % number


async def test_the_next_process_of_the_service_goes_on(sshd: Sshd, backend: DurableSsh, tmp_path: Path) -> None:
    session = await ToldSession.start(backend, "stty -opost; seq 1 3000; read line; seq 3001 6000; exit 4")
    await session.terminal.sink.until(b"\n3000\n")
    cut(sshd)  # as if the process had been killed: whatever is on its way, neither side will know
    await backend.close()
    second = DurableSsh(sshd, tmp_path / "site")
    survivor = await second.recall("session-1")
    assert survivor is not None
    sink = CollectingSink()
    environment = await second.open(Order("session-1"))
    terminal = Terminal(await environment.adopt(survivor, sink, len(session.terminal.output)), sink)
    await terminal.type(b"\n")
    assert await terminal.wait() == ExitStatus(code=4)
    whole = session.terminal.output + terminal.output
    assert whole == numbered(3000) + b"\n" + numbered(6000).removeprefix(numbered(3000))
    await second.stop()


async def test_a_host_without_python_refuses_durable_sessions_with_the_reason(sshd: Sshd, tmp_path: Path) -> None:
    backend = DurableSsh(sshd, tmp_path / "site", durable_python="/usr/bin/no-such-python")
    with pytest.raises(NotProvided, match="there is no '/usr/bin/no-such-python'"):
        await backend.shells()
    await backend.stop()


@pytest.mark.parametrize(
    "shell", [shell for shell in ("/bin/dash", "/usr/bin/fish", "/bin/csh") if Path(shell).exists()]
)
async def test_whatever_the_login_shell_is(tmp_path: Path, shell: str) -> None:
    with serving_sshd(tmp_path / "sshd", shell=shell) as server:
        backend = DurableSsh(server, tmp_path / "site")
        session = await ToldSession.start(backend, "echo hello; exit 3")
        assert await session.terminal.wait() == ExitStatus(code=3)
        assert session.terminal.output == b"hello\r\n"
        await backend.stop()
