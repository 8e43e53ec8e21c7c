"""What an operator says of a Kubernetes cluster, or a namespace of one, where sessions run."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

from backends.durable.profile import DurableProfile, check_durable

if TYPE_CHECKING:
    from collections.abc import Mapping

_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
_QUANTITY = re.compile(r"[0-9]+(\.[0-9]+)?(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?")
_LABEL = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_./]*[A-Za-z0-9])?")
_PULL_POLICIES = ("Always", "IfNotPresent", "Never")
_OWN_LABELS = "terminal-service/"


class Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table inside a profile."""


class Volume(Part, frozen=True):
    """A directory in the pod. Exactly one of `claim`, `config_map` and `empty` says what is in it."""

    path: str
    """Where it is mounted: absolute."""
    claim: str = ""
    """The name of a PersistentVolumeClaim in the namespace."""
    config_map: str = ""
    """The name of a ConfigMap in the namespace."""
    empty: bool = False
    """An empty directory that goes with the pod."""
    size: str = ""
    """How much fits into an empty directory (`1Gi`)."""
    read_only: bool = False

    def __post_init__(self) -> None:
        """Check what can be checked without a cluster."""
        if not self.path.startswith("/") or ".." in self.path.split("/"):
            raise ValueError("template.volumes.path: is absolute, without `..`")
        if [bool(self.claim), bool(self.config_map), self.empty].count(True) != 1:
            raise ValueError("template.volumes: exactly one of claim, config_map and empty")
        _check_name("template.volumes.claim", self.claim)
        _check_name("template.volumes.config_map", self.config_map)
        _check_quantity("template.volumes.size", self.size)


class Toleration(Part, frozen=True):
    """A taint of nodes that the pod does not mind."""

    key: str = ""
    """Empty: every key."""
    value: str | None = None
    """None: whatever its value."""
    effect: str = ""
    """`NoSchedule`, `PreferNoSchedule`, `NoExecute`; empty: all of them."""


class PodTemplate(Part, frozen=True):
    """The pod that is made for each session, and deleted with it.

    It always runs without privileges: as a user that is not root (unless `allow_root`), no capabilities, no
    privilege escalation, seccomp `RuntimeDefault`, and without a token of the cluster inside.
    """

    image: str
    """What runs. It needs a `/bin/sh`."""
    images: tuple[str, ...] = ()
    """Other images that sessions may ask for; a `*` at the end stands for any rest."""
    command: tuple[str, ...] = ()
    """The main process of the container; empty: one that sleeps and collects orphaned processes."""
    pull_policy: str = "IfNotPresent"
    """`Always`, `IfNotPresent` or `Never`."""
    pull_secrets: tuple[str, ...] = ()
    """Secrets in the namespace to pull images with."""
    requests: dict[str, str] = {}
    """What is reserved: `{cpu = "250m", memory = "256Mi"}`."""
    limits: dict[str, str] = {}
    """What may be used at most. A session that asks for less or more gets that, up to `most`."""
    most: dict[str, str] = {}
    """How much a session may ask for at most, of `cpu`, `memory` and `gpu`; without an entry: it may not ask."""
    gpus: int = 0
    """How many a session gets that asks for none."""
    gpu_resource: str = "nvidia.com/gpu"
    env: dict[str, str] = {}
    """Variables of the container; no secrets: whoever may read pods reads them."""
    volumes: tuple[Volume, ...] = ()
    node_selector: dict[str, str] = {}
    tolerations: tuple[Toleration, ...] = ()
    service_account: str = ""
    """Whose the pod is (for workload identity, image pulling); its token is not mounted."""
    runtime_class: str = ""
    """A sandbox: `gvisor`, `kata`."""
    priority_class: str = ""
    user_id: int | None = 1000
    """As whom programs run; None: as the image says."""
    group_id: int | None = None
    fs_group: int | None = None
    """The group that volumes are made to belong to."""
    allow_root: bool = False
    """Let the image's user be root."""
    read_only_root: bool = False
    """Nothing can be written but volumes and an empty `/tmp`."""
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    lifetime_seconds: int = 12 * 3600
    """The cluster ends the pod after so long in any case, if the session says nothing shorter."""

    def __post_init__(self) -> None:
        """Check what can be checked without a cluster."""
        if not self.image or any(mark.isspace() for mark in self.image):
            raise ValueError("template.image: a name without blanks")
        if self.pull_policy not in _PULL_POLICIES:
            raise ValueError(f"template.pull_policy: one of {', '.join(_PULL_POLICIES)}")
        for field in ("requests", "limits", "most"):
            _check_quantities(f"template.{field}", getattr(self, field))
        if unknown := set(self.most) - {"cpu", "memory", "gpu"}:
            raise ValueError(f"template.most: has cpu, memory and gpu, not {', '.join(sorted(unknown))}")
        if any(name.startswith(_OWN_LABELS) for name in self.labels):
            raise ValueError(f"template.labels: {_OWN_LABELS}... are the service's own")
        if self.user_id == 0 and not self.allow_root:
            raise ValueError("template.user_id: 0 is root; that needs allow_root")
        for field, least in (("gpus", 0), ("lifetime_seconds", 1)):
            if getattr(self, field) < least:
                raise ValueError(f"template.{field}: is at least {least}")
        for name in (self.service_account, self.runtime_class, self.priority_class, *self.pull_secrets):
            _check_name("template", name)


