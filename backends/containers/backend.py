"""Containers of one profile: made for sessions, found again, and removed when their session is over."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from typing import TYPE_CHECKING, Any

import structlog
from aiodocker.exceptions import DockerError

from backends.base import Capabilities, Notice, Order
from backends.containers.box import Box
from backends.containers.daemon import Daemon
from backends.containers.environment import ContainerEnvironment, Lease
from backends.containers.image import Images
from backends.containers.look import look_inside
from backends.containers.spec import (
    EXPIRES,
    NODE,
    OWNER,
    PROFILE,
    SESSION,
    Share,
    container_config,
    image_of,
    name_of,
    share_of,
)
from backends.containers.trouble import CONFLICT, NOT_FOUND, told
from backends.environment import check_text
from backends.errors import AccessRefused, BackendError, NotProvided, UserRefused

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from aiodocker.containers import DockerContainer

    from backends.base import Survivor
    from backends.containers.look import Inside
    from backends.containers.profile import ContainerProfile
    from backends.profile import Site

_REMOVE_SECONDS = 30.0
_IMAGES = 64
"""Of so many images it is kept which shells they have, at most."""

_log = structlog.get_logger(__name__)


class ContainerBackend:
    """A Docker or Podman daemon's containers. Used on one event loop."""

    def __init__(self, profile: ContainerProfile, site: Site) -> None:
        """Speak with nobody yet."""
        self._profile = profile
        self._node_id = site.node_id
        self._daemon = Daemon(profile)
        self._images = Images(self._daemon, profile)
        self._ours: set[str] = set()
        """Names of containers that this process has made, or is making."""
        self._seen: dict[str, Inside] = {}

    @property
    def name(self) -> str:
        """The profile's."""
        return self._profile.name or "container"

    @property
    def capabilities(self) -> Capabilities:
        """Without reattachment: an exec is over with its connection."""
        return Capabilities(
            exec=True,
            files=True,
            port_forwarding=True,
            stats=True,
            signals=True,
            snapshot=bool(self._profile.snapshots),
            pause=True,
        )

    async def shells(self, user: str | None = None) -> Sequence[str]:
        """Return those of the profile's image; if it was not used yet, a container is made to look."""
        if user not in (None, self._profile.user):
            raise UserRefused(user or "", "all programs run as the profile's user")
        seen = self._seen.get(self._profile.image)
        if seen is None:
            environment = await self.open(Order("shells", lifetime_seconds=60))
            await environment.close()
            seen = self._seen[self._profile.image]
        return seen.shells

    async def open(self, order: Order) -> ContainerEnvironment:
        """Make a session's container; see `Backend.open`. One of an earlier process is replaced."""
        check_text("session_id", order.session_id)
        profile = self._profile
        share, image = share_of(profile, order), image_of(profile, order)
        await self._daemon.connect()
        if share.gpus and self._daemon.is_podman:
            raise NotProvided("GPUs are for Docker's daemon only")
        about = await self._images.provide(image, order.tell)
        _check_owner(about, image, order)
        name = name_of(order)
        self._ours.add(name)
        try:
            return await self._provision(name, image, order, share)
        except BaseException:
            await asyncio.shield(self._remove(name))
            raise

    async def _provision(self, name: str, image: str, order: Order, share: Share) -> ContainerEnvironment:
        order.tell(Notice("progress", f"creating a container from {image}", {"image": image, "container": name}))
        config = container_config(self._profile, order, image=image, share=share, node_id=self._node_id)
        if self._daemon.is_podman:
            del config["Healthcheck"]  # even to have none it asks for systemd
        container = await self._create(name, config)
        with told(self._daemon.address, "start the container"):
            await container.start()
            shown = await container.show()
        box = Box(self._daemon, container, share.memory_bytes)
        if reason := await box.find_end():
            raise NotProvided(f"the container did not stay alive: {reason}")
        inside = await look_inside(box, shown["Config"].get("Env") or [], self._profile.user)
        if len(self._seen) < _IMAGES:
            self._seen[image] = inside
        lease = Lease(
            backend=self.name,
            session_id=order.session_id,
            user=self._profile.user,
            share=share,
            labels=config["Labels"],
            snapshots=self._profile.snapshots,
            remove=lambda: self._remove(name),
        )
        return ContainerEnvironment(lease, box, inside)

    async def _create(self, name: str, config: Mapping[str, Any]) -> DockerContainer:
        """Create a container, to the end also when cancelled: what was not finished could not be removed."""
        docker = await self._daemon.connect()
        creating = asyncio.get_running_loop().create_task(docker.containers.create(config, name=name), name="create")
        with told(self._daemon.address, "create the container"):
            try:
                return await asyncio.shield(creating)
            except asyncio.CancelledError:
                await asyncio.wait([creating])  # bounded by the client's own deadline
                if not creating.cancelled():
                    creating.exception()  # it is seen
                raise

    async def _remove(self, name: str) -> None:
        """Remove a container, whatever runs in it. What cannot be removed now is left to `sweep`."""
        try:
            async with asyncio.timeout(_REMOVE_SECONDS):
                await self._delete(name)
        except (BackendError, TimeoutError) as error:
            _log.warning("a container was not removed: a sweep will", container=name, error=str(error))
        finally:
            self._ours.discard(name)

    async def _delete(self, name: str) -> None:
        docker = await self._daemon.connect()
        with told(self._daemon.address, "remove the container"):
            try:
                await docker.containers.container(name).delete(force=True, v=True)
            except DockerError as error:
                if error.status not in {NOT_FOUND, CONFLICT}:  # 409: somebody else is removing it
                    raise

    async def check(self) -> None:
        """Ask the daemon for its version."""
        await self._daemon.check()

    async def survivors(self) -> Sequence[Survivor]:
        """Return none: an exec is over with its connection."""
        return ()

    async def recall(self, session_id: str) -> Survivor | None:  # noqa: ARG002 - none is ever kept
        """Return none: an exec is over with its connection."""
        return None

    async def sweep(self, living: Collection[str]) -> None:
        """Remove this node's containers of sessions that are over, and any node's whose own time is."""
        docker = await self._daemon.connect()
        with told(self._daemon.address, "list containers"):
            listed = await docker.containers.list(all=True, filters=json.dumps({"label": [NODE]}))
        for container in listed:
            labels = container["Labels"]
            name = str(container["Names"][0]).lstrip("/")
            if name in self._ours:
                continue
            is_over = labels.get(SESSION) not in living
            if not labels.get(NODE):
                continue  # somebody's container, from a snapshot
            if _has_expired(labels) or (self._is_ours(labels) and is_over):
                await self._delete(container.id)
                _log.info("removed a container that was left behind", container=name, session_id=labels.get(SESSION))

    def _is_ours(self, labels: Mapping[str, str]) -> bool:
        return labels.get(NODE) == self._node_id and labels.get(PROFILE) == self._profile.name

    async def stop(self) -> None:
        """Do nothing: containers end with their environments."""

    async def close(self) -> None:
        """Close the connections."""
        await self._daemon.close()


def _check_owner(about: Mapping[str, Any], image: str, order: Order) -> None:
    """Raise AccessRefused if the image is a snapshot of somebody else's session."""
    labels = (about.get("Config") or {}).get("Labels") or {}
    if labels.get(OWNER, order.owner) != order.owner:
        raise AccessRefused(f"image {image!r} is a snapshot of somebody else's session")


def _has_expired(labels: Mapping[str, str]) -> bool:
    with contextlib.suppress(ValueError):
        return time.time() > float(labels.get(EXPIRES) or "inf")
    return False
