"""What containers use, as metrics.k8s.io tells it."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING

from support.kube.statuses import Refused
from support.kube.store import Object, stamp

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.kube.cluster import Cluster
    from support.kube.containers import Running
    from support.kube.paths import Asked

WINDOW_SECONDS = 0.1
PAGE_KIBIBYTES = 4
TICKS = os.sysconf("SC_CLK_TCK")


async def read(cluster: Cluster, asked: Asked, wanted: Callable[[Object], bool]) -> Object:
    """Measure the running pods that are wanted; raise Refused."""
    pods = [pod for pod in cluster.store.list("pods", wanted) if pod["status"]["phase"] == "Running"]
    if asked.name:
        pods = [pod for pod in pods if pod["metadata"]["name"] == asked.name]
        if not pods:
            name = f"{asked.namespace}/{asked.name}"
            raise Refused(404, "NotFound", f'podmetrics.metrics.k8s.io "{name}" not found')
        return await _measure(cluster, pods[0])
    items = [await _measure(cluster, pod) for pod in pods]
    return {"kind": "PodMetricsList", "apiVersion": "metrics.k8s.io/v1beta1", "metadata": {}, "items": items}


async def _measure(cluster: Cluster, pod: Object) -> Object:
    metadata = pod["metadata"]
    lives = cluster.pods[metadata["namespace"], metadata["name"]].lives
    running = {name: life.running for name, life in lives.items() if life.running}
    before = {name: _use(each)[0] for name, each in running.items()}
    await asyncio.sleep(WINDOW_SECONDS)
    containers = []
    for name, each in running.items():
        ticks, kibibytes = _use(each)
        nanocores = int((ticks - before[name]) / TICKS / WINDOW_SECONDS * 1e9)
        containers.append({"name": name, "usage": {"cpu": f"{max(0, nanocores)}n", "memory": f"{kibibytes}Ki"}})
    return {
        "kind": "PodMetrics",
        "apiVersion": "metrics.k8s.io/v1beta1",
        "metadata": {key: metadata.get(key) for key in ("name", "namespace", "creationTimestamp", "labels")},
        "timestamp": stamp(),
        "window": "15s",
        "containers": containers,
    }


def _use(running: Running) -> tuple[int, int]:
    """Sum the processor ticks and the resident kibibytes of all processes of a container."""
    ticks = pages = 0
    try:
        own = Path(f"/proc/{running.pid}/ns/pid").readlink()
    except FileNotFoundError:
        return 0, 0
    for process in Path("/proc").iterdir():
        if not process.name.isdecimal():
            continue
        try:
            if (process / "ns/pid").readlink() != own:
                continue
            words = (process / "stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
        ticks += int(words[11]) + int(words[12])
        pages += int(words[21])
    return ticks, pages * PAGE_KIBIBYTES
