"""What goes wrong between a session and its host, and what a user is told."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from backends.base import Lost, Notice, Order, Program
from backends.errors import AccessRefused, BackendError, OutOfResources, Unreachable
from backends.profile import Site
from backends.ssh.backend import SshBackend
from support.chaos import ChaosProxy
from support.sink import CollectingSink
from support.sshd import Sshd, reached, running_sshd, serving_sshd
from support.terminals import Terminal, is_alive
from support.wait import wait_until
from support.weather import End, Fate, Plan

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with serving_sshd(tmp_path_factory.mktemp("sshd"), "MaxSessions 100") as server:
        yield server


async def test_a_killed_connection_is_a_lost_link_with_its_reason(sshd: Sshd, tmp_path: Path) -> None:
    async with reached(sshd, tmp_path / "1") as place, reached(sshd, tmp_path / "2") as other:
        terminals = [await place.terminals.sh("trap '' HUP; echo ready; sleep 1000") for _ in range(3)]
        execution = await place.execute("sleep", "1000")
        unharmed = await other.terminals.sh("echo ready; exec cat")
        for terminal in (*terminals, unharmed):
            await terminal.sink.until(b"ready")
        pid = await served_by(place.pool.links[0].connection.get_extra_info("sockname")[1], sshd)
        os.kill(pid, signal.SIGKILL)
        for terminal in terminals:
            status = await terminal.wait()
            assert status.lost is Lost.LINK
            assert status.code is None
            assert f"the connection to 127.0.0.1:{sshd.port} was lost after" in status.message
        with pytest.raises(Unreachable, match="was lost"):
            _ = [each async for each in execution]
        assert (await execution.wait()).lost is Lost.LINK
        await unharmed.type(b"still here\r")
        await unharmed.sink.until(b"still here")
        again = await place.terminals.sh("echo again")
        assert (await again.wait()).code == 0
        assert again.output == b"again\r\n"
        # A hang-up ends neither what has no terminal nor what does not listen to it.
        left = [execution.leader or 0, *(terminal.pty.pid or 0 for terminal in terminals)]
        await wait_until(lambda: not any(map(is_alive, left)), description="nothing is left of the lost ones")


async def test_a_connection_that_is_lost_while_programs_start_is_told_to_each(tmp_path: Path) -> None:
    async with running_sshd(tmp_path / "sshd", "MaxSessions 100") as server, reached(server, tmp_path) as place:
        for pause in (0.0, 0.01, 0.03, 0.06):
            await place.execute("true")
            starts = [asyncio.create_task(place.terminals.sh("sleep 1004")) for _ in range(8)]
            starts += [asyncio.create_task(place.terminals.sh("exit 3")) for _ in range(8)]
            await asyncio.sleep(pause)
            for pid in server.sessions():
                os.kill(pid, signal.SIGKILL)
            for outcome in await asyncio.gather(*starts, return_exceptions=True):
                if isinstance(outcome, Terminal):
                    status = await outcome.wait()
                    assert status.lost is Lost.LINK or status.code == 3
                else:
                    assert isinstance(outcome, BackendError), repr(outcome)
                    assert "lost" in str(outcome)
        await wait_until(lambda: all(link.sessions == 0 for link in place.pool.links), description="no channel is left")


async def served_by(port: int, sshd: Sshd) -> int:
    """Return the process that serves the connection from this port (the privileged half of it)."""
    needle = f"port {port} "
    for line in sshd.log.read_text().splitlines():
        if needle in line and "Connection from" in line:
            break
    else:
        raise AssertionError("no such connection in the log")
    for pid in sshd.sessions():
        for descriptor in os.listdir(f"/proc/{pid}/fd"):  # noqa: PTH208
            if await asyncio.to_thread(is_socket_of, pid, descriptor, port):
                return pid
    raise AssertionError("nobody serves it")


def is_socket_of(pid: int, descriptor: str, port: int) -> bool:
    try:
        target = str(Path(f"/proc/{pid}/fd/{descriptor}").readlink())
    except FileNotFoundError:
        return False
    inode = target.removeprefix("socket:[").removesuffix("]")
    with open("/proc/net/tcp") as table:  # noqa: PTH123
        return any(
            line.split()[9] == inode and line.split()[2].endswith(f":{port:04X}") for line in table.readlines()[1:]
        )


async def test_a_half_open_connection_is_found_out(sshd: Sshd, tmp_path: Path) -> None:
    plan = Plan(1, every=Fate(freeze_seconds=60))
    async with ChaosProxy((sshd.host, sshd.port), plan) as proxy:
        fields = {"port": proxy.port, "host_keys": (sshd.public_key,), "known_hosts": ""}
        patience = {"keepalive_seconds": 0.2, "keepalive_count": 2, "connect_seconds": 5}
        async with reached(sshd, tmp_path, **fields, **patience) as place:
            terminal = await place.terminals.sh("echo ready; exec cat")
            await terminal.sink.until(b"ready")
            await asyncio.sleep(1)  # more than the patience: a quiet terminal is not a lost one
            await terminal.type(b"heard\r")
            await terminal.sink.until(b"heard")
            began = time.monotonic()
            proxy.cut_all(End.FREEZE)
            status = await terminal.wait(10)
            assert time.monotonic() - began < 3
            assert status.lost is Lost.LINK
            assert "does not answer any more" in status.message
            again = await place.terminals.sh("echo again")
            assert (await again.wait()).code == 0


async def test_input_for_a_silent_host_is_bounded(sshd: Sshd, tmp_path: Path) -> None:
    plan = Plan(1, every=Fate(freeze_seconds=60))
    async with ChaosProxy((sshd.host, sshd.port), plan) as proxy:
        fields = {"port": proxy.port, "host_keys": (sshd.public_key,), "known_hosts": "", "connect_seconds": 2}
        async with reached(sshd, tmp_path, **fields, keepalive_seconds=0.5, keepalive_count=2) as place:
            terminal = await place.terminals.sh("stty raw -echo; echo ready; exec cat >/dev/null")
            await terminal.sink.until(b"ready")
            proxy.cut_all(End.FREEZE)
            taken = 0
            for _ in range(2000):
                taken += terminal.pty.write(bytes(4096))
                await asyncio.sleep(0)
            assert taken < 4 << 20
            assert (await terminal.wait(10)).lost is Lost.LINK
            assert terminal.pty.write(b"for nobody") == 10


async def test_a_stopped_host_is_unreachable_in_time(sshd: Sshd, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        backend = SshBackend(
            sshd.profile(port=port, host_keys=(sshd.public_key,), connect_seconds=0.5), Site("node", tmp_path)
        )
        with pytest.raises(Unreachable, match=r"did not let us in within 0.5 s") as caught:
            await backend.open(Order("session-1"))
        assert caught.value.retry_after_seconds is not None
        await backend.close()


async def test_a_port_where_nobody_listens_is_unreachable(sshd: Sshd, tmp_path: Path) -> None:
    backend = SshBackend(sshd.profile(port=1, host_keys=(sshd.public_key,)), Site("node", tmp_path))
    with pytest.raises(Unreachable, match=r"127.0.0.1:1 cannot be reached: .*refused"):
        await backend.check()
    await backend.close()


async def test_a_name_that_cannot_be_resolved_is_named(sshd: Sshd, tmp_path: Path) -> None:
    profile = sshd.profile(host="no-such-host.invalid", host_keys=(sshd.public_key,))
    backend = SshBackend(profile, Site("node", tmp_path))
    with pytest.raises(Unreachable, match=r"'no-such-host.invalid' cannot be resolved"):
        await backend.check()
    await backend.close()


async def test_what_is_no_ssh_server_is_said_to_be_none(sshd: Sshd, tmp_path: Path) -> None:
    async def chatter(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n" * 2000)
        await reader.read(1)
        writer.close()

    async with await asyncio.start_server(chatter, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        backend = SshBackend(sshd.profile(port=port, host_keys=(sshd.public_key,)), Site("node", tmp_path))
        with pytest.raises(Unreachable, match="does not speak SSH"):
            await backend.check()
        await backend.close()


async def test_back_off_grows_and_a_host_that_is_back_is_used_again(tmp_path: Path) -> None:
    async with running_sshd(tmp_path / "sshd") as server, reached(server, tmp_path) as place:
        await asyncio.to_thread(server.stop)
        waits = []
        await wait_until(lambda: not place.pool.links, description="the link is lost")
        for _ in range(3):
            with pytest.raises(Unreachable) as caught:
                await place.terminals.sh("echo")
            waits.append(caught.value.retry_after_seconds or 0)
            await asyncio.sleep(waits[-1])
        assert waits[0] < waits[2]
        await asyncio.to_thread(server.start)

        async def is_back() -> bool:
            try:
                return (await (await place.terminals.sh("exit 3")).wait()).code == 3
            except Unreachable:
                return False

        await wait_until(is_back, description="it is used again")


async def test_a_refused_terminal_is_told(tmp_path: Path) -> None:
    async with running_sshd(tmp_path / "sshd", "PermitTTY no") as server, reached(server, tmp_path) as place:
        with pytest.raises(AccessRefused, match="no terminal"):
            await place.terminals.sh("echo")
        execution = await place.execute("echo", "works")
        assert [data async for _, data in execution] == [b"works\n"]


async def test_a_host_that_runs_something_else_is_told(tmp_path: Path) -> None:
    async with running_sshd(tmp_path / "sshd", "ForceCommand echo go away; exit 1") as server:
        backend = SshBackend(server.profile(), Site("node", tmp_path))
        with pytest.raises(AccessRefused, match="go away"):
            await backend.open(Order("session-1"))
        await backend.close()


async def test_variables_that_a_host_does_not_accept_are_told(tmp_path: Path) -> None:
    notices: list[Notice] = []
    async with running_sshd(tmp_path / "sshd", accept_env="LANG LC_*") as server:
        backend = SshBackend(server.profile(), Site("node", tmp_path))
        environment = await backend.open(Order("session-1", tell=notices.append))
        sink = CollectingSink()
        env = {"LC_TIME": "de_DE", "TOKEN": "do not tell", "B": "x"}
        script = 'echo "$LC_TIME,$TOKEN,$TERM,$COLORTERM,$TERMINAL_SESSION_ID"; tr "\\0" " " </proc/$$/cmdline'
        pty = await environment.spawn(Program("session-1", command=["sh", "-c", script], env=env), sink)
        await pty.wait()
        assert b"de_DE,,xterm-256color,truecolor,session-1\r\n" in sink.output
        warning = next(notice for notice in notices if notice.kind == "warning")
        assert warning.fields["variables"] == ["TOKEN", "B"]
        assert "do not tell" not in warning.message
        await environment.close()
        await backend.close()
    assert "do not tell" not in server.log.read_text()


async def test_sessions_beyond_what_a_connection_may_carry_get_another(tmp_path: Path) -> None:
    async with running_sshd(tmp_path / "sshd", "MaxSessions 4") as server, reached(server, tmp_path) as place:
        terminals = await asyncio.gather(*(place.terminals.sh("echo ready; sleep 1000") for _ in range(10)))
        for terminal in terminals:
            await terminal.sink.until(b"ready")
        assert 3 <= len(place.pool.links) <= 5
        await asyncio.gather(*(terminal.pty.close(0.5) for terminal in terminals))


async def test_a_host_that_allows_too_few_sessions_is_told(tmp_path: Path) -> None:
    async with (
        running_sshd(tmp_path / "one", "MaxSessions 1") as server,
        reached(server, tmp_path / "1", max_connections=2) as place,
    ):
        first, second = await place.terminals.sh("sleep 1000"), await place.terminals.sh("sleep 1000")
        with pytest.raises(OutOfResources):
            await place.terminals.sh("echo")
        os.kill(second.pty.pid or 0, signal.SIGKILL)
        await second.wait()
        await first.pty.close(0.2)


async def test_a_host_that_allows_no_session_is_told(tmp_path: Path) -> None:
    async with running_sshd(tmp_path / "none", "MaxSessions 0") as server:
        backend = SshBackend(server.profile(), Site("node", tmp_path))
        with pytest.raises(BackendError):
            await backend.open(Order("session-1"))
        await backend.close()


async def test_fifty_sessions_share_one_connection(sshd: Sshd, tmp_path: Path) -> None:
    async with reached(sshd, tmp_path) as place:
        terminals = await asyncio.gather(*(place.terminals.sh("echo ready; exec cat") for _ in range(50)))
        assert len(place.pool.links) == 1
        for number, terminal in enumerate(terminals):
            await terminal.sink.until(b"ready")
            await terminal.type(f"number {number}\r".encode())
        for number, terminal in enumerate(terminals):
            await terminal.sink.until(f"number {number}\r\n".encode(), start=10)
        pids = [terminal.pty.pid or 0 for terminal in terminals]
        await place.environment.close()
        assert not any(map(is_alive, pids))


async def test_an_idle_connection_is_given_up(sshd: Sshd, tmp_path: Path) -> None:
    async with reached(sshd, tmp_path, idle_seconds=0.2) as place:
        terminal = await place.terminals.sh("sleep 0.5")
        assert (await terminal.wait()).code == 0
        await wait_until(lambda: not place.pool.links, description="it is given up")
        assert (await (await place.terminals.sh("exit 5")).wait()).code == 5


async def test_a_cancelled_start_ends_what_it_started(sshd: Sshd, tmp_path: Path) -> None:
    async with reached(sshd, tmp_path) as place:
        mark = str(tmp_path / "ran")
        for turns in (1, 5, 20):
            start = asyncio.create_task(place.execute("sh", "-c", f"touch {mark}; exec sleep 1000"))
            for _ in range(turns):
                await asyncio.sleep(0.001)
            start.cancel()
            try:
                await (await start).close()
            except asyncio.CancelledError:
                continue
        await wait_until(lambda: not asleep(mark), description="nothing of it runs")
        await wait_until(lambda: place.pool.links[0].sessions == 0, description="no channel is left")


def asleep(word: str) -> bool:
    """Tell whether a program runs that was started by a line with this word."""
    for pid in filter(str.isdigit, os.listdir("/proc")):  # noqa: PTH208
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as line:  # noqa: PTH123
                if word.encode() in line.read():
                    return True
        except OSError:
            continue
    return False
