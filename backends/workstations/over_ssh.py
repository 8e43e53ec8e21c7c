"""SSH to a workstation: the project's SSH backend, with a tunnel for a way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from backends.profile import Site
from backends.ssh.backend import SshBackend
from backends.ssh.credentials import Credentials
from backends.ssh.link import Hop
from backends.ssh.profile import SshProfile
from backends.ssh.trust import Known, RecordedKeys

if TYPE_CHECKING:
    import asyncssh

    from backends.ssh.trust import Trust
    from backends.workstations.machine import Machine
    from backends.workstations.profile import WorkstationsProfile
    from backends.workstations.tunnel import Tunnel


@dataclass(frozen=True)
class Route:
    """The way to a workstation's sshd, a `backends.ssh.link.Route`."""

    machine: Machine
    port: int

    async def open(self) -> Tunnel:
        """Open a tunnel. Raises BackendError."""
        return await self.machine.connect(self.port)


class TunnelTrust:
    """Believes any host key: the tunnel says who is at its other end (`trust = "tunnel"`)."""

    def known(self, host: str, port: int) -> Known:  # noqa: ARG002 - there is no record
        """Know none."""
        return Known(record="no record, for the tunnel is trusted", believes_first=True)

    def keep(self, host: str, port: int, key: asyncssh.SSHKey) -> None:
        """Keep none: the next start may have another one."""


def make_ssh(machine: Machine, run: float | None, profile: WorkstationsProfile, site: Site) -> SshBackend:
    """Return a backend of that run; its programs are gone for good when the run is over."""
    given = SshProfile(
        name=profile.name or "workstations",
        host=machine.name,
        port=profile.port,
        user=profile.user,
        keys=profile.keys,
        certificates=profile.certificates,
        passphrase_file=profile.passphrase_file,
        password_file=profile.password_file,
        agent=profile.agent,
        host_keys=profile.host_keys,
        connect_seconds=profile.connect_seconds,
        keepalive_seconds=profile.keepalive_seconds,
        keepalive_count=profile.keepalive_count,
        idle_seconds=profile.connection_idle_seconds,
        max_connections=profile.max_connections,
        term=profile.term,
        environment=profile.environment,
        durable=profile.durable,
        durable_python=profile.durable_python,
        durable_directory=profile.durable_directory,
        durable_buffer_bytes=profile.durable_buffer_bytes,
        durable_give_up_seconds=profile.durable_give_up_seconds,
    )
    own = Site(site.node_id, site.directory / machine.name)
    trust: Trust = TunnelTrust() if profile.trust == "tunnel" else RecordedKeys.of(given, own.directory)
    route = Route(machine, profile.port)

    def find_way(user: str) -> list[Hop]:
        return [Hop(machine.name, profile.port, user, Credentials.of(given), trust, route)]

    async def fate() -> str | None:
        return await machine.fate(run) or None

    return SshBackend(given, own, find_way=find_way, fate=fate)
