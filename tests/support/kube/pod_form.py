"""The form of pods: what is refused, what is filled in, what their status says."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from support.kube.statuses import invalid
from support.kube.store import Object, stamp

LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
LABEL_RULE = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', "
    "and must start and end with an alphanumeric character"
)
QUANTITY = re.compile(r"(\d+(?:\.\d+)?)(m|[kMGTPE]i?|Ki)?")
UNITS = {"": 1.0, "m": 0.001, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18} | {
    f"{letter}i": 1024.0**power for power, letter in enumerate("KMGTPE", 1)
}


def check(pod: Object) -> None:
    """Refuse what an API server refuses, as far as tests need it."""
    name = pod.get("metadata", {}).get("name", "")
    containers = pod.get("spec", {}).get("containers") or []
    if not containers:
        raise invalid("Pod", name, "spec.containers", "Required value", reason="FieldValueRequired")
    for number, container in enumerate(containers):
        field = f"spec.containers[{number}]"
        if not LABEL.fullmatch(container.get("name", "")):
            given = container.get("name", "")
            raise invalid("Pod", name, f"{field}.name", f'Invalid value: "{given}": {LABEL_RULE}')
        if not container.get("image"):
            raise invalid("Pod", name, f"{field}.image", "Required value", reason="FieldValueRequired")
        _check_resources(name, field, container)
        _check_mounts(name, field, container, pod["spec"].get("volumes") or [])


def _check_resources(name: str, field: str, container: Object) -> None:
    resources = container.get("resources") or {}
    for kind in ("limits", "requests"):
        for resource, amount in (resources.get(kind) or {}).items():
            if not QUANTITY.fullmatch(str(amount)):
                problem = f'Invalid value: "{amount}": quantities must match the regular expression'
                raise invalid("Pod", name, f"{field}.resources.{kind}[{resource}]", problem)
    for resource, amount in (resources.get("requests") or {}).items():
        limit = (resources.get("limits") or {}).get(resource)
        if limit is not None and quantity(amount) > quantity(limit):
            problem = f'Invalid value: "{amount}": must be less than or equal to {resource} limit of {limit}'
            raise invalid("Pod", name, f"{field}.resources.requests", problem)


def _check_mounts(name: str, field: str, container: Object, volumes: list[Object]) -> None:
    known = {volume["name"] for volume in volumes}
    for number, each in enumerate(container.get("volumeMounts") or []):
        if each["name"] not in known:
            problem = f'Not found: "{each["name"]}"'
            raise invalid("Pod", name, f"{field}.volumeMounts[{number}].name", problem, reason="FieldValueNotFound")


def quantity(amount: object) -> float:
    """Read `500m`, `2Gi`."""
    found = QUANTITY.fullmatch(str(amount))
    assert found is not None
    return float(found[1]) * UNITS[found[2] or ""]


def requests_of(pod: Object) -> dict[str, float]:
    """Sum what a pod's containers ask for; a limit alone is a request too."""
    total: dict[str, float] = {}
    for container in pod["spec"]["containers"]:
        resources = container.get("resources") or {}
        for name, amount in ((resources.get("limits") or {}) | (resources.get("requests") or {})).items():
            total[name] = total.get(name, 0) + quantity(amount)
    return total


def fill_in(pod: Object) -> None:
    """Set the defaults."""
    spec = pod["spec"]
    for key, value in (
        ("restartPolicy", "Always"),
        ("terminationGracePeriodSeconds", 30),
        ("dnsPolicy", "ClusterFirst"),
        ("serviceAccountName", "default"),
        ("schedulerName", "default-scheduler"),
        ("enableServiceLinks", True),
        ("securityContext", {}),
    ):
        spec.setdefault(key, value)
    for container in spec["containers"]:
        container.setdefault("imagePullPolicy", "IfNotPresent" if ":" in container["image"] else "Always")
        container.setdefault("terminationMessagePath", "/dev/termination-log")
        container.setdefault("terminationMessagePolicy", "File")
        container.setdefault("resources", {})
    quality = "Burstable" if requests_of(pod) else "BestEffort"
    pod["status"] = {"phase": "Pending", "qosClass": quality}


def set_condition(pod: Object, kind: str, *, holds: bool, reason: str = "", message: str = "") -> None:
    conditions = pod["status"].setdefault("conditions", [])
    found: dict[str, Any] = next((each for each in conditions if each["type"] == kind), {})
    if not found:
        found |= {"type": kind, "status": "Unknown", "lastProbeTime": None}
        conditions.append(found)
    if found["status"] != str(holds):
        found |= {"status": str(holds), "lastTransitionTime": stamp()}
    for key, value in (("reason", reason), ("message", message)):
        found.pop(key, None)
        if value:
            found[key] = value


def container_status(container: Object, state: Object, *, restarts: int = 0, last: Object | None = None) -> Object:
    """Say how a container is."""
    is_running = "running" in state
    return {
        "name": container["name"],
        "image": container["image"],
        "imageID": f"docker.io/library/{container['image']}@sha256:{'0' * 64}" if is_running else "",
        "containerID": state.get("terminated", {}).get("containerID", ""),
        "ready": is_running,
        "started": is_running,
        "restartCount": restarts,
        "state": state,
        "lastState": last or {},
    }


def terminated(code: int, reason: str, started: datetime, message: str = "", identity: str = "") -> Object:
    state = {
        "exitCode": code,
        "reason": reason,
        "startedAt": stamp(started),
        "finishedAt": stamp(datetime.now(UTC)),
        "containerID": identity,
    }
    return {"terminated": state | ({"message": message} if message else {})}


def waiting(reason: str, message: str = "") -> Object:
    return {"waiting": {"reason": reason} | ({"message": message} if message else {})}


def table(pods: list[Object], version: str, *, is_list: bool) -> Object:
    """Say for people what pods there are, as kubectl prints it."""
    columns = [
        {"name": name, "type": kind, "format": "name" if name == "Name" else "", "description": name, "priority": 0}
        for name, kind in (
            ("Name", "string"),
            ("Ready", "string"),
            ("Status", "string"),
            ("Restarts", "string"),
            ("Age", "string"),
        )
    ]
    rows = [{"cells": _cells(pod), "object": _partial(pod)} for pod in pods]
    metadata = {"resourceVersion": version} if is_list else {}
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": metadata,
        "columnDefinitions": columns,
        "rows": rows,
    }


def _partial(pod: Object) -> Object:
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": pod["metadata"]}


def _cells(pod: Object) -> list[object]:
    statuses = pod["status"].get("containerStatuses", [])
    word = pod["status"].get("reason") or pod["status"].get("phase", "")
    for each in statuses:
        for kind in ("waiting", "terminated"):
            if kind in each["state"]:
                word = each["state"][kind]["reason"]
    if "deletionTimestamp" in pod["metadata"]:
        word = "Terminating"
    ready = sum(each["ready"] for each in statuses)
    restarts = sum(each["restartCount"] for each in statuses)
    made = datetime.strptime(pod["metadata"]["creationTimestamp"], "%Y-%m-%dT%H:%M:%S%z")
    age = int((datetime.now(UTC) - made).total_seconds())
    return [pod["metadata"]["name"], f"{ready}/{len(pod['spec']['containers'])}", word, str(restarts), f"{age}s"]
