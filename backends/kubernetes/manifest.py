"""The pod of a session: the operator's template, what the session asks for, and what keeps it harmless."""

from __future__ import annotations

import hashlib
import re
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from backends.errors import InvalidProgram

if TYPE_CHECKING:
    from collections.abc import Mapping

    from backends.base import Order
    from backends.kubernetes.profile import PodTemplate, Toleration, Volume

NODE_LABEL = "terminal-service/node"
SESSION_LABEL = "terminal-service/session"
OWNER_LABEL = "terminal-service/owner"
SESSION_ANNOTATION = "terminal-service/session-id"
CONTAINER = "session"

_SCALES = {"m": "0.001", "k": "1e3", "M": "1e6", "G": "1e9", "T": "1e12", "P": "1e15"}
_SCALES |= {f"{letter}i": str(1024**power) for power, letter in enumerate("KMGTP", 1)}

# As process 1 it also collects orphans; `wait` is interrupted by the signal, `sleep` alone would not be.
_SLEEP = ("/bin/sh", "-c", "trap 'exit 0' TERM INT; while :; do sleep 3600 & wait $!; done")


def label(text: str) -> str:
    """Return what stands for any text as a label's value (at most 63 characters of a few kinds)."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def readable_label(text: str) -> str:
    """Return the text as far as a label can show it."""
    return re.sub(r"[^A-Za-z0-9]+$|^[^A-Za-z0-9]+", "", re.sub(r"[^-A-Za-z0-9_.]", "_", text)[:63])


def amount(quantity: str) -> Decimal:
    """Return what a quantity such as `1.5Gi` or `500m` is."""
    number, scale = re.fullmatch(r"([0-9.]+)([a-zA-Z]*)", quantity).groups()  # type: ignore[union-attr] # a profile has checked it
    return Decimal(number) * Decimal(_SCALES.get(scale, "1"))


def pod_manifest(
    template: PodTemplate, order: Order, *, name: str, node_id: str, owner: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Return the pod for a session. Raises InvalidProgram: it asks for something that the template does not allow."""
    lifetime = order.lifetime_seconds
    seconds = template.lifetime_seconds if lifetime is None else min(int(lifetime) + 1, template.lifetime_seconds)
    labels = {NODE_LABEL: label(node_id), SESSION_LABEL: label(order.session_id)}
    if owner_label := readable_label(order.owner):
        labels[OWNER_LABEL] = owner_label
    annotations = {SESSION_ANNOTATION: order.session_id}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "labels": {**template.labels, **labels},
            "annotations": {**template.annotations, **annotations},
            **({"ownerReferences": [dict(owner)]} if owner else {}),
        },
        "spec": {
            "restartPolicy": "Never",
            "activeDeadlineSeconds": max(1, seconds),
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": 5,
            "securityContext": _pod_security(template),
            "containers": [_container(template, order)],
            "volumes": [_volume(f"volume-{number}", volume) for number, volume in enumerate(template.volumes)]
            + ([{"name": "tmp", "emptyDir": {}}] if template.read_only_root else []),
            **_placement(template),
        },
    }


def _container(template: PodTemplate, order: Order) -> dict[str, Any]:
    mounts = [
        {"name": f"volume-{number}", "mountPath": volume.path, "readOnly": volume.read_only}
        for number, volume in enumerate(template.volumes)
    ]
    if template.read_only_root:
        mounts.append({"name": "tmp", "mountPath": "/tmp", "readOnly": False})  # noqa: S108 - of the pod
    return {
        "name": CONTAINER,
        "image": _image(template, order),
        "imagePullPolicy": template.pull_policy,
        "command": list(template.command or _SLEEP),
        "env": [{"name": name, "value": value} for name, value in template.env.items()],
        "resources": _resources(template, order),
        "volumeMounts": mounts,
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "privileged": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": template.read_only_root,
        },
    }


def _image(template: PodTemplate, order: Order) -> str:
    wanted = order.image
    if wanted is None or wanted == template.image:
        return template.image
    if any(_matches(wanted, pattern) for pattern in template.images):
        return wanted
    allowed = ", ".join((template.image, *template.images))
    raise InvalidProgram("image", f"{wanted!r} is not allowed here, but {allowed}")


def _matches(image: str, pattern: str) -> bool:
    if any(mark.isspace() for mark in image):
        return False
    if pattern.endswith("*"):
        return image.startswith(pattern[:-1])
    return image == pattern


def _resources(template: PodTemplate, order: Order) -> dict[str, dict[str, str]]:
    """Return requests and limits: what a session asks for is what it gets, reserved too if more was reserved."""
    requests, limits = dict(template.requests), dict(template.limits)
    asked = {
        "cpu": None if order.cpus is None else f"{round(order.cpus * 1000)}m",
        "memory": None if order.memory_bytes is None else str(order.memory_bytes),
    }
    for kind, (name, quantity) in zip(("cpus", "memory_bytes"), asked.items(), strict=True):
        if quantity is None:
            continue
        _allow(kind, quantity, template.most.get(name, limits.get(name)))
        limits[name] = quantity
        if name in requests and amount(requests[name]) > amount(quantity):
            requests[name] = quantity
    gpus = template.gpus if order.gpus is None else order.gpus
    if order.gpus is not None and order.gpus != template.gpus:
        _allow("gpus", str(order.gpus), template.most.get("gpu", str(template.gpus)))
    if gpus:
        limits[template.gpu_resource] = str(gpus)
    return {"requests": requests, "limits": limits}


def _allow(field: str, quantity: str, most: str | None) -> None:
    if amount(quantity) <= 0 and field != "gpus":
        raise InvalidProgram(field, "is more than 0")
    if most is None:
        raise InvalidProgram(field, "cannot be asked for here")
    if amount(quantity) > amount(most):
        raise InvalidProgram(field, f"is at most {most} here")


def _pod_security(template: PodTemplate) -> dict[str, Any]:
    ids = {"runAsUser": template.user_id, "runAsGroup": template.group_id, "fsGroup": template.fs_group}
    return {
        "runAsNonRoot": not template.allow_root,
        "seccompProfile": {"type": "RuntimeDefault"},
        **{name: number for name, number in ids.items() if number is not None},
    }


def _volume(name: str, volume: Volume) -> dict[str, Any]:
    if volume.claim:
        return {"name": name, "persistentVolumeClaim": {"claimName": volume.claim, "readOnly": volume.read_only}}
    if volume.config_map:
        return {"name": name, "configMap": {"name": volume.config_map}}
    return {"name": name, "emptyDir": {"sizeLimit": volume.size} if volume.size else {}}


def _placement(template: PodTemplate) -> dict[str, Any]:
    """Return where it runs and as whom, as far as that is said."""
    fields = {
        "nodeSelector": dict(template.node_selector),
        "tolerations": [_toleration(each) for each in template.tolerations],
        "serviceAccountName": template.service_account,
        "runtimeClassName": template.runtime_class,
        "priorityClassName": template.priority_class,
        "imagePullSecrets": [{"name": name} for name in template.pull_secrets],
    }
    return {name: value for name, value in fields.items() if value}


def _toleration(toleration: Toleration) -> dict[str, str]:
    fields = {"operator": "Exists" if toleration.value is None else "Equal"}
    more = {"key": toleration.key, "value": toleration.value, "effect": toleration.effect}
    return fields | {name: value for name, value in more.items() if value}
