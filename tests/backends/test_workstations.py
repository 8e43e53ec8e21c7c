"""Sessions in workstations: a real sshd behind an emulated tunnel, asked for through Google's own client."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from grpc import StatusCode

from backends.abilities import Channel, Command
from backends.base import Lost, Order, Program
from backends.errors import AccessRefused, BackendError, InvalidProgram, NotProvided
from backends.profile import Site
from backends.workstations.backend import WorkstationsBackend
from support.sink import CollectingSink
from support.sshd import Sshd, make_key, running_sshd
from support.terminals import Terminal
from support.wait import wait_until
from support.workstation_computer import RUNNING, STOPPED
from support.workstations import Cloud, Fault, grpc_opened

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from backends.base import Notice

__all__ = ["grpc_opened"]  # a fixture
pytestmark = pytest.mark.usefixtures("grpc_opened")


class Sessions:
    """A backend, and what its sessions were told."""

    def __init__(self, backend: WorkstationsBackend) -> None:
        self.backend = backend
        self.told: list[Notice] = []

    async def open(self, session_id: str = "session-1", owner: str = "ann", **fields: Any) -> Any:
        return await self.backend.open(Order(session_id, owner, tell=self.told.append, **fields))

    async def shell(self, environment: Any, *command: str) -> Terminal:
        sink = CollectingSink()
        words = command or ("sh",)
        return Terminal(await environment.spawn(Program("session-1", command=words), sink), sink)


@asynccontextmanager
async def serving(cloud: Cloud, sshd: Sshd, **fields: Any) -> AsyncIterator[Sessions]:
    usual = {"user": sshd.user, "keys": (str(sshd.client_key),)}
    backend = WorkstationsBackend(cloud.profile(**usual | fields), Site("node-1", cloud.directory / "site"))
    try:
        yield Sessions(backend)
    finally:
        await backend.close()


def public_key(file: Path) -> str:
    return Path(f"{file}.pub").read_text().strip()


async def test_an_owner_types_into_a_workstation_that_was_created_for_it(cloud: Cloud, sshd: Sshd) -> None:
    async with serving(cloud, sshd) as sessions:
        environment = await sessions.open()
        terminal = await sessions.shell(environment)
        await terminal.type(b"echo one$((1+1))three\n")
        await terminal.sink.until(b"one2three")
        await terminal.type(b"exit 3\n")
        assert (await terminal.wait()).code == 3
        await environment.close()
    (computer,) = cloud.computers.values()
    assert computer.name.startswith("ts-ann-")
    assert computer.labels == {"terminal-service": "node-1"}
    assert computer.state == RUNNING


async def test_a_workstation_that_is_stopped_under_a_session_is_told_as_that(cloud: Cloud, sshd: Sshd) -> None:
    async with serving(cloud, sshd) as sessions:
        environment = await sessions.open()
        terminal = await sessions.shell(environment)
        (computer,) = cloud.computers.values()
        await cloud.halt(computer.name)
        status = await terminal.wait()
        assert (status.lost, status.code) == (Lost.PLACE, None)
        assert status.message == f"workstation {computer.name} is stopped"
        await environment.close()


async def test_a_cut_tunnel_is_a_lost_link(cloud: Cloud, sshd: Sshd) -> None:
    async with serving(cloud, sshd) as sessions:
        environment = await sessions.open()
        terminal = await sessions.shell(environment)
        (computer,) = cloud.computers.values()
        computer.cut()
        status = await terminal.wait()
        assert status.lost is Lost.LINK
        assert "tunnel was cut" in status.message
        again = await sessions.shell(environment, "echo", "back")
        assert (await again.wait()).code == 0
        await environment.close()


async def test_an_expired_token_cuts_nobody_and_the_next_tunnel_has_a_new_one(cloud: Cloud, sshd: Sshd) -> None:
    cloud.token_seconds = 0.3
    async with serving(cloud, sshd) as sessions:
        environment = await sessions.open()
        terminal = await sessions.shell(environment)
        await wait_until(
            lambda: all(expires_at < time.time() for _, _, expires_at in cloud.tokens.values()),
            description="all tokens have expired",
        )
        await terminal.type(b"echo still$((1+1))here\n")
        await terminal.sink.until(b"still2here")
        (computer,) = cloud.computers.values()
        computer.cut()
        await terminal.wait()
        other = await sessions.shell(environment, "echo", "new token")
        assert (await other.wait()).code == 0
        assert set(computer.dials) == {101}
        await environment.close()


async def test_another_owner_has_another_workstation_and_is_not_harmed(cloud: Cloud, sshd: Sshd) -> None:
    async with serving(cloud, sshd) as sessions:
        ann, bob = await sessions.open("session-1", "ann"), await sessions.open("session-2", "bob")
        hers, his = await sessions.shell(ann), await sessions.shell(bob)
        assert len(cloud.computers) == 2
        await cloud.halt(next(name for name in cloud.computers if "ann" in name))
        assert (await hers.wait()).lost is Lost.PLACE
        await his.type(b"echo still$((1+1))here\n")
        await his.sink.until(b"still2here")
        for environment in (ann, bob):
            await environment.close()


async def test_a_stopped_workstation_is_started_for_the_next_session(cloud: Cloud, sshd: Sshd) -> None:
    async with serving(cloud, sshd) as sessions:
        first = await sessions.open("session-1")
        (computer,) = cloud.computers.values()
        await cloud.halt(computer.name)
        with pytest.raises(BackendError, match="is stopped"):
            await sessions.shell(first)
        second = await sessions.open("session-2")
        assert (await (await sessions.shell(second, "true")).wait()).code == 0
        for environment in (first, second):
            await environment.close()


async def test_the_last_session_has_its_workstation_stopped(cloud: Cloud, sshd: Sshd) -> None:
    async with serving(cloud, sshd, stop_after_seconds=0) as sessions:
        environment = await sessions.open()
        (computer,) = cloud.computers.values()
        await environment.close()
        await environment.close()
        await wait_until(lambda: computer.state == STOPPED, description="it is stopped")


async def test_commands_files_and_ports_are_as_with_ssh(cloud: Cloud, sshd: Sshd) -> None:
    async with serving(cloud, sshd) as sessions:
        environment = await sessions.open()
        execution = await environment.execute(Command(["sh", "-c", "echo out; echo err >&2; exit 4"]))
        printed = {channel: data async for channel, data in execution}
        assert printed == {Channel.STDOUT: b"out\n", Channel.STDERR: b"err\n"}
        assert (await execution.wait()).code == 4
        await environment.close()


async def test_what_the_configuration_decides_is_refused_before_anything_is_started(cloud: Cloud, sshd: Sshd) -> None:
    async with serving(cloud, sshd) as sessions:
        with pytest.raises(InvalidProgram, match="image"):
            await sessions.open(image="debian")
    assert cloud.calls == []


async def test_a_host_key_on_record_must_be_the_one(cloud: Cloud, sshd: Sshd, tmp_path: Path) -> None:
    right = public_key(sshd.host_key)
    async with serving(cloud, sshd, trust="", host_keys=(right,)) as sessions:
        environment = await sessions.open()
        await environment.close()
    wrong = public_key(await asyncio.to_thread(make_key, tmp_path / "wrong"))
    async with serving(cloud, sshd, trust="", host_keys=(wrong,)) as sessions:
        with pytest.raises(AccessRefused, match="host key"):
            await sessions.open()


async def test_a_new_host_key_after_a_start_is_believed_if_the_tunnel_is(
    cloud: Cloud, sshd: Sshd, tmp_path: Path
) -> None:
    async with (
        running_sshd(tmp_path / "other") as other,
        serving(cloud, sshd, keys=(str(sshd.client_key), str(other.client_key))) as sessions,
    ):
        first = await sessions.open("session-1")
        await cloud.halt(next(iter(cloud.computers)))
        cloud.listening[22] = other.port
        second = await sessions.open("session-2")
        assert (await (await sessions.shell(second, "true")).wait()).code == 0
        for environment in (first, second):
            await environment.close()


async def test_a_killed_service_lets_go_of_workstations_later(cloud: Cloud, sshd: Sshd) -> None:
    async with serving(cloud, sshd, stop_after_seconds=0) as killed:
        for number, owner in enumerate(("ann", "bob")):
            await killed.open(f"session-{number}", owner)
        async with serving(cloud, sshd, stop_after_seconds=0) as later:
            await later.backend.sweep({"session-1"})
            states = {name.split("-")[1]: computer for name, computer in cloud.computers.items()}
            await wait_until(lambda: states["ann"].state == STOPPED, description="the dead session's is stopped")
            assert states["bob"].state == RUNNING, "its session lives"
            await later.backend.sweep({"session-1"})
        assert cloud.calls.count("StopWorkstation") == 1


async def test_a_session_does_not_come_back_to_another_run(cloud: Cloud, sshd: Sshd) -> None:
    async with serving(cloud, sshd) as killed:
        await killed.open()
        (computer,) = cloud.computers.values()
        await cloud.halt(computer.name)
        async with serving(cloud, sshd) as later:
            with pytest.raises(NotProvided, match=f"workstation {computer.name} is stopped"):
                await later.open()
            assert cloud.calls.count("StartWorkstation") == 1, "it is not started for nothing"


async def test_a_check_sees_what_would_keep_sessions_out(cloud: Cloud, sshd: Sshd) -> None:
    async with serving(cloud, sshd) as sessions:
        await sessions.backend.check()
        cloud.config.disable_tcp_connections = True
        with pytest.raises(NotProvided, match="disables TCP connections"):
            await sessions.backend.check()
        cloud.faults["GetWorkstationConfig"] = [Fault(StatusCode.PERMISSION_DENIED)]
        with pytest.raises(AccessRefused, match="lacks a right"):
            await sessions.backend.check()
    cloud.config.disable_tcp_connections = False
    async with serving(cloud, sshd, workstation="no-such") as sessions:
        with pytest.raises(NotProvided, match="there is no workstation no-such"):
            await sessions.backend.check()
