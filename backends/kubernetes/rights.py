"""What the service may do in a cluster: what it lacks, and what it should not have."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backends.kubernetes.api import Api
    from backends.kubernetes.profile import KubernetesProfile

_REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


@dataclass(frozen=True)
class Right:
    """Something that may be done."""

    verb: str
    resource: str
    """With its subresource: `pods/exec`."""
    namespace: str | None
    """None: in all of them."""
    why: str
    group: str = ""

    def __str__(self) -> str:
        """Say it as RBAC does."""
        where = "in all namespaces" if self.namespace is None else f"in namespace {self.namespace}"
        return f"{self.verb} {self.resource} {where} ({self.why})"


@dataclass(frozen=True)
class Rights:
    """What was found."""

    missing: Sequence[Right] = field(default=())
    """Without these there are no sessions."""
    wanting: Sequence[Right] = field(default=())
    """Without these something less is possible."""
    too_wide: Sequence[Right] = field(default=())
    """Who has these has more than the service needs, and so has whoever takes it over."""


def _needed(profile: KubernetesProfile) -> list[Right]:
    space = profile.namespace
    needed = [
        Right("create", "pods/exec", space, "starts programs"),
        Right("get", "pods/exec", space, "starts programs, in clusters before 1.35"),
        Right("get", "pods", space, "sees what becomes of a pod"),
    ]
    if profile.template is not None:
        needed += [
            Right("create", "pods", space, "makes pods"),
            Right("delete", "pods", space, "removes them"),
            Right("watch", "pods", space, "waits until they are ready"),
        ]
    if profile.template is not None or profile.selector:
        needed.append(Right("list", "pods", space, "finds pods by their labels"))
    return needed


def _useful(profile: KubernetesProfile) -> list[Right]:
    space = profile.namespace
    return [
        Right("list", "events", space, "tells what a pod waits for"),
        Right("get", "pods/log", space, "shows logs"),
        Right("create", "pods/portforward", space, "forwards ports"),
        Right("get", "pods/portforward", space, "forwards ports, in clusters before 1.35"),
        Right("get", "pods", space, "measures", "metrics.k8s.io"),
    ]


def _excessive(profile: KubernetesProfile) -> list[Right]:
    return [
        Right("get", "secrets", profile.namespace, "reads passwords and tokens"),
        Right("create", "pods/exec", None, "runs programs everywhere"),
        Right("create", "pods", None, "makes pods everywhere"),
        Right("get", "nodes/proxy", None, "runs programs in every pod of every node"),
        Right("create", "serviceaccounts/token", profile.namespace, "becomes other accounts"),
        Right("escalate", "roles", profile.namespace, "gives itself more rights", "rbac.authorization.k8s.io"),
        Right("impersonate", "users", None, "becomes other users"),
    ]


async def find_rights(api: Api, profile: KubernetesProfile) -> Rights:
    """Ask the cluster. Raises BackendError, ApiProblem."""
    lists = (_needed(profile), _useful(profile), _excessive(profile))
    every = [right for rights in lists for right in rights]
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_has(api, right)) for right in every]
    has = {right for right, task in zip(every, tasks, strict=True) if task.result()}
    return Rights(
        missing=[right for right in lists[0] if right not in has],
        wanting=[right for right in lists[1] if right not in has],
        too_wide=[right for right in lists[2] if right in has],
    )


async def _has(api: Api, right: Right) -> bool:
    resource, _, subresource = right.resource.partition("/")
    attributes = {
        "namespace": right.namespace or "",
        "verb": right.verb,
        "group": right.group,
        "resource": resource,
        "subresource": subresource,
    }
    body = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes},
    }
    answer = await api.call("POST", _REVIEWS, "ask what the service may do", body=body)
    return bool((answer.get("status") or {}).get("allowed"))
