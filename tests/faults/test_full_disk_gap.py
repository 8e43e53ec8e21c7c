"""The disk fills while no service runs: the next one starts, sessions go on in memory, and everybody is told."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from support.disk import fill, small_disk
from support.restarts import Restarts, wait_until_back
from support.same import assert_same
from support.stream import stream, trailer, verify

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.client import Client

pytestmark = pytest.mark.platform("linux")

PROGRAM = Path(__file__).parents[1] / "support" / "stream.py"
KIB = 1024
DISK_BYTES = 2048 * KIB
RATE = 200_000
SIGNALS = pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=lambda number: number.name)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Give a state directory of two MiB."""
    with small_disk(tmp_path / "state", size_bytes=DISK_BYTES):
        yield tmp_path / "state"


async def start_printing(service: Restarts, seed: int) -> str:
    """Start a program that prints until it reads `q`; return its session's id."""
    command = [sys.executable, str(PROGRAM), str(seed), str(RATE)]
    return str((await service.create_session(command=command))["session_id"])


def is_durable(client: Client) -> bool | None:
    """Return what a viewer was told last of the storage; None: nothing."""
    told = [message for message in client.messages if message["type"] == "storage"]
    return bool(told[-1]["durable"]) if told else None


async def storage(service: Restarts, session: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what the API says of a session's storage, and of storage in all."""
    health = await service.http.get("/health")
    assert health.status_code == 200  # it serves
    said: dict[str, Any] = (await service.info(session))["storage"]
    return said, health.json()["checks"]["storage"]


@SIGNALS
async def test_a_session_goes_on_in_memory_and_is_stored_when_there_is_room(
    disk: Path, tmp_path: Path, number: signal.Signals
) -> None:
    async with Restarts(tmp_path) as service:
        session = await start_printing(service, 1)
        async with (
            service.client(session, retry_seconds=0.1) as client,
            service.client(session, encoding="json", retry_seconds=0.1) as other,
        ):
            await client.wait(lambda: client.position > 100 * KIB, "output")
            died = await service.end(number)
            ballast = fill(disk)
            await service.start()
            await wait_until_back([client, other], since=died)
            for viewer in (client, other):
                await viewer.wait(lambda one=viewer: is_durable(one) is False, "storage")  # type: ignore[misc]
            said, health = await storage(service, session)
            assert said["durable"] is False
            assert "No space left" in said["reason"]
            assert health["status"] == "degraded"
            here = client.position
            await client.wait(lambda: client.position > here + 256 * KIB, "output from memory")
            fresh = await start_printing(service, 2)  # a new session works too
            async with service.client(fresh) as newcomer:
                await newcomer.wait(lambda: newcomer.position > 10 * KIB, "output of a new session")
            ballast.unlink()
            for viewer in (client, other):
                await viewer.wait(lambda one=viewer: is_durable(one), "storage again")  # type: ignore[misc]
            died = await service.restart(signal.SIGKILL)
            await wait_until_back([client, other], since=died)
            client.send_unnumbered(b"q")
            for viewer in (client, other):
                assert (await viewer.wait_ended())["exit_code"] == 7
                verify(viewer.data, 1)
                assert viewer.transcript.gaps == []
        assert_same(await service.output(session), client.data)


async def test_what_was_in_memory_only_when_the_service_is_killed_again_is_a_gap_that_is_told(
    disk: Path, tmp_path: Path
) -> None:
    async with Restarts(tmp_path) as service:
        session = await start_printing(service, 3)
        async with service.client(session, retry_seconds=0.1) as client:
            await client.wait(lambda: client.position > 100 * KIB, "output")
            fill(disk)
            died = await service.restart(signal.SIGKILL)
            await wait_until_back([client], since=died)
            await client.wait(lambda: is_durable(client) is False, "storage")
            here = client.position
            await client.wait(lambda: client.position > here + 64 * KIB, "output from memory")
            died = await service.restart(signal.SIGKILL)
            await wait_until_back([client], since=died)
            here = client.position
            await client.wait(lambda: client.position > here + 64 * KIB, "more output")
            client.send_unnumbered(b"q")
            assert (await client.wait_ended())["exit_code"] == 7
        # What it holds is the program's, and where something may be missing it was told.
        assert client.transcript.gaps
        told = [gap.first for gap in client.transcript.gaps]
        before, after = client.data[: told[0]], client.data[told[-1] :]
        body, _, _ = client.data.rpartition(b"\r\nEND ")
        assert_same(before, stream(3, len(before)))
        assert_same(after, (stream(3, len(body)) + trailer(stream(3, len(body))))[-len(after) :])
        async with service.client(session) as late:
            await late.wait_ended()
        assert late.transcript.gaps
        assert late.data.endswith(after)


async def test_a_service_starts_on_a_full_disk_where_nothing_runs_yet(disk: Path, tmp_path: Path) -> None:
    fill(disk)
    async with Restarts(tmp_path) as service:
        session = (await service.create_session(command=["cat"]))["session_id"]
        async with service.client(session) as client:
            client.send_line("one")
            await client.wait_for_output(rb"one\r\none\r\n")
        await service.restart(signal.SIGKILL)
        info = await service.info(session)
        assert (info["state"], info["storage"]["durable"]) == ("running", False)
        async with service.client(session) as client:  # what it had printed and read was nowhere but in memory
            client.send_line("two")
            await client.wait_for_output(rb"two\r\ntwo\r\n")
