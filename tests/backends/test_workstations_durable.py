"""Durable sessions in workstations: what a cut tunnel, a killed service and a stopped workstation do to them."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from backends.base import Lost, Order, Program
from backends.errors import NotProvided
from backends.profile import Site
from backends.workstations.backend import WorkstationsBackend
from support.holders import stop_holder
from support.sink import CollectingSink
from support.terminals import Terminal, is_alive
from support.wait import wait_until
from support.workstations import Cloud, grpc_opened

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from backends.base import Notice
    from support.sshd import Sshd

__all__ = ["grpc_opened"]  # a fixture
pytestmark = pytest.mark.usefixtures("grpc_opened")


@asynccontextmanager
async def serving(cloud: Cloud, sshd: Sshd, directory: Path, **fields: Any) -> AsyncIterator[WorkstationsBackend]:
    profile = cloud.profile(
        user=sshd.user,
        keys=(str(sshd.client_key),),
        durable=True,
        durable_directory=str(directory / "holder"),
        **fields,
    )
    backend = WorkstationsBackend(profile, Site("node-1", directory / "site"))
    try:
        yield backend
    finally:
        await backend.close()


async def shell(environment: Any) -> Terminal:
    sink = CollectingSink()
    return Terminal(await environment.spawn(Program("session-1", command=("sh",)), sink), sink)


async def halt(cloud: Cloud, directory: Path) -> None:
    """Stop the workstation and all that runs in it, which here is a holder and its programs on this machine."""
    (computer,) = cloud.computers.values()
    await cloud.halt(computer.name)
    (place,) = (directory / "holder").glob("*/")
    await asyncio.to_thread(stop_holder, place)


async def test_a_cut_tunnel_is_made_again_and_nothing_is_lost(cloud: Cloud, sshd: Sshd, tmp_path: Path) -> None:
    told: list[Notice] = []
    async with serving(cloud, sshd, tmp_path) as backend:
        environment = await backend.open(Order("session-1", "ann", tell=told.append))
        terminal = await shell(environment)
        await terminal.type(b"echo one$((1+1))three\n")
        await terminal.sink.until(b"one2three")
        (computer,) = cloud.computers.values()
        cloud.tokens.clear()
        computer.cut()
        await terminal.type(b"echo four$((2+3))six\n")
        await terminal.sink.until(b"four5six")
        assert {"link_lost", "link_back"} <= {notice.kind for notice in told}
        assert computer.dials[-2:] == [401, 101], "the old token was refused, and a new one taken"
        await terminal.type(b"exit 3\n")
        assert (await terminal.wait()).code == 3
        await environment.close()


async def test_a_stopped_workstation_ends_what_ran_there(cloud: Cloud, sshd: Sshd, tmp_path: Path) -> None:
    async with serving(cloud, sshd, tmp_path) as backend:
        environment = await backend.open(Order("session-1", "ann"))
        terminal = await shell(environment)
        await halt(cloud, tmp_path)
        status = await terminal.wait()
        assert status.lost is Lost.PLACE
        assert status.message.endswith(f"workstation {next(iter(cloud.computers))} is stopped")
        await environment.close()


async def test_the_next_process_goes_on_with_the_program(cloud: Cloud, sshd: Sshd, tmp_path: Path) -> None:
    async with serving(cloud, sshd, tmp_path) as backend:
        terminal = await shell(await backend.open(Order("session-1", "ann")))
        await terminal.type(b"value=kept; echo re''ady\n")
        await terminal.sink.until(b"ready")
        head = len(terminal.output)
        await terminal.pty.detach()
    async with serving(cloud, sshd, tmp_path) as backend:
        survivor = await backend.recall("session-1")
        assert survivor is not None
        assert await backend.recall("another") is None
        environment = await backend.open(Order("session-1"))
        sink = CollectingSink()
        again = Terminal(await environment.adopt(survivor, sink, head), sink)
        await again.type(b"echo $value$((1+1))\n")
        await sink.until(b"kept2")
        await again.type(b"exit 4\n")
        assert (await again.wait()).code == 4
        await environment.close()
        assert len(cloud.computers) == 1


async def test_a_session_does_not_come_back_to_another_run(cloud: Cloud, sshd: Sshd, tmp_path: Path) -> None:
    async with serving(cloud, sshd, tmp_path) as backend:
        terminal = await shell(await backend.open(Order("session-1", "ann")))
        await terminal.pty.detach()
    await halt(cloud, tmp_path)
    async with serving(cloud, sshd, tmp_path) as backend:
        with pytest.raises(NotProvided, match="is stopped"):
            await backend.open(Order("session-1"))
        assert await backend.recall("session-1") is None
    assert cloud.calls.count("StartWorkstation") == 1, "it is not started for what has gone"


async def test_what_dead_sessions_left_running_is_ended(cloud: Cloud, sshd: Sshd, tmp_path: Path) -> None:
    async with serving(cloud, sshd, tmp_path) as backend:
        terminal = await shell(await backend.open(Order("session-1", "ann")))
        await terminal.type(b"while sleep 0.05; do :; done\n")
        pid = terminal.pty.pid
        assert pid is not None
        await terminal.pty.detach()
    async with serving(cloud, sshd, tmp_path) as backend:
        await backend.sweep(set())
        await wait_until(lambda: not is_alive(pid), description="the program is ended")
