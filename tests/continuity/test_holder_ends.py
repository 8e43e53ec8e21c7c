"""The holder is killed: what runs goes on as long as the service lives, and what nobody knows any more is told."""

from __future__ import annotations

import functools
import os
import signal
import sys
from typing import TYPE_CHECKING

import psutil
import pytest

from support import parrot
from support.holders import held_pids, holder_pid
from support.restarts import Restarts, wait_until_back
from support.same import assert_same
from support.terminals import is_alive
from support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from support.client import Client

pytestmark = pytest.mark.platform("linux")

HOLDERS_KILLED = 5
HELD_SECONDS = 8.0
"""What another holder has the programs in, on a busy machine; far less than a holder is given to start."""


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Restarts]:
    async with Restarts(tmp_path, STOP_GRACE_SECONDS="0.3") as service:
        yield service
        assert "Traceback" not in service.log()


async def start_parrot(service: Restarts, directory: Path) -> tuple[str, int]:
    """Start a program that prints all the time; return its session's id and its process id."""
    directory.mkdir()  # noqa: ASYNC240 - of this machine
    command = [sys.executable, "-I", "-S", parrot.__file__, str(directory)]
    session = await service.create_session(command=command)
    return session["session_id"], session["pid"]


def holder_of(service: Restarts) -> int:
    """Return the process id of the service's holder."""
    pid = holder_pid(service.holder)
    assert pid is not None
    return pid


async def kill_holder(service: Restarts, number: int = signal.SIGKILL) -> int:
    """Kill the holder, and wait until it is gone; return what its process id was."""
    holder = holder_of(service)
    os.kill(holder, number)
    await wait_until(lambda: not is_alive(holder), description="the end of the holder")
    return holder


async def wait_until_held(service: Restarts, pids: list[int]) -> None:
    """Wait until a holder has exactly these programs."""
    await wait_until(
        lambda: sorted(held_pids(service.holder)) == sorted(pids),
        description="a holder that has them",
        timeout=HELD_SECONDS,
    )


async def goes_on(client: Client, word: str) -> None:
    """Fail unless the program still prints and answers."""
    position = client.position
    client.send_input(word.encode() + b"\n")
    await client.wait_for_output(rb"\ngot %s\r\n" % word.encode(), since=position - 1)
    await client.wait(lambda: client.position > position + 4096, "more output")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=lambda number: number.name)
async def test_sessions_go_on_without_their_holder_and_new_ones_get_another(
    service: Restarts, tmp_path: Path, number: signal.Signals
) -> None:
    session_id, pid = await start_parrot(service, tmp_path / "old")
    async with service.client(session_id) as client:
        await client.wait_for_output(b"READY")
        dead = await kill_holder(service, number)
        await goes_on(client, "alone")
        assert is_alive(pid)
        other_id, other_pid = await start_parrot(service, tmp_path / "new")
        await wait_until_held(service, [pid, other_pid])
        assert psutil.Process(other_pid).ppid() == holder_of(service) != dead
        async with service.client(other_id) as other:
            await goes_on(other, "new")
            other.send_input(b"end\n")
            ended = await other.wait_ended()
            assert (ended["exit_code"], ended["signal"]) == (parrot.EXIT_CODE, None)
        await goes_on(client, "still")
        client.send_input(b"end\n")
        ended = await client.wait_ended()
    # Its parent was the holder that is gone: how it ended nobody knows, and nobody may say 0.
    assert (ended["exit_code"], ended["signal"]) == (None, None)
    assert "not known" in ended["message"]
    info = await service.info(session_id)
    assert (info["state"], info["exit_code"], info["signal"]) == ("lost", None, None)
    assert info["end_reason"] == ended["reason"]
    assert_same(client.data, (tmp_path / "old" / parrot.WROTE).read_bytes())
    assert client.transcript.gaps == []


async def test_many_holders_in_a_row_may_be_killed_and_the_service_too(service: Restarts, tmp_path: Path) -> None:
    session_id, pid = await start_parrot(service, tmp_path / "0")
    async with service.client(session_id, retry_seconds=0.1) as client:
        await client.wait_for_output(b"READY")
        for number in range(HOLDERS_KILLED):
            await kill_holder(service)
            await wait_until_held(service, [pid])
            died = await service.restart(signal.SIGTERM if number % 2 else signal.SIGKILL)
            await wait_until_back([client], since=died)
            await goes_on(client, f"round {number}")
            assert (await service.info(session_id))["pid"] == pid
        client.send_input(b"end\n")
        assert (await client.wait_ended())["exit_code"] is None
    assert_same(client.data, (tmp_path / "0" / parrot.WROTE).read_bytes())
    typed = b"".join(b"round %d\n" % number for number in range(HOLDERS_KILLED)) + b"end\n"
    assert (tmp_path / "0" / parrot.READ).read_bytes() == typed


@pytest.mark.parametrize("holder_first", [True, False], ids=["holder first", "service first"])
async def test_without_service_and_holder_sessions_are_lost_with_the_reason_and_read_whole(
    service: Restarts, tmp_path: Path, *, holder_first: bool
) -> None:
    session_id, pid = await start_parrot(service, tmp_path / "0")
    async with service.client(session_id, reconnect=False) as client:
        await client.wait(lambda: client.position > 20_000, "output")
        if holder_first:
            service.send_signal(signal.SIGSTOP)  # or it would give its programs to another holder
            await kill_holder(service)
            await service.kill()
        else:
            await service.kill()
            await kill_holder(service)
        await client.wait_over()
    await wait_until(functools.partial(is_gone, pid), description="the end of the program, whose terminal is gone")
    await service.start()
    info = await service.info(session_id)
    assert (info["state"], info["exit_code"], info["signal"]) == ("lost", None, None)
    assert "holder" in info["end_reason"]
    kept = await service.output(session_id)
    assert len(kept) >= client.position
    assert_same(client.data, kept[: client.position])
    wrote = (tmp_path / "0" / parrot.WROTE).read_bytes()  # the hangup may have come between a line and its copy
    assert_same(kept[: len(wrote)], wrote[: len(kept)])
    async with service.client(session_id) as later:
        ended = await later.wait_ended()
    assert ended["reason"] == info["end_reason"]
    assert_same(later.data, kept)
    other_id, _ = await start_parrot(service, tmp_path / "1")
    async with service.client(other_id) as other:
        await goes_on(other, "again")


def is_gone(pid: int) -> bool:
    """Tell whether a process has ended."""
    return not is_alive(pid)


async def test_a_program_that_ends_while_no_service_runs_is_told_with_all_it_printed(
    service: Restarts, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    script = f"printf before; until test -e {gate}; do sleep 0.05; done; printf after; exit 9"
    session = await service.create_session(command=["sh", "-c", script])
    async with service.client(session["session_id"], retry_seconds=0.1) as client:
        await client.wait_for_output(b"before")
        await service.kill()
        gate.touch()
        await wait_until(functools.partial(is_gone, session["pid"]), description="the end of the program")
        await service.start()
        ended = await client.wait_ended()
    assert client.data == b"beforeafter"
    assert (ended["exit_code"], ended["signal"]) == (9, None)
    info = await service.info(session["session_id"])
    assert (info["state"], info["exit_code"]) == ("ended", 9)
    await wait_until_held(service, [])
