"""L1 and L4: a slow viewer harms nobody, and use leaves nothing behind."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from support.service import Service
from support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.client import Client

TESTS = Path(__file__).parents[1]
MIB = 1 << 20
FLOOD = ["sh", "-c", "exec yes 'the quick brown fox jumps over the lazy dog 0123456789 abcdefghijklmnop'"]
ROUNDS = 3
ECHO = ["sh", "-c", "stty raw -echo; printf READY; exec cat"]


async def start_viewer(service: Service, session_id: str) -> asyncio.subprocess.Process:
    """Start a viewer in a process of its own, so that it can be stopped as a sleeping laptop is."""
    viewer = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "support.viewer", service.base_url, session_id, cwd=TESTS, stdout=asyncio.subprocess.PIPE
    )
    assert viewer.stdout is not None
    assert await viewer.stdout.readline() == b"attached\n"
    return viewer


async def echo_times(client: Client, seconds: float) -> list[float]:
    """Type for some time, and return how long each keystroke took to come back, in seconds."""
    times = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        position, began = client.position, time.perf_counter()
        client.send_unnumbered(b"x")
        await client.wait(lambda at=position: client.position > at, "an echo")  # type: ignore[misc]
        times.append(time.perf_counter() - began)
        await asyncio.sleep(0.002)
    return times


def p99(times: list[float]) -> float:
    """Return the 99th percentile."""
    return statistics.quantiles(times, n=100)[98]


@pytest.mark.full
@pytest.mark.timeout(240)
async def test_a_stopped_viewer_changes_nobody_elses_echo_and_no_memory(
    tmp_path: Path, size: Callable[[int, int], int]
) -> None:
    seconds = size(10, 60)
    async with Service(tmp_path) as service:
        flood = (await service.create_session(command=FLOOD))["session_id"]
        echo = (await service.create_session(command=ECHO))["session_id"]
        viewer = await start_viewer(service, flood)
        try:
            async with (
                service.client(echo) as typist,
                service.client(flood, mode="live", recover_from=None, keep=False) as watching,
            ):
                await typist.wait_for_output(b"READY")

                async def compare() -> tuple[float, float]:
                    """Return the 99th percentiles of echoes while it is awake and while it is stopped."""
                    awake: list[float] = []
                    stopped: list[float] = []
                    # In turns, so that whatever else this machine does falls on both alike.
                    for _ in range(4):
                        awake += await echo_times(typist, seconds / 8)
                        before, position = service.psutil.memory_info().rss, watching.position
                        viewer.send_signal(signal.SIGSTOP)
                        stopped += await echo_times(typist, seconds / 8)
                        assert service.psutil.memory_info().rss - before < 32 * MIB
                        assert watching.position > position  # the flood goes on for those who read
                        viewer.send_signal(signal.SIGCONT)
                    return p99(awake), p99(stopped)

                compared: list[tuple[float, float]] = []
                while not any(stopped < 1.2 * awake + 0.005 for awake, stopped in compared):
                    assert len(compared) < ROUNDS, compared  # what the service does to others it does each time
                    compared.append(await compare())
        finally:
            viewer.send_signal(signal.SIGCONT)
            viewer.kill()
            await viewer.wait()


def belongings(service: Service) -> dict[str, object]:
    """Return what the service holds: all of it must be as before once what was created is gone."""
    process = service.psutil
    children = process.children(recursive=True)
    kept_open = sum(one.status == psutil.CONN_ESTABLISHED for one in process.net_connections("tcp"))  # by our client
    return {
        "descriptors": process.num_fds() - kept_open,
        "threads": process.num_threads(),
        "children": len(children),
        "their descriptors": sum(child.num_fds() for child in children),
        "terminals": sum(link.startswith("/dev/ptmx") or "/dev/pts/" in link for link in links(process.pid)),
        "files": sorted(str(path) for path in service.state.rglob("*") if path.is_file()),
    }


def links(pid: int) -> list[str]:
    """Return what a process's descriptors are."""
    found = []
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found.append(str(entry.readlink()))
        except FileNotFoundError:  # closed meanwhile
            continue
    return found


async def use_once(service: Service, number: int) -> None:
    """Create a session, use it as real clients do, and let go of it in one of several ways."""
    session_id = (
        await service.create_session(command=["sh", "-c", "stty -echo; echo READY; read l; echo $l; exec cat"])
    )["session_id"]
    async with service.client(session_id, encoding=("msgpack", "json", "raw")[number % 3]) as client:
        await client.wait_for_output(b"READY")
        client.send_line(f"number {number}")
        await client.wait_for_output(b"number %d" % number)
        client.resize(20 + number % 10, 80)
        if number % 4 == 0:
            await client.detach()
        elif number % 4 == 1:
            client.abort()
        elif number % 4 == 2:
            client.signal("KILL")
            await client.wait_ended()
    await service.delete(session_id, missing_ok=True)  # one that has ended may be forgotten already


@pytest.mark.full
@pytest.mark.timeout(240)
async def test_sessions_that_are_gone_leave_nothing_behind(tmp_path: Path, size: Callable[[int, int], int]) -> None:
    cycles = size(300, 10_000)
    async with Service(tmp_path, ENDED_SESSION_SECONDS="0") as service:

        async def use_many(numbers: range) -> None:
            for number in numbers:
                await use_once(service, number)

        await use_many(range(20))  # whatever is made once is made now: thread pools, caches, loggers
        await wait_until_all_is_forgotten(service)
        before, memory = belongings(service), service.psutil.memory_info().rss
        async with asyncio.TaskGroup() as tasks:
            for worker in range(4):
                tasks.create_task(use_many(range(worker, cycles, 4)))
        await wait_until_all_is_forgotten(service)
        left: dict[str, tuple[object, object]] = {}

        def is_as_before() -> bool:
            nonlocal left
            left = differences(before, belongings(service))
            return not left

        with contextlib.suppress(AssertionError):
            await wait_until(is_as_before, description="all as before")
        assert left == {}
        assert service.psutil.memory_info().rss - memory < 32 * MIB


def differences(before: dict[str, object], after: dict[str, object]) -> dict[str, tuple[object, object]]:
    """Return what is not as before."""
    return {name: (before[name], after[name]) for name in before if before[name] != after[name]}


async def wait_until_all_is_forgotten(service: Service) -> None:
    """Wait until the service knows no session any more, not even an ended one, and has removed their files."""

    async def is_forgotten() -> bool:
        known = (await service.http.get("/api/v1/sessions", params={"state": "all"})).json()
        return known == [] and not service.psutil.children() and not any((service.state / "sessions").iterdir())

    await wait_until(is_forgotten, description="no session")
