"""What an operator says of a Docker or Podman daemon, and of the containers that sessions run in."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

import msgspec

from backends.profile import Profile

if TYPE_CHECKING:
    from collections.abc import Collection

IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]{0,254}")
"""What an image's name looks like: no blank, no option, nothing of a URL's syntax."""

_CAPABILITY = re.compile(r"[A-Z][A-Z_]+")
_NETWORK = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_USER = re.compile(r"[A-Za-z0-9_.-]*(:[A-Za-z0-9_.-]+)?")
_LOCAL_HOSTS = {"127.0.0.1", "::1", "localhost"}
_FLOORS = {"cpus": 0.01, "memory_bytes": 6 << 20, "pids": 8, "gpus": 0, "tmpfs_bytes": 4096}
_FORBIDDEN_SOURCES = ("/", "/dev", "/proc", "/sys", "/run", "/var/run", "/etc", "/boot")
"""Host directories that are not for containers: with one of them a program there can take over the host."""


class Mount(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A directory of the daemon's host that containers see."""

    source: str
    """Its absolute path on the host."""
    target: str
    """Where containers see it."""
    read_only: bool = True
    """Whether programs may change nothing in it."""


class ContainerProfile(Profile, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="container"):
    """One container per session, made from an image by a Docker or Podman daemon."""

    socket: str = "unix:///run/docker.sock"
    """The daemon: `unix:///path`, or `tcp://host:port` with TLS (without TLS on the loopback only)."""
    tls_ca_file: str = ""
    """Certificates of those that the daemon's own may be signed by (PEM)."""
    tls_certificate_file: str = ""
    """This service's certificate for the daemon (PEM)."""
    tls_key_file: str = ""
    """The certificate's private key (PEM); only the service's user may read it."""
    image: str
    """What a session runs in unless it asks for another image; it needs a `/bin/sh`."""
    allowed_images: tuple[str, ...] = ()
    """Patterns (`*` stands for anything) of further images that sessions may ask for."""
    pull: Literal["never", "missing", "always"] = "missing"
    """When images are fetched from their registry."""
    registry_user: str = ""
    """Who the registry takes us for, if it wants to know; the image's name must then begin with the registry's."""
    registry_password_file: str = ""
    """Where that user's password is; only the service's user may read it."""
    command: tuple[str, ...] = ()
    """What keeps a container alive; empty: `sleep`, for as long as `lifetime_seconds`."""
    init: bool = True
    """Whether an init of the daemon's is process 1, which reaps what programs leave behind."""
    user: str = ""
    """Who programs run as: `name`, `uid` or `uid:gid`; empty: as the image says."""
    env: dict[str, str] = msgspec.field(default_factory=dict)
    """Further environment variables of every program."""
    cpus: float = 1.0
    """Processors, unless a session asks for another number."""
    max_cpus: float = 0.0
    """What a session may ask for, at most; 0: no more than `cpus`."""
    memory_bytes: int = 1 << 30
    """Memory, swap included, unless a session asks for another amount."""
    max_memory_bytes: int = 0
    """What a session may ask for, at most; 0: no more than `memory_bytes`."""
    gpus: int = 0
    """GPUs, unless a session asks for another number (Docker only, with NVIDIA's runtime)."""
    max_gpus: int = 0
    """What a session may ask for, at most; 0: no more than `gpus`."""
    pids: int = 512
    """Processes and threads, at most."""
    read_only: bool = True
    """Whether the image's files cannot be changed; a snapshot then has nothing new in it."""
    tmpfs: tuple[str, ...] = ("/tmp",)  # noqa: S108 - in the container, of its own
    """Directories in memory (it counts as the container's) that can be written to."""
    tmpfs_bytes: int = 64 << 20
    """The size of each of them."""
    mounts: tuple[Mount, ...] = ()
    """Directories of the host that are seen in containers; sessions cannot ask for others."""
    network: str = "none"
    """`none`, or the name of a network that the daemon has."""
    capabilities: tuple[str, ...] = ()
    """Linux capabilities that containers keep (`CHOWN`); all others are dropped."""
    labels: dict[str, str] = msgspec.field(default_factory=dict)
    """Further labels of every container."""
    lifetime_seconds: float | None = 24 * 3600.0
    """A container is removed when it is older; None: never because of its age."""
    snapshots: str = ""
    """The repository that snapshots go to (`snapshots/ours`); empty: none are made."""

    def __post_init__(self) -> None:
        """Refuse what cannot be meant. Raises ValueError."""
        self._check_socket()
        self._check_images()
        self._check_resources()
        self._check_paths()
        self._check_rights()

    def _check_socket(self) -> None:
        address = urlsplit(self.socket)
        if address.scheme == "unix":
            _need(bool(address.path.startswith("/")) and not address.netloc, "socket", "is no absolute path")
            return
        _need(address.scheme == "tcp" and bool(address.port), "socket", "is neither unix:///path nor tcp://host:port")
        files = (self.tls_ca_file, self.tls_certificate_file, self.tls_key_file)
        if any(files):
            _need(all(files), "tls_key_file", "all three of tls_ca_file, tls_certificate_file and it, or none")
        else:
            _need(
                address.hostname in _LOCAL_HOSTS,
                "socket",
                "whoever reaches a daemon rules its host: without TLS it may listen on the loopback only",
            )

    def _check_images(self) -> None:
        _need(bool(IMAGE.fullmatch(self.image)), "image", f"{self.image!r} is no name of an image")
        _need(all(self.allowed_images), "allowed_images", "has an empty pattern")
        if self.snapshots:
            _need(bool(re.fullmatch(r"[a-z0-9][a-z0-9._/:-]*", self.snapshots)), "snapshots", "is no repository")
        if self.registry_user or self.registry_password_file:
            _need(bool(self.registry_user), "registry_user", "is missing beside registry_password_file")
            _need(bool(self.registry_password_file), "registry_password_file", "is missing beside registry_user")

    def _check_resources(self) -> None:
        for field, floor in _FLOORS.items():
            _need(getattr(self, field) >= floor, field, f"is below {floor}")
        for field in ("cpus", "memory_bytes", "gpus"):
            most = getattr(self, f"max_{field}")
            _need(most == 0 or most >= getattr(self, field), f"max_{field}", f"is below {field}")
        if self.lifetime_seconds is not None:
            _need(self.lifetime_seconds >= 1, "lifetime_seconds", "is below 1")

    def _check_paths(self) -> None:
        for field, path in [("tmpfs", each) for each in self.tmpfs] + [
            (f"mounts.{end}", getattr(mount, end)) for mount in self.mounts for end in ("source", "target")
        ]:
            pure = PurePosixPath(path)
            _need(pure.is_absolute() and ".." not in pure.parts, field, f"{path!r} is no absolute path")
            _need(":" not in path and "," not in path, field, f"{path!r} has a colon or a comma")
            _need(str(pure) != "/" or field == "mounts.source", field, "/ is the image's")
        for mount in self.mounts:
            self._check_source(PurePosixPath(mount.source))

    def _check_source(self, source: PurePosixPath) -> None:
        _need(
            str(source) not in _FORBIDDEN_SOURCES,
            "mounts.source",
            f"{source} gives the host away to whoever is in a container",
        )
        address = urlsplit(self.socket)
        if address.scheme == "unix":
            _need(
                not PurePosixPath(address.path).is_relative_to(source),
                "mounts.source",
                f"{source} has the daemon's socket in it, and whoever reaches that rules the host",
            )

    def _check_rights(self) -> None:
        _need(bool(_USER.fullmatch(self.user)), "user", f"{self.user!r} is no user")
        _need(
            bool(_NETWORK.fullmatch(self.network)) and self.network != "host",
            "network",
            f"{self.network!r}: a container has no network, or one of the daemon's, never the host's",
        )
        for name in self.capabilities:
            _need(
                bool(_CAPABILITY.fullmatch(name)) and name not in {"ALL", "SYS_ADMIN"},
                "capabilities",
                f"{name!r} is none that a container may keep",
            )
        _need(_fit(self.env), "env", "a name is empty or has '=' in it, or there is a NUL")
        _need(_fit(self.labels), "labels", "a name is empty or has '=' in it, or there is a NUL")


def _need(holds: bool, field: str, reason: str) -> None:  # noqa: FBT001 - reads as a sentence
    if not holds:
        raise ValueError(f"{field}: {reason}")


def _fit(variables: dict[str, str]) -> bool:
    names: Collection[str] = variables.keys()
    return all(names) and not any("=" in name for name in names) and "\0" not in "".join((*names, *variables.values()))
