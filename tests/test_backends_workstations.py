"""A service whose sessions run in Workstations, an emulated cloud with a real sshd: started, cut, killed, stopped."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from support.holders import stop_holder
from support.service import Service
from support.sshd import Sshd, running_sshd
from support.workstations import Cloud, grpc_opened

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

__all__ = ["grpc_opened"]  # a fixture
pytestmark = [pytest.mark.platform("linux"), pytest.mark.usefixtures("grpc_opened")]

PROFILE = """
[backends.ws]
kind = "workstations"
project = "a-project"
region = "europe-west1"
cluster = "cluster"
config = "config"
api_endpoint = "{cloud.endpoint}"
credentials_file = "{cloud.directory}/account.json"
ca_file = "{cloud.directory}/ca.pem"
trust = "tunnel"
user = "{sshd.user}"
keys = ["{sshd.client_key}"]
durable = true
durable_directory = "{sshd.directory}/durable"
"""


@asynccontextmanager
async def served(directory: Path) -> AsyncIterator[tuple[Cloud, Sshd, Service]]:
    async with running_sshd(directory / "sshd") as sshd, Cloud(directory / "cloud") as cloud:
        cloud.listening[22] = sshd.port
        file = directory / "backends.toml"
        await asyncio.to_thread(file.write_text, PROFILE.format(cloud=cloud, sshd=sshd))
        async with Service(directory, BACKENDS_FILE=str(file), CREATE_WAIT_SECONDS="0.2") as service:
            yield cloud, sshd, service
        for place in (sshd.directory / "durable").glob("*/"):
            await asyncio.to_thread(stop_holder, place)  # as a workstation that stops does


async def test_a_workstation_is_started_for_a_session_that_outlives_all_but_the_workstation(tmp_path: Path) -> None:
    async with served(tmp_path) as (cloud, sshd, service):
        cloud.seconds["start"] = 1.0
        made = await service.create_session(backend="ws", command=["cat"])
        assert made["state"] == "preparing"
        async with service.client(made["session_id"]) as client:
            client.send_line("one")
            await client.wait_for_output(rb"one\r\none\r\n")
            told = [each["message"] for each in client.messages if each["type"] == "notice"]
            assert any("is starting" in message for message in told), told
            for pid in await asyncio.to_thread(sshd.sessions):
                os.kill(pid, signal.SIGKILL)
            client.send_line("two")
            await client.wait_for_output(rb"two\r\ntwo\r\n")
        await service.kill()
        await service.start()
        async with service.client(made["session_id"]) as client:
            client.send_line("three")
            await client.wait_for_output(rb"three\r\nthree\r\n")
            words = (b"one", b"two", b"three")
            assert client.data == b"".join(b"%b\r\n%b\r\n" % (word, word) for word in words)
            [name] = cloud.computers
            await cloud.halt(name)
            ended = await client.wait_ended()
            assert (ended["reason"], ended["exit_code"]) == ("place_lost", None)
            assert "stopped" in ended["message"], ended
        assert "Traceback" not in service.log()
