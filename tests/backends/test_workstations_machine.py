"""Workstations are started when they are needed, reached through a tunnel, and stopped when nobody is there."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from google.rpc import status_pb2
from grpc import StatusCode as Code

from backends.errors import AccessRefused, NotProvided, Unreachable
from backends.workstations.api import Api
from backends.workstations.machine import Machine
from backends.workstations.tunnel import Dialer
from support.certificate import ANOTHER
from support.wait import wait_until
from support.workstation_computer import RUNNING, STARTING, STOPPED, STOPPING
from support.workstations import Cloud, Fault, grpc_opened, make_key, retry_soon

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from backends.base import Notice


__all__ = ["grpc_opened"]  # a fixture
pytestmark = pytest.mark.usefixtures("grpc_opened")


@pytest.fixture
async def cloud(tmp_path: Path) -> AsyncIterator[Cloud]:
    async with Cloud(tmp_path / "cloud") as cloud, serving() as port:
        cloud.listening[22] = port
        yield cloud


@asynccontextmanager
async def serving() -> AsyncIterator[int]:
    """Echo what is sent; yields the port."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


class Bench:
    """A machine with all it needs, and what it told."""

    def __init__(self, cloud: Cloud, name: str, **fields: Any) -> None:
        self.profile = cloud.profile(**fields)
        self.api = Api(self.profile)
        context = ssl.create_default_context(cafile=self.profile.ca_file)
        self.dialer = Dialer(context=context, ping_seconds=self.profile.ping_seconds, connect_seconds=5)
        self.machine = Machine(
            name, owner="ann@example.org", node_id="node-1", api=self.api, dialer=self.dialer, profile=self.profile
        )
        self.told: list[Notice] = []

    def tell(self, notice: Notice) -> None:
        self.told.append(notice)

    @property
    def warnings(self) -> list[Notice]:
        return [notice for notice in self.told if notice.kind == "ending_soon"]

    async def close(self) -> None:
        await self.machine.close()
        await self.dialer.close()
        await self.api.close()


@asynccontextmanager
async def benched(cloud: Cloud, name: str = "ws-1", **fields: Any) -> AsyncIterator[Bench]:
    bench = Bench(cloud, name, **fields)
    try:
        yield bench
    finally:
        await bench.close()


async def test_a_stopped_workstation_is_started_and_its_progress_is_told(cloud: Cloud) -> None:
    await cloud.add("ws-1")
    async with benched(cloud) as bench:
        await bench.machine.enter(bench.tell)
        assert [notice.fields["state"] for notice in bench.told] == ["stopped", "starting"]
        tunnel = await bench.machine.connect(22)
        await tunnel.write(b"hello")
        assert await tunnel.read() == b"hello"
        await tunnel.close()
        await bench.machine.leave(bench.tell)


async def test_it_is_created_for_its_owner_once(cloud: Cloud) -> None:
    async with benched(cloud, name_prefix="ts") as bench:
        await bench.machine.enter(bench.tell)
        await bench.machine.enter(bench.tell)
        assert cloud.calls.count("CreateWorkstation") == 1
        assert cloud.calls.count("StartWorkstation") == 1
        assert cloud.computers["ws-1"].annotations == {"terminal-service-owner": "ann@example.org"}
        assert [notice.fields["state"] for notice in bench.told] == ["creating", "stopped", "starting"]


async def test_what_belongs_to_another_owner_is_left_alone(cloud: Cloud) -> None:
    computer = await cloud.add("ws-1")
    computer.annotations["terminal-service-owner"] = "bob"
    async with benched(cloud) as bench:
        with pytest.raises(AccessRefused, match="ws-1 is somebody else's"):
            await bench.machine.enter(bench.tell)
    assert "StartWorkstation" not in cloud.calls


async def test_two_sessions_at_once_start_it_once_and_hear_the_same(cloud: Cloud) -> None:
    await cloud.add("ws-1")
    async with benched(cloud) as bench:
        async with asyncio.TaskGroup() as group:
            for _ in range(3):
                group.create_task(bench.machine.enter(bench.tell))
        assert cloud.calls.count("StartWorkstation") == 1


