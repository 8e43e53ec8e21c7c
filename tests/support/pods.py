"""Sessions in pods for tests: a backend on a test cluster, or on the one that KUBECONFIG names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from backends.kubernetes.backend import KubernetesBackend
from backends.kubernetes.profile import KubernetesProfile, PodTemplate
from backends.profile import Site

if TYPE_CHECKING:
    from pathlib import Path

    from support.kube.server import KubeServer


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
