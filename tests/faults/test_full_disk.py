"""A full disk under the state directory: nothing printed is lost, everybody is told, and room heals it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from support.disk import fill, small_disk
from support.service import Service
from support.stream import stream, verify
from support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.client import Client

PROGRAM = Path(__file__).parents[1] / "support" / "stream.py"
KIB = 1024
DISK_BYTES = 2048 * KIB
RATE = 400_000


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Give a state directory of two MiB."""
    with small_disk(tmp_path / "state", size_bytes=DISK_BYTES):
        yield tmp_path / "state"


def storage(client: Client) -> list[dict[str, Any]]:
    """Return what a viewer was told of the storage."""
    return [message for message in client.messages if message["type"] == "storage"]


async def is_durable(service: Service, session_id: str, *, durable: bool) -> None:
    """Wait until the API says so."""

    async def said() -> bool:
        return (await service.info(session_id))["storage"]["durable"] is durable

    description = f"durable={durable}"
    await wait_until(said, description=description)


def printing(seed: int) -> list[str]:
    """Return a command that prints until it reads `q`."""
    return [sys.executable, str(PROGRAM), str(seed), str(RATE)]


async def test_a_disk_that_fills_up_while_a_session_prints(disk: Path, tmp_path: Path) -> None:
    service = Service(tmp_path)
    async with service:
        session = (await service.create_session(command=printing(1)))["session_id"]
        async with service.client(session) as client, service.client(session, encoding="json") as other:
            await client.wait(lambda: client.position > 100 * KIB, "output")
            ballast = fill(disk)
            for viewer in (client, other):
                await viewer.wait(lambda viewer=viewer: storage(viewer), "storage")  # type: ignore[misc]
                told = storage(viewer)[-1]
                assert told["durable"] is False
                assert "No space left" in told["reason"]
            info = await service.info(session)
            assert info["storage"]["durable"] is False
            assert "No space left" in info["storage"]["reason"]
            health = await service.http.get("/health")
            assert health.status_code == 200  # it serves
            assert health.json()["checks"]["storage"]["status"] == "degraded"
            full = client.position
            await client.wait(lambda: client.position > full + 1024 * KIB, "output from memory")

            ballast.unlink()
            await client.wait(lambda: storage(client)[-1]["durable"], "storage again")
            await other.wait(lambda: storage(other)[-1]["durable"], "storage again")
            await is_durable(service, session, durable=True)
            assert (await service.http.get("/health")).json()["checks"]["storage"]["status"] == "ok"
            held = client.position
            await service.kill()
    assert client.data == stream(1, client.position)
    assert other.data == stream(1, other.position)
    async with service:
        kept = await service.output(session)
        assert len(kept) >= held
        assert kept == stream(1, len(kept))
        assert (await service.info(session))["state"] == "lost"


async def test_what_a_session_printed_in_its_last_breath_on_a_full_disk_is_stored_when_there_is_room(
    disk: Path, tmp_path: Path
) -> None:
    service = Service(tmp_path)
    async with service:
        session = (await service.create_session(command=printing(2)))["session_id"]
        async with service.client(session) as client:
            await client.wait(lambda: client.position > 100 * KIB, "output")
            ballast = fill(disk)
            await client.wait(lambda: storage(client), "storage")
            client.send_unnumbered(b"q")
            assert (await client.wait_ended())["exit_code"] == 7
            verify(client.data, 2)
        assert (await service.info(session))["storage"]["durable"] is False
        assert await service.output(session) == client.data
        ballast.unlink()
        await is_durable(service, session, durable=True)
        await service.kill()
    async with service:
        assert await service.output(session) == client.data
        info = await service.info(session)
        assert (info["state"], info["exit_code"]) == ("ended", 7)


async def test_a_session_created_on_a_full_disk_works_and_is_stored_when_there_is_room(
    disk: Path, tmp_path: Path
) -> None:
    service = Service(tmp_path)
    async with service:
        ballast = fill(disk)
        created = await service.create_session(command=printing(3), name="born on a full disk")
        session = created["session_id"]
        assert created["storage"]["durable"] is False
        assert "No space left" in created["storage"]["reason"]
        async with service.client(session) as client:
            await client.wait(lambda: storage(client), "storage")
            assert storage(client)[-1]["durable"] is False
            await client.wait(lambda: client.position > 200 * KIB, "output")
            ballast.unlink()
            await client.wait(lambda: storage(client)[-1]["durable"], "storage")
            held = client.position
            await service.kill()
    async with service:
        info = await service.info(session)
        assert (info["name"], info["state"]) == ("born on a full disk", "lost")
        kept = await service.output(session)
        assert len(kept) >= held
        assert kept == stream(3, len(kept))


async def test_a_service_stopped_and_started_on_a_full_disk_keeps_what_was_stored(disk: Path, tmp_path: Path) -> None:
    service = Service(tmp_path)
    async with service:
        session = (await service.create_session(command=["sh", "-c", "echo kept; exec sleep 600"]))["session_id"]
        async with service.client(session) as client:
            await client.wait_for_output(b"kept\r\n")
        fill(disk)
        assert await service.stop() == 0
    fill(disk)
    async with service:
        assert "address not written" in service.log()
        assert await service.output(session) == b"kept\r\n"
        other = (await service.create_session(command=["cat"]))["session_id"]
        async with service.client(other) as client:
            client.send_line("echo")
            await client.wait_for_output(b"echo\r\necho\r\n")


async def test_a_record_that_cannot_be_written_is_told_and_written_later(disk: Path, tmp_path: Path) -> None:
    service = Service(tmp_path)
    async with service:
        session = (await service.create_session(command=["cat"]))["session_id"]
        ballast = fill(disk)
        fresh = disk / "sessions" / session / "session.json.new"
        changed = await service.http.patch(f"/api/v1/sessions/{session}", json={"name": "renamed"})
        assert changed.status_code == 200
        assert "session record not saved" in service.log()
        assert (await service.http.get("/health")).json()["checks"]["storage"]["status"] == "degraded"
        ballast.unlink()
        record = disk / "sessions" / session / "session.json"
        await wait_until(lambda: "renamed" in record.read_text(), description="the record")
        assert not fresh.exists()
        await service.kill()
    async with service:
        assert (await service.info(session))["name"] == "renamed"


DAMAGED = ("{", "[]", "null", '{"history": [["gone", "", 0]]}', '{"rows": []}', '{"labels": 7}', '{"exit": {"x": 1}}')


async def test_damaged_records_keep_neither_the_service_from_starting_nor_output_from_being_read(
    tmp_path: Path,
) -> None:
    service = Service(tmp_path)
    async with service:
        sessions = {}
        for record in DAMAGED:
            session = (await service.create_session(command=["printf", "printed"]))["session_id"]
            async with service.client(session) as client:
                await client.wait_ended()
            sessions[session] = record
        await service.kill()
        for session, record in sessions.items():
            (service.state / "sessions" / session / "session.json").write_text(record)
        await service.start()
        for session in sessions:
            assert await service.output(session) == b"printed"
            assert (await service.info(session))["state"] == "lost"
