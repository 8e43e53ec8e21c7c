"""How to reach a cluster and who the service is there: read by the official client, renewed when it is time.

Only this module loads kubeconfigs and service accounts.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
import os
import stat
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import structlog
from kubernetes.aio.client import Configuration
from kubernetes.aio.config import ConfigException, load_kube_config
from kubernetes.aio.config.incluster_config import InClusterConfigLoader

from backends.errors import AccessRefused

if TYPE_CHECKING:
    from backends.kubernetes.profile import KubernetesProfile

_LOAD_SECONDS = 60.0
"""How long a credential plugin may take."""
_ACCOUNT_SECONDS = 60.0
"""After so long a service account's token is read again: the kubelet renews the file."""
_AHEAD = dt.timedelta(seconds=30)
"""A token is renewed so long before it expires."""
_LEAST_SECONDS = 5.0
"""Credentials are not loaded more often than this."""

_log = structlog.get_logger(__name__)


class Credentials:
    """A cluster's `Configuration`, with a token that is still good. Used on one event loop."""

    def __init__(self, profile: KubernetesProfile) -> None:
        """Load nothing yet."""
        self._profile = profile
        self._configuration: Configuration | None = None
        self._loaded_at = 0.0
        self._expires_at: dt.datetime | None = None
        self._turn = asyncio.Lock()
        self.generation = 0
        """Goes up whenever they were loaded."""

    async def current(self, *, refused: int | None = None) -> Configuration:
        """Return what is good now; `refused`: the generation that the cluster did not accept. Raises AccessRefused."""
        async with self._turn:
            if self._configuration is None or self._is_due(refused):
                self._configuration, self._expires_at = await self._load()
                self._loaded_at = asyncio.get_running_loop().time()
                self.generation += 1
            return self._configuration

    def _is_due(self, refused: int | None) -> bool:
        age = asyncio.get_running_loop().time() - self._loaded_at
        if refused is not None:
            return refused == self.generation
        if self._profile.in_cluster:
            return age > _ACCOUNT_SECONDS
        if self._expires_at is None or age < _LEAST_SECONDS:
            return False
        return self._expires_at - _AHEAD <= dt.datetime.now(dt.UTC)

    async def _load(self) -> tuple[Configuration, dt.datetime | None]:
        """Load in a thread: files are read, and plugins may take their time."""
        try:
            async with asyncio.timeout(_LOAD_SECONDS + 5):
                return await asyncio.to_thread(_load, self._profile)
        except (ConfigException, OSError, ValueError, KeyError, TypeError) as error:  # TimeoutError too
            reason = str(error) or type(error).__name__
            raise AccessRefused(f"no credentials for the cluster are to be had: {reason}") from error


def _load(profile: KubernetesProfile) -> tuple[Configuration, dt.datetime | None]:
    configuration = Configuration()
    configuration.connection_pool_maxsize = 0  # watches hold connections; what is open at once is bounded elsewhere
    if profile.in_cluster:
        directory = Path(profile.account_directory)
        loader = InClusterConfigLoader(
            token_filename=str(directory / "token"), cert_filename=str(directory / "ca.crt"), try_refresh_token=False
        )
        loader.load_and_set(configuration)
        return configuration, None
    path = Path(profile.kubeconfig)
    if os.name == "posix" and stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise ConfigException(f"others can read {path}: `chmod 600` it")
    with _Complaints() as complaints:
        loader = asyncio.run(_load_file(path, profile.context, configuration))
    if complaints.lines and not (configuration.api_key or configuration.cert_file):
        raise ConfigException("; ".join(complaints.lines)[:_LONGEST_COMPLAINT])
    return configuration, getattr(loader, "exec_plugin_expiry", None)


_LONGEST_COMPLAINT = 500


async def _load_file(path: Path, context: str, configuration: Configuration) -> Any:
    async with asyncio.timeout(_LOAD_SECONDS):
        return await load_kube_config(
            str(path), context or None, client_configuration=configuration, persist_config=False
        )


class _Complaints(logging.Handler):
    """What the client's loader logs in this thread: it keeps a plugin's failure to itself otherwise."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.lines: list[str] = []
        self._thread = threading.get_ident()
        self._logger = logging.getLogger("kubernetes.aio.config.kube_config")

    def __enter__(self) -> Self:
        self._logger.addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._logger.removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        if threading.get_ident() == self._thread:
            self.lines.append(record.getMessage())
