"""A service whose sessions run in pods, which a test cluster plays: prepared, seen, evicted, cut, killed, taken up."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from support.kube.images import base_python
from support.kube.server import KubeServer, kube_server
from support.service import Service
from support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from support.client import Client

pytestmark = pytest.mark.platform("linux")

PROFILES = """
[backends.pods]
kind = "kubernetes"
kubeconfig = "{config}"
description = "a pod for each session"

[backends.pods.template]
image = "busybox:1"
images = ["none:*"]

[backends.kept]
kind = "kubernetes"
kubeconfig = "{config}"
durable = true
durable_python = "{python}"

[backends.kept.template]
image = "python:1"

[backends.theirs]
kind = "kubernetes"
kubeconfig = "{config}"
users = ["somebody-else"]

[backends.theirs.template]
image = "busybox:1"
"""


@asynccontextmanager
async def served(directory: Path, *, wait_seconds: float = 10) -> AsyncIterator[tuple[KubeServer, Service]]:
    (directory / "kube").mkdir()
    async with kube_server(directory / "kube") as server:
        config = server.kubeconfig(directory / "kubeconfig")
        profiles = directory / "backends.toml"
        profiles.write_text(PROFILES.format(config=config, python=base_python()))
        async with Service(directory, BACKENDS_FILE=str(profiles), CREATE_WAIT_SECONDS=str(wait_seconds)) as service:
            yield server, service


def pod_of(server: KubeServer, session: dict[str, Any]) -> str:
    """Return the name of a session's pod; empty: it has none."""
    for pod in server.cluster.store.list("pods"):
        if session["session_id"] in (pod["metadata"].get("annotations") or {}).values():
            return str(pod["metadata"]["name"])
    return ""


def told(client: Client, kind: str) -> list[str]:
    """Return what a viewer was told by notices of a kind."""
    return [each["message"] for each in client.messages if each["type"] == "notice" and each["kind"] == kind]


async def until_told(client: Client, kind: str) -> str:
    await client.wait(lambda: told(client, kind), f"a notice: {kind}")
    return told(client, kind)[-1]


async def health(service: Service, name: str) -> tuple[str, str]:
    places = (await service.http.get("/api/v1/backends")).json()
    found = next(each["health"] for each in places if each["name"] == name)
    return found["state"], found["reason"]


async def test_a_pod_is_waited_for_typed_into_and_deleted(tmp_path: Path) -> None:
    async with served(tmp_path, wait_seconds=0.2) as (server, service):
        server.cluster.pull_seconds = 3.0
        made = await service.create_session(backend="pods", name="slow")
        assert (made["state"], made["backend"]) == ("preparing", "pods")
        path = f"/api/v1/sessions/{made['session_id']}"
        async with service.client(made["session_id"]) as client:
            client.send_line("n=$((${n:-0} + 1)); echo typed-$n; stty size; echo $TERMINAL_SESSION_ID")
            client.resize(33, 101)
            early = await service.http.post(f"{path}/signal", json={"name": "INT"})
            assert (early.status_code, early.json()["code"]) == (409, "preparing"), early.text
            await client.wait_for_output(rb"typed-1\r\n33 101\r\n" + made["session_id"].encode())
            progress = told(client, "progress")
            assert any("ulling" in said for said in progress), progress
            assert told(client, "ready") == ["the session runs"], progress
            client.resize(40, 120)
            client.send_line("stty size; echo $n")
            await client.wait_for_output(rb"40 120\r\n1\r\n")
            client.send_line("sh -c 'trap \"exit 3\" INT; echo up; while :; do sleep 0.1; done'; echo left-$?")
            await client.wait_for_output(rb"\nup\r\n")
            client.signal("INT")
            await client.wait_for_output(rb"left-3\r\n")
            client.send_line("exit 7")
            ended = await client.wait_ended()
            assert (ended["reason"], ended["exit_code"]) == ("Process exited", 7)
        await wait_until(lambda: not server.cluster.store.list("pods"), description="its pod goes with it")
        server.cluster.pull_seconds = 0.0
        other = await service.create_session(backend="pods", command=["cat"])
        await wait_until(lambda: pod_of(server, other), description="a pod")
        await service.delete(other["session_id"])
        await wait_until(lambda: not server.cluster.store.list("pods"), description="it is deleted")
        server.cluster.missing_images.add("busybox:1")
        hopeless = await service.create_session(backend="pods")
        assert hopeless["state"] == "preparing"
        async with service.client(hopeless["session_id"]) as client:
            ended = await client.wait_ended()
            assert "image" in ended["reason"], ended
            assert "may require authorization" in ended["reason"], ended
        assert (await service.info(hopeless["session_id"]))["state"] == "error"
        await check_refusals(service)
        await wait_until(lambda: not server.cluster.store.list("pods"), description="nothing is left")
        assert "Traceback" not in service.log()


