"""Pods for sessions: made, waited for, refused in words, removed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from backends.abilities import FileKeeper, Forwarder, Meter, require
from backends.base import Notice, Order
from backends.errors import AccessRefused, BackendError, InvalidProgram, NotProvided, Unreachable
from backends.kubernetes.environment import KubernetesEnvironment
from backends.kubernetes.profile import Toleration, Volume
from support.pods import pod_backend, template
from support.terminals import Terminals, opened
from support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from backends.kubernetes.backend import KubernetesBackend
    from support.kube.server import KubeServer

    Make = Callable[..., KubernetesBackend]


@pytest.fixture
async def make(server: KubeServer, tmp_path: Path) -> AsyncIterator[Make]:
    """Make backends, which are closed in the end."""
    made = []

    def make(**fields: Any) -> KubernetesBackend:
        made.append(pod_backend(server, tmp_path, **fields))
        return made[-1]

    yield make
    for backend in made:
        await backend.close()


def pods(server: KubeServer) -> list[dict[str, Any]]:
    return [pod for pod in server.cluster.store.list("pods") if "deletionTimestamp" not in pod["metadata"]]


async def refused(backend: KubernetesBackend, kind: type[BackendError], words: str, **order: Any) -> BackendError:
    """Open a session that cannot be; nothing of it may be left."""
    with pytest.raises(kind, match=words) as caught:
        await backend.open(Order("session-1", **order))
    return caught.value


async def test_it_is_told_how_far_a_pod_is(server: KubeServer, make: Make) -> None:
    server.cluster.pull_seconds = 0.3
    told: list[Notice] = []
    backend = make(template=template("busybox:2", pull_policy="Always"))
    environment = await backend.open(Order("session-1", tell=told.append))
    messages = "\n".join(notice.message for notice in told)
    assert all(notice.kind == "progress" for notice in told)
    assert "scheduled on node node-1" in messages
    assert "ulling image" in messages
    assert "the container runs" in messages.splitlines()[-1]
    await environment.close()


async def test_a_pod_is_without_privileges_and_says_whose_it_is(server: KubeServer, make: Make) -> None:
    made = template(
        limits={"cpu": "1", "memory": "64Mi"},
        requests={"cpu": "100m"},
        most={"cpu": "2", "memory": "1Gi"},
        volumes=(Volume(path="/work", empty=True, size="1Gi"),),
        tolerations=(Toleration(key="gpu", effect="NoSchedule"),),
        read_only_root=True,
        env={"PLACE": "pod"},
        labels={"team": "a"},
    )
    order = Order("session-1", owner="ann@example.com", cpus=1.5, memory_bytes=128 << 20, lifetime_seconds=600)
    backend = make(template=made)
    environment = await backend.open(order)
    [pod] = pods(server)
    spec, container = pod["spec"], pod["spec"]["containers"][0]
    assert spec["automountServiceAccountToken"] is False
    assert spec["activeDeadlineSeconds"] == 601
    assert spec["securityContext"] == {
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
        "runAsUser": 1000,
    }
    security = container["securityContext"]
    assert (security["allowPrivilegeEscalation"], security["capabilities"]) == (False, {"drop": ["ALL"]})
    assert container["resources"]["limits"] == {"cpu": "1500m", "memory": str(128 << 20)}
    labels = pod["metadata"]["labels"]
    assert (labels["team"], labels["terminal-service/owner"]) == ("a", "ann_example.com")
    assert pod["metadata"]["annotations"]["terminal-service/session-id"] == "session-1"
    terminals = Terminals(backend, environment)
    terminal = await terminals.sh('id -u; echo "$PLACE"; touch /tmp/x /work/x && echo written; touch /x || echo held')
    await terminal.wait()
    for word in (b"1000", b"pod", b"written", b"held"):
        assert word in terminal.output
    await environment.close()
    await wait_until(lambda: not server.cluster.store.list("pods"), description="the pod is gone")


@pytest.mark.parametrize(
    ("order", "words"),
    [
        ({"image": "evil:1"}, "image: 'evil:1' is not allowed here"),
        ({"cpus": 3.0}, "cpus: is at most 2 here"),
        ({"memory_bytes": 1 << 30}, "memory_bytes: cannot be asked for here"),
        ({"gpus": 1}, "gpus: is at most 0 here"),
    ],
)
async def test_more_than_is_allowed_is_refused(
    server: KubeServer, make: Make, order: dict[str, Any], words: str
) -> None:
    backend = make(template=template(most={"cpu": "2"}, images=("python:*",)))
    await refused(backend, InvalidProgram, words, **order)
    assert not pods(server)


async def test_an_image_that_is_allowed_is_taken(server: KubeServer, make: Make) -> None:
    backend = make(template=template(images=("nonroot:*",)))
    environment = await backend.open(Order("session-1", image="nonroot:3"))
    assert pods(server)[0]["spec"]["containers"][0]["image"] == "nonroot:3"
    await environment.close()


async def test_a_pod_that_fits_no_node_is_told_and_removed(server: KubeServer, make: Make) -> None:
    told: list[Notice] = []
    backend = make(template=template(gpus=2), unschedulable_seconds=0.3)
    await refused(
        backend, NotProvided, "no node of the cluster takes it: .*Insufficient nvidia.com/gpu", tell=told.append
    )
    assert any("Insufficient" in notice.message for notice in told)
    await wait_until(lambda: not pods(server), description="the pod is removed")


async def test_a_cluster_may_grow_meanwhile(server: KubeServer, make: Make) -> None:
    backend = make(template=template(gpus=1))

    def grow(notice: Notice) -> None:
        if "Insufficient" in notice.message:
            server.cluster.set_capacity(gpu="1")

    environment = await backend.open(Order("session-1", tell=grow))
    await environment.close()


async def test_a_missing_image_is_told_and_the_pod_removed(server: KubeServer, make: Make) -> None:
    backend = make(template=template("no-such-image:1"))
    await refused(backend, NotProvided, "its image cannot be pulled .ImagePullBackOff")
    await wait_until(lambda: not pods(server), description="the pod is removed")


async def test_an_image_for_root_is_refused(make: Make) -> None:
    backend = make(template=template(user_id=None))
    await refused(backend, NotProvided, "configuration is not valid .*will run as root")


async def test_a_full_quota_is_told(server: KubeServer, make: Make) -> None:
    server.cluster.most_pods = 0
    await refused(make(), NotProvided, "exceeded quota")


async def test_a_pod_that_takes_too_long_is_removed(server: KubeServer, make: Make) -> None:
    server.cluster.pull_seconds = 60
    made = template("busybox:9", pull_policy="Always")
    backend = make(template=made, ready_seconds=0.5)
    await refused(backend, NotProvided, "is not ready after 0.5 s")
    await wait_until(lambda: not pods(server), description="the pod is removed")


async def test_a_cancelled_opening_leaves_no_pod(server: KubeServer, make: Make) -> None:
    server.cluster.pull_seconds = 60
    backend = make(template=template("busybox:9", pull_policy="Always"))
    opening = asyncio.create_task(backend.open(Order("session-1")))
    await wait_until(lambda: pods(server), description="a pod is made")
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    await wait_until(lambda: not pods(server), description="the pod is removed")


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        (403, AccessRefused, "lacks a right"),
        (404, NotProvided, "the test wants 404"),
        (422, NotProvided, "the test wants 422"),
        (500, Unreachable, "API server fails"),
    ],
)
async def test_a_refusal_to_make_a_pod_is_told(
    server: KubeServer, make: Make, code: int, kind: type[BackendError], words: str
) -> None:
    server.faults.fail(code, "create", resource="pods", times=5)
    await refused(make(), kind, f"cannot create a pod in namespace default: .*{words}")


@pytest.mark.parametrize("code", [429, 409, 503])
async def test_passing_refusals_are_sat_out(server: KubeServer, make: Make, code: int) -> None:
    server.faults.fail(code, "create", resource="pods", times=2)
    server.faults.fail(500, "list", resource="pods")
    server.faults.fail(410, "watch", resource="pods")
    async with opened(make()) as terminals:
        assert (await (await terminals.run("true")).wait()).code == 0


async def test_a_cluster_that_has_too_much_to_do_says_when_to_come_again(server: KubeServer, make: Make) -> None:
    server.faults.fail(429, "create", resource="pods", times=9, retry_after=77)
    error = await refused(make(), Unreachable, "too much to do")
    assert isinstance(error, Unreachable)
    assert error.retry_after_seconds == 77


async def test_what_a_killed_service_has_left_is_swept(server: KubeServer, make: Make) -> None:
    killed, other = make(), make(node_id="node-2")
    for session in ("session-1", "session-2"):
        await killed.open(Order(session))
    await other.open(Order("session-3"))
    backend = make()
    await backend.sweep(["session-2"])
    left = [pod["metadata"]["annotations"]["terminal-service/session-id"] for pod in pods(server)]
    assert sorted(left) == ["session-2", "session-3"]
    taken_up = await backend.open(Order("session-2"))
    assert len(pods(server)) == 2
    await taken_up.close()


async def test_a_pod_is_found_by_its_labels(server: KubeServer, make: Make) -> None:
    container = {"name": "main", "image": "busybox:1", "command": ["sleep", "100"]}
    metadata = {"name": "one", "labels": {"app": "dev"}}
    server.cluster.create_pod("default", {"metadata": metadata, "spec": {"containers": [container]}})
    backend = make(selector="app=dev")

    async def opens() -> KubernetesEnvironment | None:
        try:
            return await backend.open(Order("session-1"))
        except NotProvided:
            return None

    environment = await wait_until(opens, description="the pod is ready")
    assert environment.processes.target.pod == "one"
    await environment.close()
    for fields in ({"selector": "app=no"}, {"pod": "no"}, {"pod": "one", "container": "no"}):
        await refused(make(**fields), NotProvided, "there is no pod|has no container")


async def test_a_port_a_file_the_log_and_what_is_used(server: KubeServer, make: Make) -> None:
    says = ("/bin/sh", "-c", "echo hello; trap 'exit 0' TERM; while :; do sleep 100 & wait; done")
    made = template(command=says, limits={"memory": "64Mi"})
    async with opened(make(template=made)) as terminals:
        environment = terminals.environment
        assert isinstance(environment, KubernetesEnvironment)
        serving = await terminals.sh("echo ready; exec nc -l -p 8080 -e cat")
        await serving.sink.until(b"ready")
        forwarder = require(terminals.backend, environment, Forwarder)  # type: ignore[type-abstract]

        async def connects() -> Any:
            try:
                return await forwarder.connect(8080)
            except Unreachable:
                return None

        connection = await wait_until(connects, description="the port is open")
        await connection.write(b"across")
        assert await connection.read() == b"across"
        await connection.close()
        with pytest.raises(Unreachable, match=r"port 8081.*refused"):
            await forwarder.connect(8081)
        assert await environment.logs() == b"hello\n"
        stats = await require(terminals.backend, environment, Meter).stats()  # type: ignore[type-abstract]
        assert stats.memory_limit_bytes == 64 << 20
        assert stats.memory_bytes
        server.has_metrics = False
        files = require(terminals.backend, environment, FileKeeper).files()  # type: ignore[type-abstract]
        assert (await files.stat("/bin/busybox")).size > 100_000