class KubernetesProfile(DurableProfile, frozen=True, tag="kubernetes"):
    """Sessions in pods: made for each session from a template, or one that is there already."""

    kubeconfig: str = ""
    """A file as kubectl uses it, which others cannot read; with its credential plugins (GKE, EKS, OIDC)."""
    context: str = ""
    """Which of its contexts; empty: the current one."""
    in_cluster: bool = False
    """Use the service account of the pod that the service runs in, in place of a kubeconfig."""
    account_directory: str = "/var/run/secrets/kubernetes.io/serviceaccount"
    """Where its token and the cluster's certificate are."""
    namespace: str = "default"
    """Where the pods are. The service asks for rights in no other one."""
    template: PodTemplate | None = None
    """A pod for each session."""
    pod: str = ""
    """A pod that is there, which all sessions of this profile share."""
    selector: str = ""
    """Labels (`app=dev,tier=shell`) of pods that are there; a ready one is taken."""
    container: str = ""
    """Which container; empty: the pod's default one."""
    shell: str = ""
    """The shell of sessions that name none; empty: the first that is there of bash, zsh, fish, sh."""
    ready_seconds: float = 300.0
    """How long a pod may take until it is ready."""
    unschedulable_seconds: float = 60.0
    """How long a pod may wait for a node that fits: a cluster that grows by itself needs a while for a new one."""
    owned: bool = True
    """In a cluster: have pods deleted with the pod of the service, unless they are durable."""
    delete_grace_seconds: int = 5
    """How long a pod's main process may take to end when it is deleted."""

    def __post_init__(self) -> None:
        """Check what can be checked without a cluster."""
        check_durable(self)
        if bool(self.kubeconfig) == self.in_cluster:
            raise ValueError("kubeconfig: either it or in_cluster")
        if self.context and self.in_cluster:
            raise ValueError("context: belongs to a kubeconfig")
        if [self.template is not None, bool(self.pod), bool(self.selector)].count(True) != 1:
            raise ValueError("template: exactly one of template, pod and selector")
        if not self.namespace:
            raise ValueError("namespace: is not empty")
        for field in ("namespace", "pod", "container"):
            _check_name(field, getattr(self, field))
        if any(mark.isspace() for mark in self.selector):
            raise ValueError("selector: has no blanks: name=value,name=value")
        if self.ready_seconds <= 0:
            raise ValueError("ready_seconds: is more than 0")
        if self.delete_grace_seconds < 0:
            raise ValueError("delete_grace_seconds: is not negative")


def _check_name(field: str, name: str) -> None:
    """Refuse what can be no name in a cluster, and so no part of a path of its API (RFC 1123)."""
    if name and not (_NAME.fullmatch(name) and len(name) <= 253):  # noqa: PLR2004 - RFC 1123
        raise ValueError(f"{field}: {name!r} is no name: a-z, 0-9, `-`, `.`")


def _check_quantities(field: str, quantities: Mapping[str, str]) -> None:
    for name, quantity in quantities.items():
        _check_quantity(f"{field}.{name}", quantity)


def _check_quantity(field: str, quantity: str) -> None:
    if quantity and not _QUANTITY.fullmatch(quantity):
        raise ValueError(f"{field}: {quantity!r} is no quantity such as 500m, 2, 1.5Gi")