@pytest.mark.parametrize("state", [STARTING, STOPPING])
async def test_what_is_on_its_way_is_waited_for(cloud: Cloud, state: int) -> None:
    computer = await cloud.add("ws-1", state)
    async with benched(cloud) as bench, asyncio.TaskGroup() as group:
        entering = group.create_task(bench.machine.enter(bench.tell))
        await wait_until(lambda: len(bench.told) > 0, description="its state is told")
        assert not entering.done()
        computer.state = STOPPED
        await entering
        assert computer.state == RUNNING


async def test_a_state_that_the_client_does_not_know_is_started(cloud: Cloud) -> None:
    """STATE_SUSPENDED, which is younger than the client."""
    await cloud.add("ws-1", 6)
    async with benched(cloud) as bench:
        await bench.machine.enter(bench.tell)
        assert bench.told[0].message == "workstation ws-1 is in state 6"


async def test_a_workstation_of_the_operator_is_not_created(cloud: Cloud) -> None:
    async with benched(cloud, workstation="ws-1") as bench:
        with pytest.raises(NotProvided, match="there is no workstation ws-1 in configuration config"):
            await bench.machine.enter(bench.tell)


async def test_one_that_does_not_start_in_time_is_given_up(cloud: Cloud) -> None:
    await cloud.add("ws-1")
    cloud.seconds["start"] = 60
    async with benched(cloud, start_timeout_seconds=0.5) as bench:
        with pytest.raises(NotProvided, match="ws-1 does not run after 0 s: it is starting"):
            await bench.machine.enter(bench.tell)
        assert not bench.machine.is_used


async def test_a_start_that_fails_says_why(cloud: Cloud) -> None:
    await cloud.add("ws-1")
    cloud.failures["start"] = [status_pb2.Status(code=8, message="Quota 'N2_CPUS' exceeded. Limit: 24")]
    async with benched(cloud) as bench:
        with pytest.raises(NotProvided, match=r"cannot start workstation ws-1: a quota is used up .*N2_CPUS"):
            await bench.machine.enter(bench.tell)


async def test_a_key_that_google_does_not_know_is_refused(cloud: Cloud) -> None:
    async with benched(cloud, credentials_file=str(cloud.write_account("stranger", key=make_key()))) as bench:
        with pytest.raises(AccessRefused, match=r"refuses the credentials \(401\)"):
            await bench.machine.enter(bench.tell)


async def test_a_key_that_others_can_read_is_refused(cloud: Cloud) -> None:
    file = cloud.write_account("open")
    file.chmod(0o644)
    async with benched(cloud, credentials_file=str(file)) as bench:
        with pytest.raises(AccessRefused, match="can be read by other"):
            await bench.machine.enter(bench.tell)


async def test_an_api_that_another_authority_vouches_for_is_not_believed(cloud: Cloud) -> None:
    (cloud.directory / "other.pem").write_text(ANOTHER)
    api = Api(cloud.profile(ca_file=str(cloud.directory / "other.pem")), call_seconds=0.5)
    with pytest.raises(Unreachable, match="cannot look at workstation ws-1: the API fails"):
        await api.look("ws-1")
    await api.close()


@pytest.mark.parametrize(
    ("fault", "error", "words"),
    [
        (Fault(Code.UNAUTHENTICATED), AccessRefused, r"refuses the credentials \(401\)"),
        (Fault(Code.PERMISSION_DENIED, "workstations.get denied"), AccessRefused, r"lacks a right \(403\): .*denied"),
        (Fault(Code.INVALID_ARGUMENT), NotProvided, "the API refused it"),
        (Fault(Code.RESOURCE_EXHAUSTED, "Quota exceeded"), NotProvided, r"quota is used up \(429\): Quota exceeded"),
    ],
)
async def test_an_error_of_the_api_is_told_in_words(
    cloud: Cloud, fault: Fault, error: type[Exception], words: str
) -> None:
    cloud.faults["GetWorkstation"] = [fault]
    async with benched(cloud) as bench:
        with pytest.raises(error, match=f"cannot look at workstation ws-1: .*{words}"):
            await bench.machine.enter(bench.tell)
    assert cloud.calls.count("GetWorkstation") == 1, "what does not pass is not repeated"


