"""The part of the composition root that is about backends: which there are, and whether they can be used."""

from __future__ import annotations

import asyncio
import importlib
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import structlog

from backends.errors import BackendError
from backends.profile import EchoProfile, LocalProfile, Profile, Site
from terminal_service.backends_file import BackendsFile, BackendsFileError, read_backends_file
from terminal_service.descriptors import raise_limit
from terminal_service.guarded import guarded
from terminal_service.places import Place, Places

if TYPE_CHECKING:
    from collections.abc import Mapping

    from backends.base import Backend
    from terminal_service.settings import Settings

RESERVED_DESCRIPTORS, RESERVED_SHARE = 64, 8
"""Sessions leave so many descriptors free, or that part of a small limit: viewers and requests need some too."""

CLOSE_SECONDS = 10.0
"""How long the end of the service waits for one backend, at most."""

log = structlog.get_logger()


class StartError(Exception):
    """The system does not give what the service needs; the message is one line for whoever starts it."""


@dataclass(frozen=True)
class Kind:
    """Where a kind of backend is in the code; it is loaded when a profile asks for it, with the libraries it needs."""

    profile: str
    """Module and class."""
    backend: str
    """Module and class; made of a profile and a `Site`."""


KINDS: Mapping[str, Kind] = {
    "ssh": Kind("backends.ssh.profile:SshProfile", "backends.ssh.backend:SshBackend"),
    "workstations": Kind(
        "backends.workstations.profile:WorkstationsProfile", "backends.workstations.backend:WorkstationsBackend"
    ),
    "kubernetes": Kind(
        "backends.kubernetes.profile:KubernetesProfile", "backends.kubernetes.backend:KubernetesBackend"
    ),
    "container": Kind("backends.containers.profile:ContainerProfile", "backends.containers.backend:ContainerBackend"),
    "local": Kind("backends.profile:LocalProfile", ""),
    "echo": Kind("backends.profile:EchoProfile", ""),
}
_ALWAYS: Mapping[str, Profile] = {"local": LocalProfile(name="local"), "echo": EchoProfile(name="echo")}
"""What is there without a word in the file."""


def make_backends(settings: Settings, environment: Mapping[str, str], node_id: str) -> Places:
    """Return the places where sessions can run: this machine first, then those of the file. Raises StartError.

    Blocks for the file.
    """
    file = read_profiles(settings)
    profiles = {**_ALWAYS, **{profile.name: profile for profile in file.profiles}}
    echo = profiles.pop("echo")
    made = [
        Place(name, _make_backend(profile, settings, environment, node_id), profile)
        for name, profile in [*profiles.items(), ("echo", echo)]
    ]
    return Places(made, default=file.default, rules=file.rules)


def read_profiles(settings: Settings) -> BackendsFile:
    """Return what is in the file of backends. Blocks for it. Raises StartError."""
    if settings.backends_file is None:
        return BackendsFile()
    try:
        return read_backends_file(settings.backends_file, KINDS, find_profile, always=_ALWAYS)
    except BackendsFileError as error:
        raise StartError(str(error)) from error


def find_profile(kind: str) -> type[Profile]:
    """Return the class of a kind's profiles."""
    return cast("type[Profile]", _load(KINDS[kind].profile))


def _load(name: str) -> Any:
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)


def _make_backend(profile: Profile, settings: Settings, environment: Mapping[str, str], node_id: str) -> Backend:
    if isinstance(profile, LocalProfile):
        return _make_local(settings, environment)
    if isinstance(profile, EchoProfile):
        from backends.echo import EchoBackend

        return EchoBackend(name=profile.name)
    site = Site(node_id, settings.state_dir / "backends" / profile.name)
    try:
        make = _load(KINDS[str(type(profile).__struct_config__.tag)].backend)
        return cast("Backend", make(profile, site))
    except (BackendError, ImportError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise StartError(f"BACKENDS_FILE {settings.backends_file}: [backends.{profile.name}]: {reason}") from error


def _make_local(settings: Settings, environment: Mapping[str, str]) -> Backend:
    """Return the backend of this machine."""
    local: Backend
    if sys.platform == "win32":
        from backends.windows import WindowsBackend

        local = WindowsBackend(environment)
    else:  # and not after a return: type checkers read imports of whatever comes there
        from backends.forkers import HolderForker, OwnForker
        from backends.posix import Limits, PosixBackend

        before, limit = raise_limit()
        reserve = min(RESERVED_DESCRIPTORS, max(0, limit) // RESERVED_SHARE)  # without limit, none
        directory = settings.holder_dir
        forker = OwnForker() if directory is None else HolderForker(directory, starts=settings.holder == "on")
        local = PosixBackend(environment, forker, limits=Limits(inherited=before, reserve=reserve))
    return local


async def close_backends(settings: Settings, places: Places, *, ends_all: bool) -> None:
    """Let go of where programs run; a holder of our own ends once there is nothing in it."""
    for place in places:
        if ends_all and settings.holder == "on" and place.is_near:
            await place.backend.stop()
    async with asyncio.TaskGroup() as tasks:
        for place in places:
            closing = _close(place, stops=ends_all and not place.is_near)
            tasks.create_task(guarded(closing, f"close backend {place.name}"), name=f"close {place.name}")


async def _close(place: Place, *, stops: bool) -> None:
    """Release what a backend has; one whose other side does not answer is left to the end of the process."""
    try:
        async with asyncio.timeout(CLOSE_SECONDS):
            if stops:
                await place.backend.stop()
            await place.backend.close()
    except (BackendError, TimeoutError) as error:
        log.warning("backend not closed in good order", backend=place.name, reason=str(error) or "it takes too long")


async def check_backends(places: Places) -> None:
    """Raise StartError if it cannot be known what runs here: taken for lost it would be ended by the next start."""
    for place in places:
        if place.is_near:
            try:
                await place.backend.survivors()
            except BackendError as error:
                raise StartError(str(error)) from error


async def check_shell(settings: Settings, backend: Backend) -> None:
    """Refuse a default shell that is not there now, and not when somebody asks for a session. Raises StartError."""
    wanted = settings.default_shell
    if wanted is None:
        return
    found = await backend.shells()
    if wanted not in found:
        raise StartError(f"DEFAULT_SHELL={wanted!r} is wrong; allowed: {', '.join(found) or 'none: there is no shell'}")
