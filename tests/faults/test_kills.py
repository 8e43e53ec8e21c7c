"""Processes that are killed, stopped or deaf: told exactly, and nothing of a session outlives it (A8)."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sys
import textwrap
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from support.service import Service
from support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from support.client import Client

pytestmark = pytest.mark.platform("linux")

GRACE_SECONDS = 0.3
SECRETS = {
    name: f"canary-{number}-{name.lower()}"
    for number, name in enumerate(
        (
            *("DATABASE_URL", "AWS_SECRET_ACCESS_KEY", "GITHUB_TOKEN", "SSH_AUTH_SOCK", "JWT_ALGORITHM"),
            *("LD_LIBRARY_PATH", "PYTHONPATH", "BASH_ENV", "ENV", "HTTP_PROXY", "DISPLAY", "CANARY"),
        )
    )
} | {"REDIS_URL": "redis://canary:canary-password@127.0.0.1:1/0"}  # nobody is there, which it must say without that
KEY = "canary-0123456789abcdef"

# Forks twice around a setsid, so that it is nobody's child and in nobody's session; hears nothing but KILL.
ESCAPE = textwrap.dedent("""
    import os, signal, time
    if os.fork(): os._exit(0)
    os.setsid()
    if os.fork(): os._exit(0)
    for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT): signal.signal(number, signal.SIG_IGN)
    print("<%d>" % os.getpid(), flush=True)
    time.sleep(600)
""")
FAMILY = (
    'trap \'\' HUP TERM INT; sleep 600 & echo "<$!>"; (sleep 600; sleep 600) & echo "<$!>"; '
    f"setsid sh -c 'echo \"<$$>\"; sleep 600; sleep 600' & {sys.executable} -c '{ESCAPE}'; echo \"<$$>\"; "
    "sleep 600; while :; do sleep 600; done"
)
FAMILY_SIZE = 5


def is_gone(pid: int) -> bool:
    """Tell whether a process has ended (one that only waits for its parent counts)."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    async with Service(tmp_path, STOP_GRACE_SECONDS=str(GRACE_SECONDS)) as service:
        yield service
        assert "Traceback" not in service.log()


async def start_family(service: Service, **fields: object) -> tuple[str, list[int]]:
    """Start a shell with children, grandchildren and fugitives, deaf to what is polite; return session and pids."""
    session = (await service.create_session(command=["sh", "-c", FAMILY], **fields))["session_id"]
    async with service.client(session) as client:
        await client.wait(lambda: len(pids(client)) == FAMILY_SIZE, "the whole family")
        family = pids(client)
    for pid in family:
        family += [child.pid for child in psutil.Process(pid).children(recursive=True) if child.pid not in family]
    assert not any(is_gone(pid) for pid in family)
    return session, family


def pids(client: Client) -> list[int]:
    """Return the pids that were printed."""
    return [int(pid) for pid in re.findall(rb"<(\d+)>", client.data)]


async def all_gone(family: list[int]) -> None:
    """Wait until nothing is left."""
    await wait_until(lambda: all(map(is_gone, family)), description=f"the end of {family}")


async def test_the_whole_tree_dies_when_a_session_is_deleted(service: Service) -> None:
    session, family = await start_family(service)
    began = time.monotonic()
    await service.delete(session)
    assert time.monotonic() - began < 15
    await all_gone(family)
    assert (await service.info(session))["end_reason"] == "deleted"
    await service.delete(session)  # again: harmless


async def test_the_whole_tree_dies_when_the_time_is_over(service: Service) -> None:
    session, family = await start_family(service, keepalive=False)
    answer = await service.http.patch(f"/api/v1/sessions/{session}", json={"ttl_seconds": 1})
    assert answer.status_code == 200, answer.text
    await all_gone(family)

    async def is_over() -> bool:
        return bool((await service.info(session))["state"] == "ended")

    await wait_until(is_over, description="the end")
    assert (await service.info(session))["end_reason"] == "ttl"


async def test_the_whole_tree_dies_when_the_service_is_terminated(service: Service) -> None:
    _, family = await start_family(service)
    _, stopped = await start_family(service)
    os.kill(stopped[0], signal.SIGSTOP)
    assert await service.stop() == 0
    assert [pid for pid in (*family, *stopped) if not is_gone(pid)] == []