async def check_refusals(service: Service) -> None:
    """See what is refused before anything is provisioned, and how."""
    for fields, status, code, words in (
        ({"backend": "theirs"}, 403, "forbidden", "its operator has not named"),
        ({"image": "other:1"}, 422, "invalid_request", "other:1"),
        ({"gpus": 1}, 422, "invalid_request", "gpu"),
        ({"needs": ["snapshot"]}, 422, "not_supported", "snapshot"),
        ({"needs_ssh": True}, 422, "not_supported", "SSH"),
    ):
        answer = await service.http.post("/api/v1/sessions", json={"backend": "pods", **fields})
        assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
        assert words in answer.json()["detail"]


async def test_sessions_live_through_what_a_cluster_does(tmp_path: Path) -> None:
    async with served(tmp_path) as (server, service):
        kept = await service.create_session(backend="kept", command=["cat"])
        evicted, plain = [await service.create_session(backend="pods", command=["cat"]) for _ in range(2)]
        async with service.client(kept["session_id"]) as client, service.client(plain["session_id"]) as other:
            client.send_line("one")
            await client.wait_for_output(rb"one\r\none\r\n")
            await check_eviction(server, service, evicted)
            other.send_line("unharmed")
            await other.wait_for_output(rb"unharmed\r\nunharmed\r\n")
            missing = await service.http.post("/api/v1/sessions", json={"backend": "pods", "image": "none:1"})
            assert (missing.status_code, missing.json()["code"]) == (503, "not_provided"), missing.text
            assert "pull access denied" in missing.json()["detail"]
            await server.stop_listening()
            ended = await other.wait_ended()
            assert (ended["reason"], ended["exit_code"]) == ("link_lost", None)
            assert ended["message"]
            client.send_line("two")
            await until_told(client, "link_lost")
            down = await service.http.post("/api/v1/sessions", json={"backend": "pods"})
            assert (down.status_code, down.json()["code"]) == (503, "backend_unreachable"), down.text
            await until_health(service, "failing")
            await server.listen()
            await until_told(client, "link_back")
            await client.wait_for_output(rb"two\r\ntwo\r\n")
        plain = await service.create_session(backend="pods", command=["cat"])  # which has it looked at
        await until_health(service, "ok")
        await check_new_start(server, service, kept, plain)
        assert "Traceback" not in service.log()


async def check_eviction(server: KubeServer, service: Service, session: dict[str, Any]) -> None:
    """Evict a session's pod: it is lost, and its viewer is told why."""
    async with service.client(session["session_id"]) as client:
        await server.cluster.evict(pod_of(server, session))
        ended = await client.wait_ended()
        assert (ended["reason"], ended["exit_code"]) == ("place_lost", None)
        assert "low on resource: memory" in ended["message"], ended
    shown = await service.info(session["session_id"])
    assert (shown["state"], shown["end_reason"], shown["end_message"]) == ("lost", "place_lost", ended["message"])


async def until_health(service: Service, state: str) -> None:
    """Wait until the service has seen how the cluster is."""

    async def is_so() -> bool:
        return (await health(service, "pods"))[0] == state

    await wait_until(is_so, description=f"health is {state}")
    reason = (await health(service, "pods"))[1]
    assert bool(reason) == (state == "failing"), reason


async def check_new_start(server: KubeServer, service: Service, kept: dict[str, Any], plain: dict[str, Any]) -> None:
    """Kill the service: the durable session goes on, the pod of the other one is removed."""
    assert pod_of(server, plain)
    await service.kill()
    await service.start()
    async with service.client(kept["session_id"]) as client:
        client.send_line("three")
        await client.wait_for_output(rb"three\r\nthree\r\n")
        assert client.data == b"".join(b"%b\r\n%b\r\n" % (word, word) for word in (b"one", b"two", b"three"))
    assert (await service.info(kept["session_id"]))["state"] == "running"
    shown = await service.info(plain["session_id"])
    assert shown["state"] == "lost"
    assert shown["end_reason"]
    await wait_until(lambda: not pod_of(server, plain), description="the orphan is deleted")
    await service.delete(kept["session_id"])
    await wait_until(lambda: not server.cluster.store.list("pods"), description="nothing is left")


async def test_what_is_being_prepared_can_be_ended_and_does_not_outlive_the_service(tmp_path: Path) -> None:
    async with served(tmp_path, wait_seconds=0.2) as (server, service):
        server.cluster.pull_seconds = 60.0
        unwanted, killed = [await service.create_session(backend="pods") for _ in range(2)]
        await wait_until(lambda: pod_of(server, unwanted) and pod_of(server, killed), description="two pods")
        async with service.client(unwanted["session_id"]) as client:
            await service.delete(unwanted["session_id"])
            assert (await client.wait_ended())["reason"] == "deleted"
        await wait_until(lambda: not pod_of(server, unwanted), description="its pod is deleted")
        await service.kill()
        await service.start()
        shown = await service.info(killed["session_id"])
        assert shown["state"] in ("error", "lost"), shown
        assert "prepared" in shown["end_reason"], shown
        await wait_until(lambda: not server.cluster.store.list("pods"), description="the other one too")
        assert "Traceback" not in service.log()
