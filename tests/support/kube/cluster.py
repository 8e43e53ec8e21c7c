"""The cluster behind the test API server: one node, its pods, and what can go wrong there."""

from __future__ import annotations

import asyncio
import secrets
import signal
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from support.kube.containers import Runtime
from support.kube.kubelet import NODE, NODE_ADDRESS, Life, Pod
from support.kube.pod_form import check, fill_in, quantity, requests_of
from support.kube.statuses import Refused, bad_request, not_found
from support.kube.store import Object, Store, stamp

if TYPE_CHECKING:
    from pathlib import Path

    from support.kube.containers import Running

CAPACITY = {"cpu": "8", "memory": "16Gi", "pods": "110"}
NODE_LABELS = {"kubernetes.io/hostname": NODE, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"}


class Cluster:
    """Everything but the API server; its public fields are switches of tests."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.runtime = Runtime()
        self.store = Store()
        self.pull_seconds = 0.0
        self.missing_images: set[str] = set()
        self.pulled: set[str] = set()
        self.is_node_gone = False
        self.is_kubelet_stopped = False
        self.most_pods: int | None = None
        """The quota of each namespace."""
        self.pods: dict[tuple[str, str], Pod] = {}
        self.failures: list[BaseException] = []
        self._capacity = dict(CAPACITY)
        self._cordoned = ""
        self._capacity_changed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        await self.runtime.start()
        for name in ("default", "kube-system"):
            self.add_namespace(name)
        self.store.create("nodes", "", {"metadata": {"name": NODE, "labels": NODE_LABELS}})
        self.set_capacity()

    def add_namespace(self, name: str) -> None:
        self.store.create("namespaces", "", {"metadata": {"name": name}, "status": {"phase": "Active"}})

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for pod in self.pods.values():
            pod.release()
        await self.runtime.close()

    # Pods

    def create_pod(self, namespace: str, given: Object) -> Object:
        """Start a pod; raise Refused."""
        check(given)
        name = given["metadata"].get("name", "")
        pods = len([pod for pod in self.store.list("pods") if pod["metadata"]["namespace"] == namespace])
        if self.most_pods is not None and pods >= self.most_pods:
            message = (
                f'pods "{name}" is forbidden: exceeded quota: compute, requested: pods=1, used: pods={pods}, '
                f"limited: pods={self.most_pods}"
            )
            raise Refused(403, "Forbidden", message, details={"name": name, "kind": "pods"})
        fill_in(given)
        made = self.store.create("pods", namespace, given)
        pod = Pod(self, made)
        self.pods[namespace, pod.name] = pod
        task = asyncio.get_running_loop().create_task(pod.run(), name=f"pod {pod.name}")
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._pod_done(done, pod))
        return made

    def _pod_done(self, task: asyncio.Task[None], pod: Pod) -> None:
        self._tasks.discard(task)
        pod.release()
        if self.pods.get((pod.namespace, pod.name)) is pod:
            del self.pods[pod.namespace, pod.name]
        if not task.cancelled() and (error := task.exception()):
            self.failures.append(error)
            self.store.remove("pods", pod.namespace, pod.name, uid=pod.uid)

    def delete_pod(self, namespace: str, name: str, grace: int | None) -> Object:
        """Begin the end of a pod; return its last state so far."""
        found = self.store.get("pods", namespace, name)
        seconds = found["spec"]["terminationGracePeriodSeconds"] if grace is None else grace
        if found["status"]["phase"] in ("Succeeded", "Failed") or not found["spec"].get("nodeName"):
            seconds = 0

        def edit(pod: Object) -> None:
            known = pod["metadata"].get("deletionGracePeriodSeconds", seconds)
            pod["metadata"].setdefault("deletionTimestamp", stamp())
            pod["metadata"]["deletionGracePeriodSeconds"] = min(known, seconds)

        changed = self.store.change("pods", namespace, name, edit)
        if not self.is_node_gone or seconds == 0:
            self.pods[namespace, name].delete(seconds)
        if self.is_node_gone and seconds == 0:
            self.store.remove("pods", namespace, name)
        return changed

    def life(self, namespace: str, name: str, container: str = "") -> Life:
        """Find a container, the first if none is named; raise Refused."""
        found = self.store.get("pods", namespace, name)
        pod = self.pods.get((namespace, name))
        if pod is None:
            raise not_found("pods", name)
        container = container or found["spec"]["containers"][0]["name"]
        life = pod.lives.get(container)
        if life is None:
            raise bad_request(f"container {container} is not valid for pod {name}")
        return life

    def keep_unread(self, life: Life, running: Running) -> None:
        """Keep the terminal of a program whose client is gone open and unread until it ends."""
        life.left.add(running)

        def release(_: object) -> None:
            running.close()
            life.left.discard(running)

        running.exited.add_done_callback(release)

    # What can go wrong

    async def evict(self, name: str, namespace: str = "default", *, grace: float = 0) -> None:
        message = "The node was low on resource: memory. Threshold quantity: 100Mi, available: 52Mi. "
        self.note_event(self.store.get("pods", namespace, name), "Warning", "Evicted", message)
        await self.pods[namespace, name].fail("Evicted", message, grace=grace)

    async def kill_for_memory(self, name: str, namespace: str = "default", container: str = "") -> None:
        """Do what the kernel does to a container that uses too much memory."""
        life = self.life(namespace, name, container)
        assert life.running is not None, f"{name} does not run"
        life.end_reason = "OOMKilled"
        await self.runtime.kill(life.running, signal.SIGKILL)

    def set_capacity(self, **resources: str) -> None:
        """Set what the node has: `cpu="8", gpu="1"`."""
        if "gpu" in resources:
            resources["nvidia.com/gpu"] = resources.pop("gpu")
        self._capacity |= resources

        def edit(node: Object) -> None:
            node["status"] = {
                "capacity": self._capacity,
                "allocatable": self._capacity,
                "addresses": [{"type": "InternalIP", "address": NODE_ADDRESS}],
                "conditions": [{"type": "Ready", "status": "False" if self.is_node_gone else "True"}],
            }

        self.store.change("nodes", "", NODE, edit)
        self._wake()

    def cordon(self, problem: str = "node(s) were unschedulable") -> None:
        """Let no more pods be placed, for a reason."""
        self._cordoned = problem

    def uncordon(self) -> None:
        self._cordoned = ""
        self._wake()

    def lose_node(self) -> None:
        """Let the node be gone: nothing is told of its pods any more, and none can be reached."""
        self.is_node_gone = self.is_kubelet_stopped = True
        self.set_capacity()
        for (namespace, name), pod in self.pods.items():
            del pod

            def edit(found: Object) -> None:
                found["status"]["reason"] = "NodeLost"
                for condition in found["status"].get("conditions", []):
                    if condition["type"] == "Ready":
                        condition |= {"status": "False", "reason": "NodeNotReady"}

            self.store.change("pods", namespace, name, edit)

    def _wake(self) -> None:
        self._capacity_changed.set()
        self._capacity_changed = asyncio.Event()

    # What pods ask

    def problem_for(self, pod: Object) -> str:
        """Say why a pod cannot be placed, if it cannot."""
        problem = self._cordoned
        for key, value in (pod["spec"].get("nodeSelector") or {}).items():
            if NODE_LABELS.get(key) != value:
                problem = problem or "node(s) didn't match Pod's node affinity/selector"
        for name, amount in requests_of(pod).items():
            if amount > quantity(self._capacity.get(name, "0")) and name != "ephemeral-storage":
                problem = problem or f"Insufficient {name}"
        for volume in pod["spec"].get("volumes") or []:
            claim = (volume.get("persistentVolumeClaim") or {}).get("claimName")
            if claim and not self.store.has("persistentvolumeclaims", pod["metadata"]["namespace"], claim):
                return f'persistentvolumeclaim "{claim}" not found'
        after = "preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
        return f"0/1 nodes are available: 1 {problem}. {after}" if problem else ""

    async def until_capacity_changes(self) -> None:
        await self._capacity_changed.wait()

    def note_event(self, about: Object, kind: str, reason: str, message: str, *, source: str = "kubelet") -> None:
        metadata = about["metadata"]
        now = datetime.now(UTC)
        made: dict[str, Any] = {
            "metadata": {"name": f"{metadata['name']}.{secrets.token_hex(8)}"},
            "involvedObject": {
                "apiVersion": "v1",
                "kind": about.get("kind", "Pod"),
                **{key: metadata.get(key, "") for key in ("name", "namespace", "uid")},
            },
            "type": kind,
            "reason": reason,
            "message": message,
            "source": {"component": source, **({"host": NODE} if source == "kubelet" else {})},
            "firstTimestamp": stamp(now),
            "lastTimestamp": stamp(now),
            "count": 1,
            "reportingComponent": source,
            "reportingInstance": NODE if source == "kubelet" else "",
        }
        self.store.create("events", metadata["namespace"], made)
