"""One connection to a host, over others if need be: how it is made, what it can carry, how it ends."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import asyncssh
import structlog

from backends.base import Notice
from backends.errors import AccessRefused, Unreachable
from backends.ssh.tunnel import Tunnel

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from backends.abilities import Connection
    from backends.ssh.credentials import Credentials, Secrets
    from backends.ssh.trust import Known, Trust

# The fastest first, where the processor has AES.
_CIPHERS = (
    "aes128-gcm@openssh.com",
    "aes256-gcm@openssh.com",
    "chacha20-poly1305@openssh.com",
    "aes256-ctr",
    "aes192-ctr",
    "aes128-ctr",
)

_log = structlog.get_logger(__name__)


class Route(Protocol):
    """Another way to a host than a TCP connection to its name."""

    async def open(self) -> Connection:
        """Return a stream that leads to the host's SSH server. Raises BackendError, OSError."""
        ...


@dataclass(frozen=True)
class Hop:
    """A host on the way, or at its end, and who to be there."""

    host: str
    port: int
    user: str
    credentials: Credentials
    trust: Trust
    route: Route | None = None
    """How to get there; None: by TCP from the host before it, or from here."""

    @property
    def place(self) -> str:
        """Return its name for people."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


@dataclass(frozen=True)
class Timing:
    """How long things may take, in seconds."""

    connect: float = 20.0
    keepalive: float = 15.0
    keepalive_count: int = 3
    idle: float = 60.0


class Link:
    """A connection that lets somebody in; carries channels until it is lost or closed."""

    def __init__(self, connections: Sequence[asyncssh.SSHClientConnection], owner: _Owner) -> None:
        """Take over the connections, the nearest host's first; see `connect`."""
        self.connection = connections[-1]
        self._connections = connections
        self._owner = owner
        self._began = time.monotonic()
        self.sessions = 0
        """How many channels that run something are open, or being opened."""
        self.forwards = 0
        """How many others: sshd's MaxSessions does not count them."""
        self.limit: int | None = None
        """How many sessions the host allows, once it has refused one."""

    @property
    def is_open(self) -> bool:
        """Whether it can carry anything."""
        return not self.connection.is_closed() and not self._owner.is_lost

    @property
    def has_room(self) -> bool:
        """Whether another session may be opened."""
        return self.is_open and (self.limit is None or self.sessions < self.limit)

    @property
    def is_idle(self) -> bool:
        """Whether nobody uses it."""
        return not self.sessions and not self.forwards

    def why_lost(self, error: Exception | None = None) -> str:
        """Say what became of it, for people; `error` is what a channel was told, if it is the first to know."""
        reason = _reason(error) if error is not None else self._owner.reason
        since = time.monotonic() - self._began
        return f"the connection to {self._owner.hop.place} was lost after {_duration(since)}: {reason}"

    async def close(self) -> None:
        """Say goodbye on all of them, without waiting for a host that does not answer."""
        for connection in reversed(self._connections):
            connection.close()
        try:
            async with asyncio.timeout(1):
                for connection in reversed(self._connections):
                    await connection.wait_closed()
        except TimeoutError:
            for connection in reversed(self._connections):
                connection.abort()


class _Owner(asyncssh.SSHClient):
    """Hears what becomes of a connection, and judges the host's key."""

    def __init__(self, hop: Hop, known: Known) -> None:
        self.hop = hop
        self.known = known
        self.believed: asyncssh.SSHKey | None = None
        self.refused: asyncssh.SSHKey | None = None
        self.is_lost = False
        self.reason = "it was closed"

    def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:  # noqa: ARG002
        """Judge a key that is not on record."""
        if self.believed is not None:
            return key == self.believed  # asked again when keys are exchanged anew
        if self.known.believes_first and not self.known.keys and not self.known.authorities:
            self.believed = key
            return True
        self.refused = key
        return False

    def validate_host_ca_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:  # noqa: ARG002
        """Refuse an authority that is not on record."""
        self.refused = key
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Keep the reason."""
        self.is_lost = True
        if exc is not None:
            self.reason = _reason(exc)

    @property
    def complaint(self) -> str:
        """Say what is wrong with the host's key."""
        place, known = self.hop.place, self.known
        offered = f" ({_fingerprint(self.refused)})" if self.refused is not None else ""
        if known.keys or known.authorities:
            return (
                f"the host key of {place} is not the one on record: it shows another one{offered}, {known.record} has "
                f"{known.fingerprints}. Either the host was set up anew or somebody is in between: the operator "
                "must look, and replace the record if all is well"
            )
        return f"the host key of {place} is not known{offered}: the operator must look, and add it to {known.record}"


async def connect(hops: Sequence[Hop], timing: Timing, tell: Callable[[Notice], None]) -> Link:
    """Connect to the last host, by way of the others. Raises AccessRefused, Unreachable; then nothing is left."""
    # It says commands and variables, which may be secrets, to whoever listens to less than warnings.
    logging.getLogger("asyncssh").setLevel(logging.WARNING)
    connections: list[asyncssh.SSHClientConnection] = []
    try:
        for hop in hops:
            tell(Notice("progress", f"connecting to {hop.place}", {"host": hop.host, "port": hop.port}))
            before = connections[-1] if connections else None
            connection, owner = await _reach(hop, before, timing)
            if before is not None:
                connection.set_tunnel(before)  # which ends with it
            connections.append(connection)
    except BaseException:
        for connection in reversed(connections):
            connection.abort()
        raise
    return Link(connections, owner)


