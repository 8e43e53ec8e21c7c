"""The Cloud Workstations API, as much of it as sessions need; only this module calls Google's client.

    https://cloud.google.com/workstations/docs/reference/rpc/google.cloud.workstations.v1

States are compared as numbers: the API may know more of them than the installed client (STATE_SUSPENDED, say).
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from dataclasses import dataclass
from datetime import UTC, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
from google.api_core import exceptions, retry_async
from google.cloud import workstations_v1
from google.cloud.workstations_v1.services.workstations.transports import WorkstationsGrpcAsyncIOTransport

from backends.errors import AccessRefused
from backends.workstations.credentials import load_credentials
from backends.workstations.errors import FAILURES, explain, is_passing

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping

    from backends.workstations.profile import WorkstationsProfile

    _Meet = Callable[["Seen"], None]

STARTING, RUNNING, STOPPING, STOPPED = 1, 2, 3, 4
_NAMES = {STARTING: "starting", RUNNING: "running", STOPPING: "stopping", STOPPED: "stopped"}

_POLL_SECONDS = (0.2, 5.0)
"""The first pause between two looks at something that takes its time, and the longest."""

_IDLE_SECONDS, _RUNNING_SECONDS = 1200.0, 43200.0
"""What holds where a configuration says nothing, by the API's reference."""


@dataclass(frozen=True)
class Seen:
    """A workstation as the API tells it."""

    state: int
    host: str
    started_at: float | None
    """Wall-clock seconds; None: never, or not told."""
    annotations: Mapping[str, str]

    @property
    def state_name(self) -> str:
        """Name the state for people."""
        return _NAMES.get(self.state, f"in state {self.state}")


@dataclass(frozen=True)
class Rules:
    """What the workstations' configuration says; 0 seconds: no limit."""

    idle_seconds: float
    running_seconds: float
    takes_tcp: bool


@dataclass(frozen=True)
class Token:
    """What opens a tunnel."""

    secret: str
    expires_at: float
    """Wall-clock seconds."""

    def __repr__(self) -> str:
        return f"Token(expires_at={self.expires_at})"


