"""C3: the last output and the exact exit status arrive, however a program ends."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from support.bursts import cases
from support.same import assert_same
from support.service import Service

if TYPE_CHECKING:
    import random
    from collections.abc import Callable
    from pathlib import Path

    from support.bursts import Case

AT_ONCE = 16


async def run_case(service: Service, case: Case) -> None:
    """Run the program in a session of its own, watch it, and compare everything."""
    command = ["sh", "-c", case.script, "sh", *case.arguments]
    session_id = (await service.create_session(command=command, env={"LC_ALL": "C.UTF-8"}))["session_id"]
    async with service.client(session_id) as client:
        ended = await client.wait_ended(seconds=30)
    assert_same(client.data, case.output, case.script)
    assert (ended["exit_code"], ended["signal"]) == (case.exit_code, case.signal), case
    info = await service.info(session_id)
    assert (info["state"], info["exit_code"], info["signal"]) == ("ended", case.exit_code, case.signal), case
    assert_same(await service.output(session_id), case.output, case.script)
    await service.delete(session_id)


@pytest.mark.full
@pytest.mark.timeout(240)
async def test_last_output_and_exact_exit_status_of_programs_that_burst_and_exit(
    tmp_path: Path, size: Callable[[int, int], int], rng: random.Random
) -> None:
    programs = cases(rng)
    left = size(1_000, 10_000)
    async with Service(tmp_path, MAX_CONCURRENT_SESSIONS_PER_USER="1000") as service:
        before = {child.pid for child in service.psutil.children(recursive=True)}

        async def work() -> None:
            nonlocal left
            while left > 0:
                left -= 1
                await run_case(service, next(programs))

        async with asyncio.TaskGroup() as tasks:
            for _ in range(AT_ONCE):
                tasks.create_task(work())
        assert {child.pid for child in service.psutil.children(recursive=True)} == before


@pytest.mark.parametrize(("command", "code"), [(["/no/such/program"], 127), (["/etc/passwd"], 126)])
async def test_a_command_that_cannot_be_executed_tells_why_and_which_way(
    tmp_path: Path, command: list[str], code: int
) -> None:
    async with Service(tmp_path) as service:
        session_id = (await service.create_session(command=command))["session_id"]
        async with service.client(session_id) as client:
            ended = await client.wait_ended()
    assert ended["exit_code"] == code
    assert command[0].encode() in client.data
