"""One Docker or Podman daemon: the only module that speaks with it, and that knows which of the two it is."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket
import ssl
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import aiohttp
from aiodocker import Docker
from aiodocker.exceptions import DockerError

from backends.containers.hijack import Hijack, Refused
from backends.containers.trouble import told, translate
from backends.errors import AccessRefused
from backends.secret_file import read_secret

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from backends.containers.hijack import Receiver
    from backends.containers.profile import ContainerProfile

_OLDEST = (1, 40)
"""Docker 19.03: `DeviceRequests`. Podman since 3.0 says it speaks this, too."""

_CALL = aiohttp.ClientTimeout(total=60, sock_connect=10)
_CONNECT_SECONDS = 10.0
_START_SECONDS = 30.0
_SILENT_SECONDS = (30, 10, 4)
"""A daemon at the other end of a network is asked for a sign of life after so long, so often, so many times."""


class Daemon:
    """What speaks with it. Used on one event loop; connects when it is first asked something."""

    def __init__(self, profile: ContainerProfile) -> None:
        """Begin without a connection."""
        self.address = profile.socket
        """For messages."""
        self.is_podman = False
        """Known after `connect`."""
        self.version = ""
        self._profile = profile
        self._docker: Docker | None = None
        self._tls: ssl.SSLContext | None = None
        self._connecting = asyncio.Lock()

    async def connect(self) -> Docker:
        """Return aiodocker's client of it, made and tried once. Raises Unreachable, AccessRefused, NotProvided."""
        async with self._connecting:
            if self._docker is None:
                docker = await self._open()
                try:
                    await self._look(docker)
                except BaseException:
                    await docker.close()
                    raise
                self._docker = docker
        return self._docker

    async def check(self) -> None:
        """See whether it answers, and is new enough. Raises as `connect`."""
        await self._look(await self.connect())

    async def _open(self) -> Docker:
        if not self._profile.tls_ca_file:
            return Docker(url=self.address, timeout=_CALL)
        self._tls = await asyncio.to_thread(_tls_context, self._profile)
        parts = urlsplit(self.address)
        return Docker(url=f"https://{parts.netloc}", timeout=_CALL, ssl_context=self._tls)

    async def _look(self, docker: Docker) -> None:
        with told(self.address, "ask for its version"):
            about = await _ping(docker)
        self.is_podman = "Libpod-Api-Version" in about
        self.version = about.get("Server", "?")
        spoken = about.get("Api-Version", "")
        if not re.fullmatch(r"\d+\.\d+", spoken):
            raise AccessRefused(f"what answers at {self.address} is no daemon of containers")
        if tuple(map(int, spoken.split("."))) < _OLDEST:
            raise AccessRefused(f"{self.address} speaks version {spoken} of the API; 1.40 is needed")
        docker.api_version = f"v{spoken}"

    async def hijack(self, exec_id: str, receiver: Receiver, *, tty: bool) -> Hijack:
        """Start an exec; its bytes go to the receiver. Raises BackendError: it was not started, as far as is known."""
        docker = await self.connect()
        connection: Hijack | None = None
        try:
            async with asyncio.timeout(_START_SECONDS):
                connection = await self._dial(receiver, is_paced=tty and self.is_podman)
                path = f"/{docker.api_version}/exec/{exec_id}/start"
                await connection.start("containers", path, {"Detach": False, "Tty": tty})
        except BaseException as error:
            if connection is not None:
                connection.close()
            if isinstance(error, Refused):
                error = DockerError(error.status, error.message)
            elif not isinstance(error, OSError | TimeoutError):
                raise
            raise translate(error, self.address, "start a program") from None
        return connection

    async def _dial(self, receiver: Receiver, *, is_paced: bool) -> Hijack:
        loop = asyncio.get_running_loop()
        parts = urlsplit(self.address)
        async with asyncio.timeout(_CONNECT_SECONDS):
            if parts.scheme == "unix":
                _, connection = await loop.create_unix_connection(
                    lambda: Hijack(receiver, is_paced=is_paced), parts.path
                )
            else:
                _, connection = await loop.create_connection(
                    lambda: Hijack(receiver, is_paced=is_paced), parts.hostname or "", parts.port or 0, ssl=self._tls
                )
                _keep_alive(connection.socket)
        return connection

    @contextlib.asynccontextmanager
    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        data: Any = None,
        headers: Mapping[str, str] | None = None,
        timeout: aiohttp.ClientTimeout = _CALL,  # noqa: ASYNC109 - aiohttp's own
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Ask what aiodocker has no call for, or reads into memory at once. Raises DockerError and aiohttp's."""
        docker = await self.connect()
        url = f"{docker.docker_host}/{docker.api_version}/{path}"
        async with docker.session.request(
            method, url, params=params, data=data, headers=headers, timeout=timeout
        ) as answer:
            if answer.status >= 400:  # noqa: PLR2004 - HTTP's errors
                raise DockerError(answer.status, _message(await answer.content.read(64 * 1024)) or str(answer.reason))
            yield answer

    async def close(self) -> None:
        """Close all connections but those of programs."""
        if self._docker is not None:
            docker, self._docker = self._docker, None
            await docker.close()


async def _ping(docker: Docker) -> Mapping[str, str]:
    """Return the head of the answer, which says all of it: Podman takes half a second for its `/version`."""
    async with docker.session.get(f"{docker.docker_host}/_ping", timeout=_CALL) as answer:
        if answer.status >= 400:  # noqa: PLR2004 - HTTP's errors
            raise DockerError(answer.status, _message(await answer.content.read(64 * 1024)) or str(answer.reason))
        return answer.headers


def _keep_alive(link: socket.socket) -> None:
    """Have a connection that nothing comes over any more end: without it a machine that is gone is never noticed."""
    link.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    names = ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT")
    for name, value in zip(names, _SILENT_SECONDS, strict=True):
        if hasattr(socket, name):  # macOS calls the first otherwise
            link.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _tls_context(profile: ContainerProfile) -> ssl.SSLContext:
    read_secret(profile.tls_key_file)  # others must not
    try:
        context = ssl.create_default_context(cafile=profile.tls_ca_file)
        context.load_cert_chain(profile.tls_certificate_file, profile.tls_key_file)
    except OSError as error:  # ssl.SSLError is one
        raise AccessRefused(f"the TLS files cannot be used: {error}") from None
    return context


def _message(body: bytes) -> str:
    try:
        return str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        return body.decode("utf-8", "replace")
