"""Sessions on another machine whose link and whose service are killed while they print and are typed to."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
from typing import TYPE_CHECKING

import psutil
import pytest

from support.restarts import Restarts
from support.sshd import running_sshd
from support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.client import Client
    from support.service import Service
    from support.sshd import Sshd

pytestmark = pytest.mark.platform("linux")

PROFILE = """
[backends.far]
kind = "ssh"
host = "{host}"
port = {port}
user = "{user}"
keys = ["{key}"]
known_hosts = "{known_hosts}"
durable = true
durable_directory = "{place}"
"""

# Prints numbers for some seconds, and then what it has read meanwhile, line by line.
SCRIPT = """
stty -echo -opost; echo ready
( i=0; while [ $i -lt {lines} ]; do i=$((i+1)); echo out $i; [ $((i%20)) = 0 ] && sleep 0.02; done; echo printed ) &
j=0; while [ $j -lt {typed} ]; do read -r line; j=$((j+1)); echo got $line; done
wait; echo over
"""


def write_profile(path: Path, server: Sshd) -> None:
    fields = {"host": server.host, "port": server.port, "user": server.user, "key": server.client_key}
    more = {"known_hosts": server.known_hosts, "place": server.directory / "holders"}
    path.write_text(PROFILE.format(**fields, **more))


def cut(server: Sshd) -> None:
    signal_all(server.sessions(), signal.SIGKILL)


async def type_and_kill(server: Sshd, service: Restarts, client: Client, line: str, *, arrives: bool) -> None:
    """Type a line that is on its way when the service is killed; later it `arrives` there, or is lost with the link."""
    await client.wait_acked()
    before = await typed_bytes(service)
    relays = find_relays(server)
    signal_all(relays, signal.SIGSTOP)
    client.send_line(line)

    async def is_taken() -> bool:
        return await typed_bytes(service) > before

    await wait_until(is_taken, description="the service has the line")
    assert client.unacked == 1, "acknowledged, and could be lost"
    await service.kill()
    signal_all(relays, signal.SIGCONT if arrives else signal.SIGKILL)


def find_relays(server: Sshd) -> list[int]:
    """Return the processes that move the bytes of connections; one that only asks how the host is may end meanwhile."""
    found = []
    for pid in server.sessions():
        with contextlib.suppress(psutil.NoSuchProcess):
            family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
            found += [process.pid for process in family if process.name() == "sshd"]
    return found


def signal_all(pids: list[int], signum: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signum)


async def typed_bytes(service: Service) -> int:
    metrics = (await service.http.get("/metrics")).text
    found = re.search(r"^terminal_input_bytes_total (\S+)", metrics, re.MULTILINE)
    assert found is not None, metrics
    return int(float(found[1]))


@pytest.mark.full
async def test_nothing_is_lost_or_doubled_by_cuts_and_kills(tmp_path: Path, size: Callable[[int, int], int]) -> None:
    lines, rounds = size(1500, 60_000), size(1, 40)
    async with running_sshd(tmp_path / "sshd") as server:
        profiles = tmp_path / "backends.toml"
        await asyncio.to_thread(write_profile, profiles, server)
        async with Restarts(tmp_path, BACKENDS_FILE=str(profiles)) as service:
            script = SCRIPT.format(lines=lines, typed=5 * rounds)
            made = await service.create_session(backend="far", command=["sh", "-c", script])
            async with service.client(made["session_id"]) as client:
                await client.wait_for_output(rb"ready\n")
                for number in range(rounds):
                    client.send_line(f"a{number}")
                    await client.wait_for_output(b"got a%d\n" % number)
                    await asyncio.to_thread(cut, server)
                    client.send_line(f"b{number}")
                    await client.wait_for_output(b"got b%d\n" % number)
                    await service.kill()
                    client.send_line(f"c{number}")
                    await service.start()
                    await client.wait_for_output(b"got c%d\n" % number, seconds=60)
                    for letter, arrives in (("d", True), ("e", False)):
                        await type_and_kill(server, service, client, f"{letter}{number}", arrives=arrives)
                        await service.start()
                        await client.wait_for_output(b"got %s%d\n" % (letter.encode(), number), seconds=60)
                await client.wait_for_output(rb"over\n", seconds=100)
                said = bytes(client.transcript.data).decode().splitlines()
    assert [line for line in said if line.startswith("out")] == [f"out {number}" for number in range(1, lines + 1)]
    assert [line for line in said if line.startswith("got")] == [
        f"got {letter}{number}" for number in range(rounds) for letter in "abcde"
    ]
