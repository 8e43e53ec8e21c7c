"""How the service is stopped: by signals, once or twice, by its terminal, and by `terminal-service stop`."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pty
import signal
import sys
from typing import TYPE_CHECKING

import psutil
import pytest

from support.ended import END_SECONDS, Ended, end_of
from support.service import ROOT, Service
from support.wait import wait_until
from terminal_service.asked import INSISTING_SECONDS

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator
    from pathlib import Path

    from support.client import Client

pytestmark = pytest.mark.platform("linux", "darwin")

STUBBORN = "trap '' HUP TERM; printf READY; while :; do sleep 600; done"


async def stop(service: Service, *arguments: str, **settings: str) -> Ended:
    """Run `terminal-service stop` on the service's state directory."""
    return await end_of(await service.start_command("-m", "terminal_service", "stop", *arguments, **settings))


def is_gone(pid: int) -> bool:
    """Tell whether a process has ended (one that only waits for its parent counts)."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def holder_runs(service: Service) -> bool:
    return (service.holder / "holder.sock").exists()


def last_state(service: Service, session_id: str) -> tuple[str, str]:
    """Return the last state of a session and its reason, as its record has them."""
    record = json.loads((service.state / "sessions" / session_id / "session.json").read_text())
    state, reason, _ = record["history"][-1]
    return state, reason


async def test_stop_keeps_the_shells_and_the_next_start_has_them(tmp_path: Path) -> None:
    async with Service(tmp_path, STOP_SESSIONS_ON_EXIT="false") as service:
        session = await service.create_session(command=["cat"])
        ended = await stop(service)
        assert (ended.code, ended.err) == (0, "")
        assert f"process {service.pid}; its sessions (1) go on" in ended.out
        assert ended.out.endswith("Stopped.\n")
        assert await service.wait() == 0
        assert not is_gone(session["pid"])
        assert not (service.state / "control.sock").exists()
        await service.start()
        info = await service.info(session["session_id"])
        assert (info["state"], info["pid"]) == ("running", session["pid"])


async def test_stop_does_as_sigterm_does(tmp_path: Path) -> None:
    async with Service(tmp_path, STOP_SESSIONS_ON_EXIT="true") as service:
        session = await service.create_session(command=["cat"])
        assert "its sessions (1) end" in (await stop(service)).out
        assert await service.wait() == 0
        assert is_gone(session["pid"])


async def test_stop_all_ends_every_session_and_the_holder(tmp_path: Path) -> None:
    async with Service(tmp_path, STOP_SESSIONS_ON_EXIT="false") as service:
        sessions = [await service.create_session(command=["cat"]) for _ in range(3)]
        ended = await stop(service, "--all")
        assert (ended.code, ended.err) == (0, "")
        assert "its sessions (3) end" in ended.out
        assert await service.wait() == 0
        assert all(is_gone(session["pid"]) for session in sessions)
        assert not holder_runs(service)
        assert last_state(service, sessions[0]["session_id"]) == ("ended", "shutdown")


async def test_stop_all_ends_what_a_killed_service_has_left(tmp_path: Path) -> None:
    async with Service(tmp_path, STOP_GRACE_SECONDS="0.3") as service:
        sessions = [await service.create_session(command=["sh", "-c", script]) for script in ("exec cat", STUBBORN)]
        async with service.client(sessions[1]["session_id"]) as client:
            await client.wait_for_output(b"READY")
        await service.kill()
        assert not any(is_gone(session["pid"]) for session in sessions)
        ended = await stop(service, "--all")
        assert (ended.code, ended.err) == (0, ""), ended
        assert ended.out.endswith("Sessions ended: 2.\n")
        assert all(is_gone(session["pid"]) for session in sessions)
        assert not holder_runs(service)
        again = await stop(service, "--all")
        assert (again.code, again.out.endswith("Sessions ended: 0.\n")) == (0, True)
        await service.start()
        for session in sessions:
            info = await service.info(session["session_id"])
            assert (info["state"], info["end_reason"]) == ("ended", "shutdown")
            assert info["signal"] in ("SIGHUP", "SIGKILL")


async def test_a_stale_pid_is_never_believed(tmp_path: Path) -> None:
    async with Service(tmp_path) as service:
        await service.kill()
        assert (service.state / "control.sock").exists()
        somebody = await asyncio.create_subprocess_exec("sleep", "600")
        try:
            told = {"url": service.base_url, "pid": somebody.pid}
            (service.state / "service.json").write_text(json.dumps(told))
            ended = await stop(service)
            assert (ended.code, ended.out) == (0, f"No service is running on {service.state}.\n")
            assert somebody.returncode is None
            assert not is_gone(somebody.pid)
        finally:
            somebody.kill()
            await somebody.wait()


async def test_where_nothing_is_stop_makes_nothing(tmp_path: Path) -> None:
    service = Service(tmp_path / "never")
    (tmp_path / "never").mkdir()
    for arguments in ((), ("--all",)):
        ended = await stop(service, *arguments)
        assert (ended.code, ended.err) == (0, "")
    assert not service.state.exists()


async def test_stop_says_when_it_takes_too_long_and_may_be_asked_again(tmp_path: Path) -> None:
    async with Service(tmp_path, STOP_GRACE_SECONDS="60") as service:
        session = await service.create_session(command=["sh", "-c", STUBBORN])
        async with service.client(session["session_id"], reconnect=False) as client:
            await client.wait_for_output(b"READY")
            late = await stop(service, "--all", "--timeout", "0.3")
            assert late.code == 1
            assert "Not stopped yet" in late.out
            again = await stop(service, "--timeout", "0.3")
            assert (again.code, "ending already" in again.out) == (1, True), again
        await asyncio.sleep(INSISTING_SECONDS)  # sooner it would be taken for the first one, passed on
        service.send_signal(signal.SIGTERM)  # the second wish: at once
        assert await service.wait() == 0
        assert is_gone(session["pid"])


async def test_a_wrong_setting_and_help_are_told_as_for_a_start(tmp_path: Path) -> None:
    service = Service(tmp_path)
    wrong = await stop(service, PORT="eighty")
    assert (wrong.code, wrong.out) == (2, "")
    assert "PORT" in wrong.err
    helped = await stop(service, "--help")
    assert (helped.code, helped.err) == (0, "")
    assert "--all" in helped.out
    assert "Exit codes" in helped.out


async def insist(service: Service, client: Client) -> None:
    """Press Ctrl-C, and again when the viewer has been told and a person would press it again."""
    service.send_signal(signal.SIGINT)
    await client.wait_over()
    await asyncio.sleep(INSISTING_SECONDS)  # the time between the two is what counts
    service.send_signal(signal.SIGINT)


async def test_a_second_ctrl_c_ends_stubborn_programs_at_once(tmp_path: Path) -> None:
    async with Service(tmp_path, STOP_GRACE_SECONDS="300") as service:
        sessions = [await service.create_session(command=["sh", "-c", STUBBORN]) for _ in range(3)]
        for session in sessions:
            async with service.client(session["session_id"], reconnect=False) as client:
                await client.wait_for_output(b"READY")
        async with service.client(sessions[0]["session_id"], reconnect=False) as client:
            await insist(service, client)
            assert await service.wait() == 0
        assert all(is_gone(session["pid"]) for session in sessions)
        assert not holder_runs(service)
        assert "Traceback" not in service.log()
        assert last_state(service, sessions[0]["session_id"]) == ("ended", "shutdown")


async def test_ctrl_c_that_comes_twice_at_once_counts_once(tmp_path: Path) -> None:
    async with Service(tmp_path, STOP_GRACE_SECONDS="20") as service:
        saves = "trap 'sleep 1; echo saved > $HOME/saved; exit' HUP; printf READY; while :; do sleep 0.1; done"
        session = await service.create_session(command=["sh", "-c", saves], env={"HOME": str(tmp_path)})
        async with service.client(session["session_id"], reconnect=False) as client:
            await client.wait_for_output(b"READY")
            service.send_signal(signal.SIGINT)
            await wait_until(lambda: "stopping" in service.log(), description="the first to be heard")
            service.send_signal(signal.SIGINT)
            assert await service.wait() == 0
        assert (tmp_path / "saved").read_text() == "saved\n"


async def test_ctrl_c_while_it_starts_leaves_no_trace(tmp_path: Path, rng: random.Random) -> None:
    service = Service(tmp_path)
    lock = service.state / "lock"
    for _ in range(4):
        lock.unlink(missing_ok=True)
        process = await service.start_command("run.py")
        await wait_until(lock.exists, description="it to begin")  # before that it is Python that starts
        await asyncio.sleep(rng.uniform(0, 0.6))  # the moment is what this is about
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(END_SECONDS):
            _, err = await process.communicate()
        assert process.returncode in (0, 130)
        assert b"Traceback" not in err
    assert not holder_runs(service)


@pytest.fixture
def window() -> Iterator[tuple[int, int]]:
    """Give a terminal, both ends."""
    ends = pty.openpty()
    yield ends
    for end in ends:
        with contextlib.suppress(OSError):
            os.close(end)


async def test_closing_the_terminal_keeps_the_shells(tmp_path: Path, window: tuple[int, int]) -> None:
    master, slave = window
    service = Service(tmp_path, STOP_SESSIONS_ON_EXIT="false")
    run = "import fcntl, os, sys, termios; os.setsid(); fcntl.ioctl(0, termios.TIOCSCTTY, 0);"
    run += "os.execv(sys.executable, [sys.executable, 'run.py'])"
    service.state.mkdir(parents=True)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", run, cwd=ROOT, env=service._environment(), stdin=slave, stdout=slave, stderr=slave
    )
    os.close(slave)
    try:
        service.log_path.touch()
        await service.become(process)
        session = await service.create_session(command=["cat"])
        await service._close_http()
        os.close(master)
        async with asyncio.timeout(END_SECONDS):
            assert await process.wait() == 0
        service._process = None
        assert not (service.state / "service.json").exists()
        assert not is_gone(session["pid"])
        async with service:
            info = await service.info(session["session_id"])
            assert (info["state"], info["pid"]) == ("running", session["pid"])
            assert (await stop(service, "--all")).code == 0
            assert await service.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_nohup_is_obeyed(tmp_path: Path) -> None:
    async with Service(tmp_path, prefix=("sh", "-c", "trap '' HUP; exec \"$@\"", "sh")) as service:
        service.send_signal(signal.SIGHUP)
        assert (await service.http.get("/health/ready")).is_success
        service.send_signal(signal.SIGTERM)
        assert await service.wait() == 0
        assert '"SIGTERM"' in service.log()
