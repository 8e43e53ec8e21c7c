"""Sessions on another machine whose link and whose service are killed while they print and are typed to."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING

import pytest

from support.restarts import Restarts
from support.sshd import running_sshd

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

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
    for pid in server.sessions():
        os.kill(pid, signal.SIGKILL)


@pytest.mark.full
async def test_nothing_is_lost_or_doubled_by_cuts_and_kills(tmp_path: Path, size: Callable[[int, int], int]) -> None:
    lines, rounds = size(1500, 60_000), size(1, 40)
    async with running_sshd(tmp_path / "sshd") as server:
        profiles = tmp_path / "backends.toml"
        await asyncio.to_thread(write_profile, profiles, server)
        async with Restarts(tmp_path, BACKENDS_FILE=str(profiles)) as service:
            script = SCRIPT.format(lines=lines, typed=3 * rounds)
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
                await client.wait_for_output(rb"over\n", seconds=100)
                said = bytes(client.transcript.data).decode().splitlines()
    assert [line for line in said if line.startswith("out")] == [f"out {number}" for number in range(1, lines + 1)]
    assert [line for line in said if line.startswith("got")] == [
        f"got {letter}{number}" for number in range(rounds) for letter in "abc"
    ]
