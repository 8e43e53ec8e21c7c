"""Sessions in pods for tests: a backend on a test cluster, or on the one that KUBECONFIG names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from backends.kubernetes.backend import KubernetesBackend
from backends.kubernetes.profile import KubernetesProfile, PodTemplate
from backends.profile import Site
from support.kube_thread import SHARED

if TYPE_CHECKING:
    from pathlib import Path

    from support.kube.server import KubeServer
    from support.kube_thread import KubeThread


def template(image: str = "busybox:1", **fields: Any) -> PodTemplate:
    return PodTemplate(image=image, **fields)


def pod_backend(server: KubeServer, directory: Path, **fields: Any) -> KubernetesBackend:
    """Return a backend for which nothing was opened."""
    fields = {"template": None if "pod" in fields or "selector" in fields else template(), **fields}
    if "kubeconfig" not in fields:
        fields["kubeconfig"] = str(server.kubeconfig(directory / "kubeconfig"))
    node = fields.pop("node_id", "node-1")
    more = {"pulse": fields.pop("pulse")} if "pulse" in fields else {}
    profile = KubernetesProfile(name="kubernetes", **fields)
    return KubernetesBackend(profile, Site(node, directory / "kubernetes"), **more)


def thread_backend(cluster: KubeThread, directory: Path, *, shared: bool = False, **fields: Any) -> KubernetesBackend:
    """Return a backend on a cluster that many tests use."""
    image = "busybox:1" if cluster.server else "busybox:stable"
    fields = {"template": template(image), "kubeconfig": str(cluster.kubeconfig), **fields}
    if shared and cluster.server:
        fields |= {"template": None, "pod": SHARED}
    return KubernetesBackend(KubernetesProfile(name="kubernetes", **fields), Site("node-1", directory / "kubernetes"))