class Api:
    """The workstations of one configuration. Every method raises BackendError; `close` in the end."""

    def __init__(self, profile: WorkstationsProfile, *, call_seconds: float = 30.0) -> None:
        """Connect at the first call. `call_seconds`: for one call; what may be repeated is, until then."""
        self._profile = profile
        self._seconds = call_seconds
        # With a random part of each pause, as the library has it.
        self._retry = retry_async.AsyncRetry(
            predicate=is_passing, initial=0.2, maximum=5.0, multiplier=2.0, timeout=call_seconds
        )
        self._config = (
            f"projects/{profile.project}/locations/{profile.region}/workstationClusters/{profile.cluster}"
            f"/workstationConfigs/{profile.config}"
        )
        self._client: workstations_v1.WorkstationsAsyncClient | None = None
        self._connecting = asyncio.Lock()

    async def rules(self) -> Rules:
        """Read the configuration."""
        client = await self._connected()
        with _explained(f"read the workstation configuration {self._profile.config}"):
            config = await client.get_workstation_config(name=self._config, retry=self._retry, timeout=self._seconds)
        return Rules(
            _seconds(config.idle_timeout, _IDLE_SECONDS),
            _seconds(config.running_timeout, _RUNNING_SECONDS),
            takes_tcp=not config.disable_tcp_connections,
        )

    async def look(self, name: str) -> Seen | None:
        """See a workstation; None: there is none of this name."""
        client = await self._connected()
        with _explained(f"look at workstation {name}"):
            try:
                found = await client.get_workstation(name=self._path(name), retry=self._retry, timeout=self._seconds)
            except exceptions.NotFound:
                return None
        return _seen(found)

    async def create(self, name: str, *, labels: Mapping[str, str], annotations: Mapping[str, str]) -> None:
        """Create a workstation, and wait for it; it is none of our business if somebody else just did."""
        client = await self._connected()
        workstation = workstations_v1.Workstation(labels=labels, annotations=annotations)
        with _explained(f"create workstation {name}"), contextlib.suppress(exceptions.AlreadyExists):
            operation = await client.create_workstation(
                parent=self._config, workstation=workstation, workstation_id=name, timeout=self._seconds
            )
            await self._finish(operation)

    async def start(self, name: str, meet: _Meet) -> None:
        """Start a workstation and wait until it is started; `meet` is shown it from time to time meanwhile."""
        client = await self._connected()
        with _explained(f"start workstation {name}"):
            operation = await client.start_workstation(name=self._path(name), timeout=self._seconds)
            await self._finish(operation, lambda: self._show(name, meet))

    async def stop(self, name: str) -> None:
        """Have a workstation stopped, which takes its time; `look` shows how far it is."""
        client = await self._connected()
        with _explained(f"stop workstation {name}"):
            await client.stop_workstation(name=self._path(name), timeout=self._seconds)

    async def token(self, name: str, *, port: int, seconds: float) -> Token:
        """Get a token for the tunnel to one port of the workstation."""
        client = await self._connected()
        request = workstations_v1.GenerateAccessTokenRequest(
            workstation=self._path(name), ttl=timedelta(seconds=seconds), port=port
        )
        with _explained(f"get an access token for workstation {name}"):
            answer = await client.generate_access_token(request=request, retry=self._retry, timeout=self._seconds)
        return Token(answer.access_token, answer.expire_time.timestamp())

    async def close(self) -> None:
        """Release the connection."""
        client, self._client = self._client, None
        if client is not None:
            await client.transport.close()  # type: ignore[no-untyped-call]

    def _path(self, name: str) -> str:
        return f"{self._config}/workstations/{name}"

    async def _show(self, name: str, meet: _Meet) -> None:
        seen = await self.look(name)
        if seen is not None:
            meet(seen)

    async def _finish(self, operation: Any, meanwhile: Callable[[], Awaitable[None]] | None = None) -> None:
        """Wait for the end of a long-running operation. Raises what the client raises; its failure too."""
        for pause in pauses():
            if await operation.done(retry=self._retry):
                break
            if meanwhile is not None:
                await meanwhile()
            await asyncio.sleep(pause)
        error = operation.operation.error
        if error.code:
            raise exceptions.from_grpc_status(_STATUSES[error.code], error.message)  # type: ignore[no-untyped-call]

    async def _connected(self) -> workstations_v1.WorkstationsAsyncClient:
        async with self._connecting:
            if self._client is None:
                credentials = await load_credentials(self._profile.credentials_file)
                authorities = await asyncio.to_thread(_read, self._profile.ca_file)
                transport = WorkstationsGrpcAsyncIOTransport(
                    host=self._profile.api_endpoint,
                    credentials=credentials,
                    ssl_channel_credentials=grpc.ssl_channel_credentials(authorities),
                    always_use_jwt_access=True,
                )
                # In a thread: it looks for files of its own, though there is nothing in them for it.
                self._client = await asyncio.to_thread(workstations_v1.WorkstationsAsyncClient, transport=transport)
            return self._client


def pauses() -> Iterator[float]:
    """Yield the pauses between looks, growing, each with a random part."""
    seconds, longest = _POLL_SECONDS
    while True:
        yield seconds * random.uniform(0.75, 1.25)  # noqa: S311 - not a secret
        seconds = min(seconds * 1.5, longest)


_STATUSES = {status.value[0]: status for status in grpc.StatusCode}


@contextlib.contextmanager
def _explained(doing: str) -> Iterator[None]:
    try:
        yield
    except FAILURES as error:
        raise explain(error, doing) from error


def _seen(workstation: workstations_v1.Workstation) -> Seen:
    message = workstations_v1.Workstation.pb(workstation)
    started_at = message.start_time.ToDatetime(tzinfo=UTC).timestamp() if message.HasField("start_time") else None
    return Seen(message.state, message.host, started_at, dict(message.annotations))


def _read(file: str) -> bytes | None:
    """Return the authorities' certificates; None: those that the library brings along."""
    if not file:
        return None
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise AccessRefused(f"ca_file {file} cannot be read: {error.strerror}") from error


def _seconds(duration: timedelta | None, default: float) -> float:
    return duration.total_seconds() if duration is not None else default
