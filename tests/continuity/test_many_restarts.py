"""L4 for restarts: a service that comes and goes leaves nothing behind, in its holder or on disk, and stays small."""

from __future__ import annotations

import asyncio
import re
import signal
import sys
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from support import parrot
from support.holders import held_pids, holder_pid
from support.restarts import Restarts
from support.same import assert_same
from support.wait import wait_until

if TYPE_CHECKING:
    import random
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.platform("linux")

MB = 1_000_000
HOLDER_BYTES = 15 * MB
START_SECONDS = 1.0
"""A service that is killed at a random moment before this may be anywhere in its start, or just be ready."""


def look(service: Restarts, holder: psutil.Process) -> dict[str, Any]:
    """Return what there is of a service, its holder and its files, but for what every start changes."""
    return {
        "service": belongings(service.psutil),
        "holder": belongings(holder),
        "files": sorted(str(path.relative_to(service.state)) for path in service.state.rglob("*")),
        "processes": sorted(processes_about(service.state)),
    }


def belongings(process: psutil.Process) -> dict[str, int]:
    """Return how much a process holds."""
    return {
        "descriptors": process.num_fds(),
        "threads": process.num_threads(),
        "children": len(process.children(recursive=True)),
    }


def processes_about(directory: Path) -> list[str]:
    """Return the programs of all processes that were told of a directory, in their arguments or environment."""
    mark = re.compile(rf"{re.escape(str(directory))}(/|$)", re.MULTILINE)
    found = []
    for process in psutil.process_iter():
        try:
            told = [*process.cmdline(), *process.environ().values()]
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
        if any(mark.search(each) for each in told):
            found.append(" ".join(process.cmdline()))
    return found


async def settle(service: Restarts, holder: psutil.Process, before: dict[str, Any]) -> None:
    """Wait until all is as before; fail with what is not."""
    left: dict[str, Any] = {}

    def is_as_before() -> bool:
        now = look(service, holder)
        left.clear()
        left.update({name: (before[name], now[name]) for name in before if now[name] != before[name]})
        return not left

    try:
        await wait_until(is_as_before, description="all as before", timeout=10)
    except AssertionError:
        raise AssertionError(f"not as before: {left}") from None


@pytest.mark.full
async def test_a_hundred_restarts_leave_nothing_behind(
    tmp_path: Path, size: Callable[[int, int], int], rng: random.Random
) -> None:
    restarts = size(20, 100)
    (tmp_path / "0").mkdir()
    async with Restarts(tmp_path) as service:
        pid = holder_pid(service.holder)
        assert pid is not None
        holder = psutil.Process(pid)
        await asyncio.sleep(1)
        empty = belongings(holder)
        command = [sys.executable, "-I", "-S", parrot.__file__, str(tmp_path / "0"), "0.02", "2"]
        created = [await service.create_session(command=command), await service.create_session(shell="sh")]
        session, idle = (each["session_id"] for each in created)
        programs = [each["pid"] for each in created]
        async with service.client(session) as client:
            await client.wait_for_output(b"READY")
        # The first restart is not counted: only then all that a restart leaves once is there.
        await service.restart()
        await asyncio.sleep(1)  # threads and connections of the start are at rest
        before = look(service, holder)
        memory = holder.memory_info().rss
        assert memory <= HOLDER_BYTES
        for number in range(restarts):
            if number % 3 == 2:
                await service.end()
                await service.start_and_kill(rng.uniform(0, START_SECONDS))
                await service.start()
            else:
                await service.restart((signal.SIGKILL, signal.SIGTERM)[number % 3])
        await settle(service, holder, before)
        assert holder_pid(service.holder) == pid
        assert sorted(held_pids(service.holder)) == sorted(programs)
        grown = holder.memory_info().rss
        assert grown <= HOLDER_BYTES
        assert grown - memory <= 0.5 * MB
        print(f"holder: {memory / MB:.1f} MB, {grown / MB:.1f} MB after {restarts} restarts")  # noqa: T201 - a figure
        async with service.client(session) as client, service.client(idle) as other:
            client.send_input(b"end\n")
            assert (await client.wait_ended())["exit_code"] == parrot.EXIT_CODE
            other.send_line("exit 4")
            assert (await other.wait_ended())["exit_code"] == 4
        assert_same(client.data, (tmp_path / "0" / parrot.WROTE).read_bytes())
        assert client.transcript.gaps == []
        assert "Traceback" not in service.log()
        await wait_until(lambda: belongings(holder) == empty, description=f"a holder as before: {empty}")
