"""What an API server refuses and fails to do is told in words and leaves nothing behind; what passes is waited for."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from backends.base import Lost, Order
from backends.errors import AccessRefused, BackendError, NotProvided, Unreachable
from backends.kubernetes.channels import Pulse
from support.kube.access import TERMINALS
from support.kube.server import KubeServer, kube_server
from support.pods import pod_backend, template
from support.terminals import Terminals
from support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from backends.kubernetes.backend import KubernetesBackend
    from support.terminals import Terminal

pytestmark = pytest.mark.platform("linux")


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[KubeServer]:
    async with kube_server(tmp_path) as running:
        yield running


@asynccontextmanager
async def working(server: KubeServer, directory: Path, **fields: Any) -> AsyncIterator[KubernetesBackend]:
    """Give a backend; in the end it is closed."""
    backend = pod_backend(server, directory, delete_grace_seconds=0, **fields)
    try:
        yield backend
    finally:
        await backend.close()


@asynccontextmanager
async def opened(backend: KubernetesBackend, session: str = "session-1") -> AsyncIterator[Terminals]:
    """Open a session's environment; in the end it is closed."""
    environment = await backend.open(Order(session))
    try:
        yield Terminals(backend, environment)
    finally:
        await environment.close()


def pods_of(server: KubeServer) -> list[str]:
    return [pod["metadata"]["name"] for pod in server.cluster.store.list("pods")]


async def until_no_pod(server: KubeServer) -> None:
    await wait_until(lambda: not pods_of(server), description="no pod is left")


async def refusal(server: KubeServer, directory: Path, kind: type[BackendError], **fields: Any) -> str:
    """Open a session, which is refused with an error of a kind; return its words. No pod is left."""
    async with working(server, directory, **fields) as backend:
        with pytest.raises(kind) as refused:
            await backend.open(Order("session-1"))
    await until_no_pod(server)
    return str(refused.value)


async def living(terminal: Terminal, server: KubeServer) -> int:
    """Wait until a terminal's shell answers; return how many streams there are."""
    await terminal.type(b"echo is al''ive\r")
    await terminal.sink.until(b"is alive", start=len(terminal.output))
    return len(server.commands.streams)


# What keeps a session from being opened


async def test_a_missing_right_to_exec_is_told_and_the_pod_is_gone(server: KubeServer, tmp_path: Path) -> None:
    rules = [rule for rule in TERMINALS if "pods/exec" not in rule.resources]
    config = server.kubeconfig(tmp_path / "narrow", user="ann", rules=rules)

    words = await refusal(server, tmp_path, AccessRefused, kubeconfig=str(config))

    assert "pods/exec" in words


@pytest.mark.parametrize(
    ("fault", "kind", "words"),
    [
        (lambda server: server.cluster.cordon(), NotProvided, "no node of the cluster takes it"),
        (lambda server: server.commands.stop_kubelet(), BackendError, "error dialing backend"),
        (lambda server: server.faults.abort("create", resource="pods"), Unreachable, "no connection"),
    ],
    ids=["unschedulable", "kubelet", "cut"],
)
async def test_why_no_pod_is_to_be_had_is_told(
    server: KubeServer, tmp_path: Path, fault: Callable[[KubeServer], None], kind: type[BackendError], words: str
) -> None:
    fault(server)

    assert words in await refusal(server, tmp_path, kind, unschedulable_seconds=0.5)


async def test_a_namespace_that_is_not_there_is_told(server: KubeServer, tmp_path: Path) -> None:
    words = await refusal(server, tmp_path, NotProvided, namespace="nowhere")

    assert 'namespaces "nowhere" not found' in words


async def test_a_main_process_that_ends_is_told(server: KubeServer, tmp_path: Path) -> None:
    words = await refusal(server, tmp_path, NotProvided, template=template(command=("sh", "-c", "exit 9")))

    assert "has ended with code 9" in words or "current phase is Failed" in words


async def test_a_pod_that_is_deleted_on_its_way_is_told(server: KubeServer, tmp_path: Path) -> None:
    server.cluster.pull_seconds = 100
    async with working(server, tmp_path) as backend:
        opening = asyncio.create_task(backend.open(Order("session-1")))
        (name,) = await wait_until(lambda: pods_of(server), description="the pod")
        server.cluster.delete_pod("default", name, 0)

        with pytest.raises(NotProvided, match="deleted"):
            await opening


# What passes by itself


async def test_what_passes_is_waited_for(server: KubeServer, tmp_path: Path) -> None:
    server.commands.v4_only = True
    server.cluster.pull_seconds = 0.6
    faults = server.faults
    faults.fail(500, "list", resource="pods")
    faults.fail(409, "create", resource="pods")  # the name is taken
    faults.fail(429, "create", resource="pods", retry_after=1)
    faults.fail(503, "create", resource="pods")
    faults.delay(0.1, "create", resource="pods")
    faults.fail(410, "watch", resource="pods")
    faults.abort("watch", resource="pods")
    faults.fail(503, "get", resource="pods/exec")
    async with working(server, tmp_path) as backend, opened(backend) as terminals:
        shell = await terminals.run(shell="sh")
        await shell.type(b"exit 7\r")

        assert (await shell.wait()).code == 7
        assert len(pods_of(server)) == 1
        assert not faults.left
    await until_no_pod(server)


async def test_no_request_is_made_again_before_its_time(server: KubeServer, tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    server.faults.fail(429, "create", resource="pods", retry_after=1)
    begun = loop.time()
    async with working(server, tmp_path) as backend, opened(backend):
        assert loop.time() - begun >= 1
        assert server.asked.count(("create", "pods")) == 2


# What happens to a session that is open


async def test_a_token_that_ends_meanwhile_is_renewed_from_the_file(server: KubeServer, tmp_path: Path) -> None:
    token = server.access.add("ann")
    config = server.kubeconfig(tmp_path / "config", token=token)
    async with working(server, tmp_path, kubeconfig=str(config)) as backend, opened(backend) as terminals:
        shell = await terminals.run(shell="sh")
        server.access.expire(token)

        await living(shell, server)
        with pytest.raises(AccessRefused, match="expired or revoked"):
            await terminals.run(shell="sh")
        server.kubeconfig(config, user="ann")
        renewed = await terminals.run(shell="sh")

        await living(renewed, server)
        await living(shell, server)
    await until_no_pod(server)


async def test_a_pod_that_cannot_be_deleted_now_is_swept_later(server: KubeServer, tmp_path: Path) -> None:
    async with working(server, tmp_path) as backend:
        async with opened(backend):
            server.faults.fail(403, "delete", resource="pods", message="not now")
        assert len(pods_of(server)) == 1

        await backend.sweep(["session-1"])
        assert len(pods_of(server)) == 1
        await backend.sweep([])
        await until_no_pod(server)


async def test_a_lost_node_ends_sessions_with_its_name_and_none_hangs(server: KubeServer, tmp_path: Path) -> None:
    pulse = Pulse(ping_seconds=(0.05, 0.1), silence_seconds=0.4)
    async with working(server, tmp_path, pulse=pulse) as backend, opened(backend) as terminals:
        shell = await terminals.run(shell="sh")
        await living(shell, server)
        server.cluster.lose_node()
        server.commands.freeze()

        status = await shell.wait()

        assert status.lost is Lost.PLACE
        assert "NodeLost" in status.message
