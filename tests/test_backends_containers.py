"""A service whose sessions run in containers of a real dockerd: seen, ended from all sides, killed, swept."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from support.container_daemon import IMAGE, ContainerDaemon, busybox_tar, running
from support.dockerd import Dockerd
from support.service import Service
from support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.platform("linux")

OTHER = "other:1"
PROFILES = """
[backends.box]
kind = "container"
socket = "{socket}"
image = "{image}"
allowed_images = ["other:*", "none:*"]
pull = "never"
memory_bytes = {memory}
description = "a container for each session"
"""


@pytest.fixture(scope="module")
def daemon() -> Iterator[ContainerDaemon]:
    """Run a daemon that has two images."""
    with running(Dockerd) as daemon:
        daemon.import_image(busybox_tar(), OTHER)
        yield daemon


def make_service(daemon: ContainerDaemon, directory: Path) -> Service:
    profiles = directory / "backends.toml"
    profiles.write_text(PROFILES.format(socket=daemon.url, image=IMAGE, memory=24 << 20))
    return Service(directory, BACKENDS_FILE=str(profiles))


def containers_of(daemon: ContainerDaemon, session: dict[str, Any]) -> list[dict[str, Any]]:
    return [each for each in daemon.containers() if session["session_id"] in each["Labels"].values()]


async def until_gone(daemon: ContainerDaemon, session: dict[str, Any]) -> None:
    async def is_gone() -> bool:
        return not await asyncio.to_thread(containers_of, daemon, session)

    await wait_until(is_gone, description="the container is removed")


async def test_a_session_in_a_container_and_its_ends(daemon: ContainerDaemon, tmp_path: Path) -> None:
    async with make_service(daemon, tmp_path) as service:
        await check_an_end_of_its_own(daemon, service)
        await check_memory(daemon, service)
        await check_removal(daemon, service)
        await check_images(daemon, service)
        for fields, code, words in (
            ({"memory_bytes": 1 << 30}, "invalid_request", "memory"),
            ({"needs": ["reattach"]}, "not_supported", "reattach"),
            ({"shell": "fish"}, "invalid_request", "fish"),
        ):
            refused = await service.http.post("/api/v1/sessions", json={"backend": "box", **fields})
            assert (refused.status_code, refused.json()["code"]) == (422, code), refused.text
            assert words in refused.json()["detail"]
        assert not await asyncio.to_thread(daemon.containers)
        assert "Traceback" not in service.log()


async def check_an_end_of_its_own(daemon: ContainerDaemon, service: Service) -> None:
    made = await service.create_session(backend="box", rows=30, cols=90)
    assert (made["state"], made["backend_reason"]) == ("running", "asked for by name")
    async with service.client(made["session_id"]) as client:
        client.send_line("stty size; hostname | wc -c; echo $TERMINAL_SESSION_ID")
        await client.wait_for_output(rb"30 90\r\n13\r\n" + made["session_id"].encode())
        client.resize(33, 101)
        # Daemons take sizes by calls of their own, so that what is typed behind one may overtake it.
        client.send_line("until stty size | grep -q '33 101'; do sleep 0.1; done; stty size; exit 7")
        await client.wait_for_output(rb"33 101\r\n")
        ended = await client.wait_ended()
        assert (ended["reason"], ended["exit_code"]) == ("Process exited", 7)
    await until_gone(daemon, made)


async def check_memory(daemon: ContainerDaemon, service: Service) -> None:
    """A program that needs more than there is ends, and its end has the words that say so."""
    made = await service.create_session(backend="box", command=["tail", "-c", "200000000", "/dev/zero"])
    async with service.client(made["session_id"]) as client:
        ended = await client.wait_ended()
        assert ended["reason"] in ("place_lost", "Process exited"), ended
        assert ended["exit_code"] in (None, 137), ended
        assert "24 MiB" in ended["message"], ended
    assert "24 MiB" in (await service.info(made["session_id"]))["end_message"]
    await until_gone(daemon, made)


async def check_removal(daemon: ContainerDaemon, service: Service) -> None:
    """A container that somebody removes is a lost place, and no other session is; DELETE removes its own."""
    made, other = [await service.create_session(backend="box", command=["cat"]) for _ in range(2)]
    async with service.client(made["session_id"]) as client, service.client(other["session_id"]) as unharmed:
        [container] = await asyncio.to_thread(containers_of, daemon, made)
        await asyncio.to_thread(daemon.ask, "DELETE", f"/v1.40/containers/{container['Id']}?force=1")
        ended = await client.wait_ended()
        assert (ended["reason"], ended["exit_code"]) == ("place_lost", None)
        assert "removed" in ended["message"] or "stopped" in ended["message"], ended
        unharmed.send_line("unharmed")
        await unharmed.wait_for_output(rb"unharmed\r\nunharmed\r\n")
    shown = await service.info(made["session_id"])
    assert (shown["state"], shown["end_reason"]) == ("lost", "place_lost")
    await service.delete(other["session_id"])
    await until_gone(daemon, other)


async def check_images(daemon: ContainerDaemon, service: Service) -> None:
    for image, status, code in (("else:1", 422, "invalid_request"), ("none:1", 503, "not_provided")):
        refused = await service.http.post("/api/v1/sessions", json={"backend": "box", "image": image})
        assert (refused.status_code, refused.json()["code"]) == (status, code), refused.text
        assert image in refused.json()["detail"]
    chosen = await service.create_session(backend="auto", image=OTHER, command=["cat"])
    assert chosen["backend"] == "box"
    assert "it needs an image" in chosen["backend_reason"]
    [container] = await asyncio.to_thread(containers_of, daemon, chosen)
    assert container["Image"] == OTHER
    await service.delete(chosen["session_id"])
    await until_gone(daemon, chosen)


async def test_what_a_killed_service_has_left_is_removed_by_the_next(daemon: ContainerDaemon, tmp_path: Path) -> None:
    async with make_service(daemon, tmp_path) as service:
        made = await service.create_session(backend="box", command=["cat"])
        async with service.client(made["session_id"], reconnect=False) as client:
            client.send_line("said")
            await client.wait_for_output(rb"said\r\nsaid\r\n")
            await service.kill()
        assert await asyncio.to_thread(containers_of, daemon, made)
        await service.start()
        shown = await service.info(made["session_id"])
        assert (shown["state"], shown["end_reason"]) == ("lost", "the service stopped while the session was running")
        assert await service.output(made["session_id"]) == b"said\r\nsaid\r\n"
        await until_gone(daemon, made)
        again = await service.create_session(backend="box", command=["cat"])
        await service.delete(again["session_id"])
        assert "Traceback" not in service.log()


async def test_a_daemon_that_is_restarted_costs_its_sessions_and_nothing_else(
    daemon: ContainerDaemon, tmp_path: Path
) -> None:
    async with make_service(daemon, tmp_path) as service:
        made = await service.create_session(backend="box", command=["cat"])
        near = await service.create_session(backend="local", command=["cat"])
        async with service.client(made["session_id"]) as client, service.client(near["session_id"]) as unharmed:
            try:
                await asyncio.to_thread(daemon.stop)
                ended = await client.wait_ended()
                assert (ended["reason"] in ("place_lost", "link_lost"), ended["exit_code"]) == (True, None), ended
                assert ended["message"]
                refused = await service.http.post("/api/v1/sessions", json={"backend": "box"})
                assert (refused.status_code, refused.json()["code"]) == (503, "backend_unreachable"), refused.text
                assert "cannot be reached" in refused.json()["detail"]
                await until_health(service, "failing")
            finally:
                if not daemon.pid:
                    await asyncio.to_thread(daemon.start)
            unharmed.send_line("unharmed")
            await unharmed.wait_for_output(rb"unharmed\r\nunharmed\r\n")
        again = await service.create_session(backend="box", command=["cat"])
        await until_health(service, "ok")
        for session in (again, near):
            await service.delete(session["session_id"])
        await until_gone(daemon, made)
        assert "Traceback" not in service.log()


async def until_health(service: Service, state: str) -> None:
    async def is_so() -> bool:
        places = (await service.http.get("/api/v1/backends")).json()
        return bool(next(each["health"]["state"] for each in places if each["name"] == "box") == state)

    await wait_until(is_so, description=f"health is {state}")