async def _reach(
    hop: Hop, before: asyncssh.SSHClientConnection | None, timing: Timing
) -> tuple[asyncssh.SSHClientConnection, _Owner]:
    owner: _Owner | None = None
    try:
        async with asyncio.timeout(timing.connect):
            known = await asyncio.to_thread(hop.trust.known, hop.host, hop.port)
            secrets = await asyncio.to_thread(hop.credentials.read)
            owner = _Owner(hop, known)
            if hop.route is None:
                return await _log_in(hop, owner, secrets, before or (), timing), owner
            async with Tunnel(await hop.route.open()) as tunnel:
                return await _log_in(hop, owner, secrets, tunnel, timing), owner
    except TimeoutError:
        raise Unreachable(f"{hop.place} did not let us in within {timing.connect:g} s") from None
    except (asyncssh.Error, OSError, ValueError) as error:
        raise _explain(error, hop, owner) from None


async def _log_in(
    hop: Hop, owner: _Owner, secrets: Secrets, tunnel: object, timing: Timing
) -> asyncssh.SSHClientConnection:
    known = owner.known
    async with _agent_keys(secrets) as agent_keys:
        connection: asyncssh.SSHClientConnection = await asyncssh.connect(
            hop.host,
            hop.port,
            client_factory=lambda: owner,
            tunnel=tunnel,
            username=hop.user,
            known_hosts=(list(known.keys), list(known.authorities), list(known.revoked)),
            server_host_key_algs=known.algorithms,
            connect_timeout=None,
            login_timeout=0,
            keepalive_interval=timing.keepalive,
            keepalive_count_max=timing.keepalive_count,
            encryption_algs=_CIPHERS,
            compression_algs=("none",),
            **_only([*secrets.keys, *agent_keys], secrets.password),
        )
    if owner.believed is not None:
        # Not before it has let us in: by then it has proved that the key is its own.
        try:
            await asyncio.to_thread(hop.trust.keep, hop.host, hop.port, owner.believed)
        except BaseException:
            connection.abort()
            raise
    return connection


@asynccontextmanager
async def _agent_keys(secrets: Secrets) -> AsyncIterator[Sequence[asyncssh.SSHKeyPair]]:
    """Give the keys that an agent signs with, as long as it may be asked. Raises AccessRefused."""
    if not secrets.agent:
        yield ()
        return
    try:
        agent = await asyncssh.connect_agent(secrets.agent)
        keys = await agent.get_keys()
    except (OSError, ValueError) as error:
        raise AccessRefused(f"the agent at {secrets.agent} cannot be asked: {error}") from None
    async with agent:
        yield keys


def _only(keys: Sequence[object], password: str | None) -> dict[str, Any]:
    """Return options that show these secrets, and nothing that the service's user or environment has."""
    methods = ["publickey"] if keys else []
    methods += ["keyboard-interactive", "password"] if password is not None else []
    return {
        "config": None,
        "client_keys": keys or None,  # an empty list means the user's own keys
        "agent_path": None,
        "agent_forwarding": False,
        "password": password,
        "preferred_auth": methods or ["none"],
        "host_based_auth": False,
        "public_key_auth": bool(keys),
        "password_auth": password is not None,
        "kbdint_auth": password is not None,
        "gss_host": None,
        "gss_kex": False,
        "gss_auth": False,
        "x509_trusted_certs": None,
        "x509_trusted_cert_paths": [],
        "pkcs11_provider": None,
        "proxy_command": None,
        "canonicalize_hostname": False,
        "send_env": None,
        "x11_forwarding": False,
    }


def _explain(
    error: asyncssh.Error | OSError | ValueError, hop: Hop, owner: _Owner | None
) -> AccessRefused | Unreachable:
    """Return what a failure means to a user."""
    place = hop.place
    if owner is not None and owner.refused is not None:
        return AccessRefused(owner.complaint)
    if isinstance(error, asyncssh.HostKeyNotVerifiable):  # revoked, or a certificate that is over or of another host
        return AccessRefused(f"the host key of {place} is not believed ({error.reason}): the operator must look")
    if isinstance(error, asyncssh.PermissionDenied):
        return AccessRefused(f"{place} does not let user {hop.user!r} in with what this profile has")
    if isinstance(error, asyncssh.KeyExchangeFailed):
        if owner is not None and (owner.known.keys or owner.known.authorities):
            return AccessRefused(f"{owner.complaint} ({error.reason})")
        return AccessRefused(f"{place} and this service have no method in common: {error.reason}")
    return Unreachable(_why_unreachable(error, hop))


def _why_unreachable(error: asyncssh.Error | OSError | ValueError, hop: Hop) -> str:
    if isinstance(error, asyncssh.ChannelOpenError):
        return f"{hop.place} cannot be reached from the host before it: {error.reason}"
    if isinstance(error, socket.gaierror):
        return f"the name {hop.host!r} cannot be resolved: {error.strerror}"
    if isinstance(error, asyncssh.ProtocolError):
        return f"{hop.place} does not speak SSH as it should: {error.reason}"
    return f"{hop.place} cannot be reached: {_reason(error)}"


def _reason(error: Exception) -> str:
    if isinstance(error, asyncssh.ConnectionLost) and "keepalive" in error.reason:
        return "the host does not answer any more"
    if isinstance(error, asyncssh.ConnectionLost):
        return "it was cut"
    if isinstance(error, asyncssh.DisconnectError):
        return error.reason
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


def _fingerprint(key: asyncssh.SSHKey) -> str:
    return f"{key.get_algorithm()} {key.get_fingerprint()}"


def _duration(seconds: float) -> str:
    if seconds < 120:  # noqa: PLR2004 - from two minutes on seconds do not matter
        return f"{seconds:.0f} s"
    if seconds < 7200:  # noqa: PLR2004
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
