"""What a pod uses, as the cluster's metrics say (`metrics.k8s.io`), and what it may use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backends.abilities import Stats
from backends.errors import BackendError
from backends.kubernetes.errors import ApiProblem
from backends.kubernetes.manifest import amount

if TYPE_CHECKING:
    from backends.kubernetes.pods import Pods
    from backends.kubernetes.processes import Processes


async def measure(processes: Processes, pods: Pods) -> Stats:
    """Measure now: averages of the last minute or so. Without metrics in the cluster only limits are known.

    Raises BackendError.
    """
    target = processes.target
    pod = await pods.get(target.pod)
    if pod is None:
        raise BackendError(f"pod {target.pod} was deleted")
    container = next(each for each in pod["spec"]["containers"] if each["name"] == target.container)
    limits = (container.get("resources") or {}).get("limits") or {}
    usage = await _usage(processes)
    return Stats(
        cpus=float(amount(usage["cpu"])) if "cpu" in usage else None,
        cpus_limit=float(amount(limits["cpu"])) if "cpu" in limits else None,
        memory_bytes=int(amount(usage["memory"])) if "memory" in usage else None,
        memory_limit_bytes=int(amount(limits["memory"])) if "memory" in limits else None,
    )


async def _usage(processes: Processes) -> dict[str, str]:
    """Return the container's usage; nothing: the cluster does not measure, or has not yet, or does not tell."""
    target = processes.target
    path = f"/apis/metrics.k8s.io/v1beta1/namespaces/{target.namespace}/pods/{target.pod}"
    try:
        answer = await processes.api.call("GET", path, f"measure pod {target.pod}")
    except (ApiProblem, BackendError):
        return {}
    return next((each["usage"] for each in answer.get("containers") or () if each["name"] == target.container), {})
