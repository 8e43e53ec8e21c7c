"""The image of a container: there already, or fetched, with progress for those who wait."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from aiodocker.exceptions import DockerError

from backends.base import Notice
from backends.containers.trouble import NOT_FOUND, one_line, told
from backends.errors import NotProvided
from backends.secret_file import read_secret

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from backends.containers.daemon import Daemon
    from backends.containers.profile import ContainerProfile

_TELL_SECONDS = 0.5
"""People are told how far it is no oftener than this."""
_SILENT_SECONDS = 900.0
"""A daemon that fetches may say nothing for so long: Podman does not while a layer is on its way."""
_LAYERS = 1000
"""Of so many layers' progress is kept, at most."""


class Images:
    """Those of one daemon. Each is fetched once, however many wait for it."""

    def __init__(self, daemon: Daemon, profile: ContainerProfile) -> None:
        """Begin."""
        self._daemon = daemon
        self._profile = profile
        self._pulling: dict[str, asyncio.Lock] = {}

    async def provide(self, name: str, tell: Callable[[Notice], None]) -> Mapping[str, Any]:
        """Return what the daemon knows of an image, which is there then. Raises BackendError."""
        if self._profile.pull != "always":
            found = await self._find(name)
            if found is not None:
                return found
            if self._profile.pull == "never":
                raise NotProvided(f"image {name!r} is not on {self._daemon.address}, and is not to be fetched")
        lock = self._pulling.setdefault(name, asyncio.Lock())
        was_locked = lock.locked()
        try:
            async with lock:
                found = await self._find(name) if was_locked else None
                if found is None:
                    await self._pull(name, tell)
                    found = await self._find(name)
        finally:
            if not lock.locked():
                self._pulling.pop(name, None)
        if found is None:  # the stream of progress may break off without a word
            raise NotProvided(f"image {name!r} was not fetched: the daemon broke off")
        return found

    async def _find(self, name: str) -> Mapping[str, Any] | None:
        docker = await self._daemon.connect()
        with told(self._daemon.address, f"look for image {name!r}"):
            try:
                return await docker.images.inspect(name)
            except DockerError as error:
                if error.status == NOT_FOUND:
                    return None
                raise

    async def _pull(self, name: str, tell: Callable[[Notice], None]) -> None:
        docker = await self._daemon.connect()
        auth = await self._auth(name)
        progress = _Progress(name, tell)
        loop = asyncio.get_running_loop()
        with told(self._daemon.address, f"fetch image {name!r}"):
            async with asyncio.timeout(_SILENT_SECONDS) as patience:
                async for line in docker.images.pull(name, auth=auth, stream=True):
                    patience.reschedule(loop.time() + _SILENT_SECONDS)
                    progress.feed(line)

    async def _auth(self, name: str) -> dict[str, str] | None:
        if not self._profile.registry_user:
            return None
        if "/" not in name:
            raise NotProvided(f"image {name!r} does not begin with the registry that the password is for")
        path = self._profile.registry_password_file
        secret = await asyncio.to_thread(read_secret, path)
        return {"username": self._profile.registry_user, "password": secret.decode("utf-8", "replace").rstrip("\r\n")}


class _Progress:
    """Sums up what a daemon says of each layer."""

    def __init__(self, name: str, tell: Callable[[Notice], None]) -> None:
        self._name = name
        self._tell = tell
        self._layers: dict[str, tuple[int, int]] = {}
        self._told_at = 0.0
        self._say(f"fetching image {name}", {})

    def feed(self, line: Mapping[str, Any]) -> None:
        layer, detail = str(line.get("id", "")), line.get("progressDetail") or {}
        status = one_line(str(line.get("status", line.get("stream", ""))))
        if layer and detail.get("total") and len(self._layers) < _LAYERS:
            self._layers[layer] = (int(detail.get("current", 0)), int(detail["total"]))
        now = asyncio.get_running_loop().time()
        if status and now - self._told_at >= _TELL_SECONDS:
            self._told_at = now
            current, total = (sum(each[index] for each in self._layers.values()) for index in (0, 1))
            self._say(
                f"fetching image {self._name}: {status.lower()}", {"current_bytes": current, "total_bytes": total}
            )

    def _say(self, message: str, fields: Mapping[str, object]) -> None:
        self._tell(Notice("progress", message, {"image": self._name, **fields}))
