"""What the state of a pod means, in words: how far it is, why it cannot become ready, what has become of it."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

Pod = "Mapping[str, Any]"

_HOPELESS = {
    "ImagePullBackOff": "its image cannot be pulled",
    "ErrImageNeverPull": "its image is not on the node, and may not be pulled",
    "InvalidImageName": "its image's name is not valid",
    "CreateContainerConfigError": "its container's configuration is not valid",
    "CreateContainerError": "its container cannot be created",
    "RunContainerError": "its container cannot be started",
    "CrashLoopBackOff": "its main process ends again and again",
}
_PASSING = {
    "ErrImagePull": "the image could not be pulled yet",
    "ContainerCreating": "the container is being created",
    "PodInitializing": "the pod is being initialized",
}
_BEGINNING = ("ContainerCreating", "PodInitializing")
OUT_OF_MEMORY = "OOMKilled"


def find_container(pod: Mapping[str, Any], wanted: str) -> str:
    """Return the container that is meant by a name, or by none (as kubectl does). LookupError: there is no such."""
    names = [container["name"] for container in pod["spec"]["containers"]]
    if wanted:
        if wanted not in names:
            raise LookupError(f"pod {name(pod)} has no container {wanted!r}, but {', '.join(names)}")
        return wanted
    default = (pod["metadata"].get("annotations") or {}).get("kubectl.kubernetes.io/default-container")
    return str(default if default in names else names[0])


def name(pod: Mapping[str, Any]) -> str:
    """Return the pod's name."""
    return str(pod["metadata"]["name"])


def container_status(pod: Mapping[str, Any], container: str) -> Mapping[str, Any]:
    """Return what the kubelet says of a container; nothing yet is an empty one."""
    statuses = pod.get("status", {}).get("containerStatuses") or []
    return next((status for status in statuses if status["name"] == container), {})


def is_ready(pod: Mapping[str, Any], container: str) -> bool:
    """Whether programs can be started there."""
    status = container_status(pod, container)
    running = "running" in (status.get("state") or {})
    return running and bool(status.get("ready")) and not pod["metadata"].get("deletionTimestamp")


def condition(pod: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    """Return a condition of the pod; an empty one: not told."""
    conditions = pod.get("status", {}).get("conditions") or []
    return next((each for each in conditions if each["type"] == kind), {})


def unschedulable(pod: Mapping[str, Any]) -> str | None:
    """Say why no node takes the pod; None: one has, or the scheduler has not looked yet."""
    scheduled = condition(pod, "PodScheduled")
    if scheduled.get("status") != "False":
        return None
    return f"no node of the cluster takes it: {_sentence(scheduled.get('message') or scheduled.get('reason'))}"


def progress(pod: Mapping[str, Any], container: str) -> str | None:
    """Say how far the pod is on its way; None: nothing is known."""
    waiting = (container_status(pod, container).get("state") or {}).get("waiting") or {}
    reason, message = waiting.get("reason"), waiting.get("message")
    if reason == "ErrImagePull":
        return f"{_PASSING[reason]}: {_sentence(message)}"
    if (why := unschedulable(pod)) is not None:
        return why
    if is_ready(pod, container):
        return "the container runs"
    node = pod.get("spec", {}).get("nodeName")
    if node:
        return f"scheduled on node {node}" + (f", {_PASSING[reason]}" if reason in _PASSING else "")
    return None


def is_on_its_way(pod: Mapping[str, Any], container: str) -> bool:
    """Tell whether nothing is wrong with a pod that has a node and is not ready yet."""
    waiting = (container_status(pod, container).get("state") or {}).get("waiting") or {}
    return bool(pod.get("spec", {}).get("nodeName")) and waiting.get("reason") in (None, *_BEGINNING)


def hopeless(pod: Mapping[str, Any], container: str) -> str | None:
    """Say why the pod will not become ready; None: it may."""
    if (over := ended(pod, container)) is not None:
        return over
    state = container_status(pod, container).get("state") or {}
    waiting = state.get("waiting") or {}
    if waiting.get("reason") in _HOPELESS:
        return f"{_HOPELESS[waiting['reason']]} ({waiting['reason']}: {_sentence(waiting.get('message'))})"
    return None


def ended(pod: Mapping[str, Any], container: str) -> str | None:
    """Say why nothing runs in the container any more; None: it runs, or is to begin."""
    status = pod.get("status", {})
    metadata = pod["metadata"]
    state = container_status(pod, container).get("state") or {}
    if status.get("reason") == "DeadlineExceeded":
        return f"the time of pod {name(pod)} was over"
    if status.get("reason"):
        return f"pod {name(pod)} was ended ({status['reason']}: {_sentence(status.get('message'))})"
    over = state.get("terminated")
    if metadata.get("deletionTimestamp") and (not over or over.get("reason") != OUT_OF_MEMORY):
        return f"pod {name(pod)} is being deleted"
    if over:
        return _terminated(pod, over)
    if status.get("phase") in ("Failed", "Succeeded"):
        return f"pod {name(pod)} has ended"
    return None


def seconds_left(pod: Mapping[str, Any]) -> float | None:
    """Return how long the cluster lets the pod live yet; None: for ever."""
    seconds, started = pod["spec"].get("activeDeadlineSeconds"), pod.get("status", {}).get("startTime")
    if seconds is None or started is None:
        return None
    return float(seconds - (dt.datetime.now(dt.UTC) - dt.datetime.fromisoformat(started)).total_seconds())


def _terminated(pod: Mapping[str, Any], terminated: Mapping[str, Any]) -> str:
    if terminated.get("reason") == OUT_OF_MEMORY:
        return f"the container in pod {name(pod)} was killed: it used more memory than it may (OOMKilled)"
    code = terminated.get("exitCode")
    message = f": {_sentence(terminated['message'])}" if terminated.get("message") else ""
    return f"the main process of pod {name(pod)} has ended with code {code} ({terminated.get('reason')}{message})"


def restarted(pod: Mapping[str, Any], container: str, restarts: int) -> str | None:
    """Say why the container is another one than it was with so many restarts; None: it is the same."""
    status = container_status(pod, container)
    if status.get("restartCount", 0) <= restarts:
        return None
    last = (status.get("lastState") or {}).get("terminated")
    why = _terminated(pod, last) if last else "why is not known"
    return f"the container in pod {name(pod)} was restarted, and with it all programs ended: {why}"


def _sentence(text: object) -> str:
    """Return a message of the cluster without line ends, and not too long."""
    return " ".join(str(text or "no reason is given").split())[:400]