async def test_a_missing_configuration_is_told(cloud: Cloud) -> None:
    async with benched(cloud, config="no-such") as bench:
        with pytest.raises(NotProvided, match=r"no such thing \(404\): .*no-such"):
            await bench.machine.enter(bench.tell)


@pytest.mark.parametrize(
    "fault",
    [
        Fault(Code.UNAVAILABLE),
        Fault(Code.INTERNAL),
        Fault(Code.RESOURCE_EXHAUSTED, "slow down", (retry_soon(),)),
    ],
    ids=["503", "500", "429"],
)
async def test_what_passes_is_tried_again(cloud: Cloud, fault: Fault) -> None:
    await cloud.add("ws-1")
    cloud.faults = {name: [fault] for name in ("GetWorkstation", "GetOperation", "GenerateAccessToken")}
    async with benched(cloud) as bench:
        await bench.machine.enter(bench.tell)
        assert not any(cloud.faults.values())


async def test_an_api_that_goes_on_failing_is_unreachable(cloud: Cloud) -> None:
    cloud.faults["GetWorkstation"] = [Fault(Code.INTERNAL, "out of order")] * 50
    api = Api(cloud.profile(), call_seconds=1)
    with pytest.raises(Unreachable, match="cannot look at workstation ws-1: the API fails: out of order"):
        await api.look("ws-1")
    await api.close()


async def test_disabled_tcp_connections_are_told(cloud: Cloud) -> None:
    cloud.config.disable_tcp_connections = True
    async with benched(cloud) as bench:
        with pytest.raises(NotProvided, match="disables TCP connections"):
            await bench.machine.enter(bench.tell)


async def test_sshd_is_waited_for(cloud: Cloud) -> None:
    port = cloud.listening.pop(22)
    async with benched(cloud) as bench, asyncio.TaskGroup() as group:
        entering = group.create_task(bench.machine.enter(bench.tell))
        await wait_until(lambda: bench.told and "sshd" in bench.told[-1].message, description="sshd is awaited")
        cloud.listening[22] = port
        await entering
        assert set(cloud.computers["ws-1"].dials) == {503, 101}


async def test_without_sshd_it_says_so(cloud: Cloud) -> None:
    cloud.listening.clear()
    async with benched(cloud, sshd_seconds=0.3) as bench:
        with pytest.raises(Unreachable, match="nothing listens on port 22 of workstation ws-1"):
            await bench.machine.enter(bench.tell)


async def test_a_token_is_renewed_before_it_expires_and_when_it_is_refused(cloud: Cloud) -> None:
    async with benched(cloud) as bench:
        await bench.machine.enter(bench.tell)
        await (await bench.machine.connect(22)).close()
        assert cloud.calls.count("GenerateAccessToken") == 1, "it is good for an hour"
        cloud.tokens.clear()
        await (await bench.machine.connect(22)).close()
        assert cloud.calls.count("GenerateAccessToken") == 2
        assert cloud.computers["ws-1"].dials[-2:] == [401, 101]
        cloud.token_seconds = 300
        cloud.tokens.clear()
        for _ in range(2):
            await (await bench.machine.connect(22)).close()
        assert cloud.calls.count("GenerateAccessToken") == 4, "little of its time is left"


async def test_a_tunnel_that_is_refused_for_good_is_told(cloud: Cloud) -> None:
    async with benched(cloud) as bench:
        await bench.machine.enter(bench.tell)
        cloud.admits = False
        with pytest.raises(AccessRefused, match=r"refused \(403 .*\), also with a new token"):
            await bench.machine.connect(22)


async def test_a_tunnel_to_a_stopped_workstation_says_that_it_is_stopped(cloud: Cloud) -> None:
    async with benched(cloud) as bench:
        await bench.machine.enter(bench.tell)
        await cloud.halt("ws-1")
        with pytest.raises(NotProvided, match="workstation ws-1 is stopped"):
            await bench.machine.connect(22)
        assert await bench.machine.fate(bench.machine.run) == "workstation ws-1 is stopped"