async def test_a_stopped_shell_is_deleted_all_the_same(service: Service) -> None:
    session, family = await start_family(service)
    pid = (await service.info(session))["pid"]
    for each in family:
        os.kill(each, signal.SIGSTOP)
    await wait_until(lambda: psutil.Process(pid).status() == psutil.STATUS_STOPPED, description="a stopped shell")
    async with service.client(session) as client:
        await service.delete(session)
        assert (await client.wait_ended())["reason"] == "deleted"
    await all_gone(family)


async def test_a_killed_shell_is_told_and_takes_its_tree_along(service: Service) -> None:
    session, family = await start_family(service)
    pid = (await service.info(session))["pid"]
    async with service.client(session) as client:
        os.kill(pid, signal.SIGKILL)
        ended = await client.wait_ended()
    assert (ended["exit_code"], ended["signal"], ended["pid"]) == (None, "SIGKILL", pid)
    await all_gone(family)
    assert (await service.info(session))["signal"] == "SIGKILL"


async def test_a_killed_grandchild_harms_nobody_but_itself(service: Service) -> None:
    session = (await service.create_session(command=["sh"]))["session_id"]
    async with service.client(session) as client:
        client.send_line("sh -c 'echo \"<$$>\"; exec sleep 600'; echo status $?")
        await client.wait(lambda: pids(client), "a grandchild")
        os.kill(pids(client)[0], signal.SIGKILL)
        await client.wait_for_output(rb"status 137\r\n")
        client.send_line("echo still $((40+2))")
        await client.wait_for_output(rb"still 42\r\n")


# -- what a program starts with


async def shown(service: Service, *command: str) -> str:
    """Run a command to its end; return what it printed."""
    session = (await service.create_session(command=list(command)))["session_id"]
    async with service.client(session) as client:
        await client.wait_ended()
    return client.data.decode()


def of(variables: dict[str, str]) -> list[str]:
    """Return variables as env(1) takes them."""
    return [f"{name}={value}" for name, value in variables.items()]


def descriptors(pid: int) -> dict[str, str]:
    """Return what a process has open."""
    return {link.name: str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir()}


async def test_a_program_has_three_descriptors_a_session_of_its_own_and_no_secrets(tmp_path: Path) -> None:
    keys = f"alice:{KEY}"
    headers = {"Authorization": f"Bearer {KEY}"}
    service = Service(tmp_path, headers=headers, prefix=("env", *of(SECRETS)), API_KEYS=keys, LC_TIME="C", TZ="UTC")
    async with service:
        # The service's own environment holds them, and a user may look into what is the same user's: a session of
        # that user could read them there. That is why keys may be given as hashes.
        of_service = psutil.Process(service.pid).environ()
        assert of_service["API_KEYS"].endswith(KEY)
        variables = dict(line.split("=", 1) for line in (await shown(service, "env")).splitlines())
        assert "canary" not in str(variables)
        assert variables.keys() >= {"PATH", "HOME", "TERM", "TERMINAL_SESSION_ID", "LC_TIME", "TZ"}
        assert not variables.keys() & {*SECRETS, "API_KEYS"}
        for shell in ("bash", "sh"):
            session = (await service.create_session(shell=shell, env={"HOME": str(tmp_path)}))["session_id"]
            async with service.client(session) as client:
                client.send_line('echo "found $(env | grep -ci canary)."')
                await client.wait_for_output(rb"found 0\.")
            await service.delete(session)

        # Beside sessions, viewers and requests that are open, so that there is something to inherit.
        other = (await service.create_session(command=["cat"]))["session_id"]
        async with service.client(other), service.client(other, encoding="json"):
            sessions = [await service.create_session(command=["sleep", "600"]) for _ in range(3)]
            for created in sessions:
                pid = created["pid"]
                links = descriptors(pid)
                assert sorted(links) == ["0", "1", "2"]
                assert len(set(links.values())) == 1
                assert links["0"].startswith("/dev/pts/")
                assert os.getsid(pid) == os.getpgid(pid) == pid
        assert KEY not in service.log()
        assert "canary" not in service.log()
        metrics = await service.http.get("/metrics")
        assert "canary" not in metrics.text


async def test_many_ends_at_once_are_all_told(service: Service) -> None:
    sessions = [await service.create_session(command=["sleep", "600"]) for _ in range(20)]
    async with contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(service.client(each["session_id"])) for each in sessions]
        for each in sessions:
            os.kill(each["pid"], signal.SIGKILL)
        for client in clients:
            assert (await client.wait_ended())["signal"] == "SIGKILL"
    listed = (await service.http.get("/api/v1/sessions", params={"state": "ended"})).json()
    assert len(listed) == 20
