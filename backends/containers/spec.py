"""A profile and an order in the words of the daemon's API: what is asked for when a container is made."""

from __future__ import annotations

import fnmatch
import re
import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from backends.containers.profile import IMAGE
from backends.errors import InvalidProgram

if TYPE_CHECKING:
    from collections.abc import Mapping

    from backends.base import Order
    from backends.containers.profile import ContainerProfile

NODE = "terminal-service.node"
PROFILE = "terminal-service.profile"
SESSION = "terminal-service.session"
OWNER = "terminal-service.owner"
EXPIRES = "terminal-service.expires_at"
"""Labels: by the first, containers are known as a service's own; the last is in seconds since 1970."""

_SPARE_SECONDS = 60.0
"""A container outlives its session's last moment by so much, so that whoever ends the session finds it."""


@dataclass(frozen=True)
class Share:
    """What a container may use."""

    cpus: float
    memory_bytes: int
    gpus: int


def share_of(profile: ContainerProfile, order: Order) -> Share:
    """Return what an order gets. Raises InvalidProgram: more than the profile allows."""
    return Share(
        cpus=_within("cpus", order.cpus, profile.cpus, profile.max_cpus, least=0.01),
        memory_bytes=int(
            _within("memory_bytes", order.memory_bytes, profile.memory_bytes, profile.max_memory_bytes, least=6 << 20)
        ),
        gpus=int(_within("gpus", order.gpus, profile.gpus, profile.max_gpus, least=0)),
    )


def _within(field: str, asked: float | None, usual: float, most: float, *, least: float) -> float:
    if asked is None:
        return usual
    most = most or usual
    if not least <= asked <= most:
        raise InvalidProgram(field, f"{asked:g} is not within {least:g} and {most:g}, which is allowed here")
    return asked


def image_of(profile: ContainerProfile, order: Order) -> str:
    """Return the image an order gets. Raises InvalidProgram: it is not among those that are allowed."""
    if order.image is None or order.image == profile.image:
        return profile.image
    if not IMAGE.fullmatch(order.image):
        raise InvalidProgram("image", f"{order.image!r} is no name of an image")
    if not any(fnmatch.fnmatchcase(order.image, pattern) for pattern in profile.allowed_images):
        allowed = ", ".join((profile.image, *profile.allowed_images))
        raise InvalidProgram("image", f"{order.image!r} is not allowed here; allowed: {allowed}")
    return order.image


def lifetime_of(profile: ContainerProfile, order: Order) -> float | None:
    """Return after how many seconds a container is over in any case."""
    given = [each for each in (profile.lifetime_seconds, order.lifetime_seconds) if each is not None]
    return min(given) + _SPARE_SECONDS if given else None


def labels_of(profile: ContainerProfile, order: Order, node_id: str) -> dict[str, str]:
    """Return what a container is known by."""
    lifetime = lifetime_of(profile, order)
    labels = {
        **profile.labels,
        NODE: node_id,
        PROFILE: profile.name,
        SESSION: order.session_id,
        OWNER: order.owner,
        EXPIRES: "" if lifetime is None else str(int(time.time() + lifetime)),
    }
    return {name: value.replace("\0", "") for name, value in labels.items()}


def name_of(order: Order) -> str:
    """Return a name for a container, for people who list them."""
    readable = re.sub(r"[^a-zA-Z0-9_.-]", "-", order.session_id)[:40]
    return f"terminal-{readable}-{secrets.token_hex(4)}"


def container_config(
    profile: ContainerProfile, order: Order, *, image: str, share: Share, node_id: str
) -> dict[str, Any]:
    """Return the body of the request that creates a container."""
    lifetime = lifetime_of(profile, order)
    # Nothing but this keeps it alive: when the time is over it stops, whether or not the service is still there.
    command = list(profile.command) or ["sleep", "infinity" if lifetime is None else str(int(lifetime))]
    return {
        "Image": image,
        "Entrypoint": command[:1],
        "Cmd": command[1:],
        "Env": [f"{name}={value}" for name, value in profile.env.items()],
        "User": profile.user,
        "Labels": labels_of(profile, order, node_id),
        "Healthcheck": {"Test": ["NONE"]},
        "NetworkDisabled": profile.network == "none",
        "HostConfig": _host_config(profile, share),
    }


def _host_config(profile: ContainerProfile, share: Share) -> dict[str, Any]:
    config: dict[str, Any] = {
        "Init": profile.init,
        "NanoCpus": round(share.cpus * 1e9),
        "Memory": share.memory_bytes,
        "MemorySwap": share.memory_bytes,  # this is both together: no swap
        "PidsLimit": profile.pids,
        "ReadonlyRootfs": profile.read_only,
        "Tmpfs": dict.fromkeys(profile.tmpfs, f"rw,nosuid,nodev,size={profile.tmpfs_bytes},mode=1777"),
        "Mounts": [_mount(each.source, each.target, is_read_only=each.read_only) for each in profile.mounts],
        "NetworkMode": profile.network,
        "SecurityOpt": ["no-new-privileges"],  # no seccomp here: each daemon's own profile stays in force
        "CapDrop": ["ALL"],
        "CapAdd": list(profile.capabilities),
        "Privileged": False,
        "IpcMode": "private",
        "RestartPolicy": {"Name": "no"},
    }
    if share.gpus:
        config["DeviceRequests"] = [{"Driver": "", "Count": share.gpus, "Capabilities": [["gpu"]]}]
    return config


def _mount(source: str, target: str, *, is_read_only: bool) -> Mapping[str, object]:
    # Type `bind` of `Mounts`, not `Binds`: a source that is not there is an error and not a new directory of root's.
    return {"Type": "bind", "Source": source, "Target": target, "ReadOnly": is_read_only}