async def test_the_end_of_what_is_sent_and_a_cut_are_told_apart(cloud: Cloud) -> None:
    async with benched(cloud) as bench:
        await bench.machine.enter(bench.tell)
        tunnel = await bench.machine.connect(22)
        cloud.computers["ws-1"].cut()
        with pytest.raises(ConnectionResetError, match="the tunnel was cut"):
            await tunnel.read()
        with pytest.raises(OSError, match="the tunnel was cut"):
            await tunnel.write(b"nobody hears this")
        await tunnel.close()


async def test_a_tunnel_that_is_not_read_takes_a_bounded_amount(cloud: Cloud) -> None:
    async with benched(cloud) as bench:
        await bench.machine.enter(bench.tell)
        tunnel = await bench.machine.connect(22)
        sent = 0
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(2):
                while sent < 256 << 20:
                    await tunnel.write(bytes(256 * 1024))
                    sent += 256 * 1024
        assert sent < 128 << 20, "the echo fills the sockets of the system, and then nothing is taken"
        await tunnel.close()


async def test_a_tunnel_without_a_sign_of_life_is_cut(cloud: Cloud) -> None:
    async with benched(cloud, ping_seconds=0.2) as bench:
        await bench.machine.enter(bench.tell)
        tunnel = await bench.machine.connect(22)
        cloud.computers["ws-1"].freeze()
        with pytest.raises(ConnectionResetError, match="the tunnel was cut"):
            await tunnel.read()
        await tunnel.close()


async def test_the_last_session_stops_it_at_once_if_so_wanted(cloud: Cloud) -> None:
    async with benched(cloud, stop_after_seconds=0) as bench:
        for _ in range(2):
            await bench.machine.enter(bench.tell)
        await bench.machine.leave(bench.tell)
        assert "StopWorkstation" not in cloud.calls
        await bench.machine.leave(bench.tell)
        await wait_until(lambda: cloud.computers["ws-1"].state == STOPPED, description="it is stopped")


async def test_a_session_that_comes_in_time_keeps_it_running(cloud: Cloud) -> None:
    async with benched(cloud, stop_after_seconds=60) as bench:
        await bench.machine.enter(bench.tell)
        await bench.machine.leave(bench.tell)
        await bench.machine.enter(bench.tell)
    assert "StopWorkstation" not in cloud.calls


async def test_a_session_that_comes_while_it_is_stopped_has_it_started_again(cloud: Cloud) -> None:
    cloud.seconds["stop"] = 0.5
    async with benched(cloud, stop_after_seconds=0) as bench:
        await bench.machine.enter(bench.tell)
        await bench.machine.leave(bench.tell)
        await wait_until(lambda: cloud.computers["ws-1"].state == STOPPING, description="it is being stopped")
        await bench.machine.enter(bench.tell)
        assert cloud.computers["ws-1"].state == RUNNING
        assert cloud.calls.count("StartWorkstation") == 2


async def test_a_stop_that_was_put_off_is_not_forgotten_at_the_end(cloud: Cloud) -> None:
    async with benched(cloud, stop_after_seconds=600) as bench:
        await bench.machine.enter(bench.tell)
        await bench.machine.leave(bench.tell)
    await wait_until(lambda: cloud.computers["ws-1"].state == STOPPED, description="it is stopped")


async def test_without_a_stop_policy_google_stops_it(cloud: Cloud) -> None:
    async with benched(cloud) as bench:
        await bench.machine.enter(bench.tell)
        await bench.machine.leave(bench.tell)
    assert "StopWorkstation" not in cloud.calls


async def test_sessions_are_warned_before_it_is_stopped(cloud: Cloud) -> None:
    cloud.config.running_timeout = timedelta(seconds=1.5)
    async with benched(cloud, warn_before_seconds=(60, 0.8)) as bench:
        await bench.machine.enter(bench.tell)
        await wait_until(lambda: len(bench.warnings) == 2, description="two warnings")
        assert [notice.fields["limit"] for notice in bench.warnings] == ["running", "running"]
        await cloud.halt("ws-1")
        fate = "workstation ws-1 is stopped: its configuration lets it run for 2 s at a time"

        async def is_told() -> bool:
            return await bench.machine.fate(bench.machine.run) == fate

        await wait_until(is_told, description="its time is over, and that is why")
