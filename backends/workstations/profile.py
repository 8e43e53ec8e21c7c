"""What an operator says of Google Cloud Workstations; imports neither Google's library nor one for SSH."""

from __future__ import annotations

import re
from typing import Literal

from backends.durable.profile import DurableProfile, check_durable
from backends.workstations.names import ID

_DAY_SECONDS = 86_400

_PROJECT = re.compile(r"(?:[a-z0-9.-]{1,63}:)?[a-z][a-z0-9-]{4,28}[a-z0-9]|[0-9]{1,20}")
"""An id, with the domain in front where a company has its own, or a number."""

_REGION = re.compile(r"[a-z]{2,20}-[a-z]{2,20}[0-9]{1,2}")
_ENDPOINT = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,253}[A-Za-z0-9])?(:[0-9]{1,5})?")
_PREFIX = re.compile(r"[a-z](?:[a-z0-9-]{0,38}[a-z0-9])?")
_USER = re.compile(r"[A-Za-z0-9_.][^\s\x00-\x1f\x7f:/@]{0,254}")


class WorkstationsProfile(DurableProfile, tag="workstations", frozen=True, kw_only=True):
    """Workstations of one configuration: one for each owner of sessions, or one for all."""

    project: str
    """Id or number of the Google Cloud project."""
    region: str
    """`europe-west1`, say."""
    cluster: str
    """Id of the workstation cluster."""
    config: str
    """Id of the workstation configuration: its image must run sshd, its TCP connections must not be disabled."""
    workstation: str = ""
    """Id of the one workstation that all sessions use; it must exist. Empty: each owner has one of its own, which is
    created when it is first needed, and never deleted: the owner's files are on its disk."""
    name_prefix: str = "ts"
    """What the ids of the owners' workstations begin with."""
    credentials_file: str = ""
    """Path of a service account's key. Empty: application default credentials (on Google Cloud: the machine's own)."""
    api_endpoint: str = "workstations.googleapis.com"
    """Host, or host:port, of the API: another one inside a VPC service perimeter, say. Always with TLS."""
    ca_file: str = ""
    """Path of certificates (PEM) of the authorities to believe instead of the usual ones, for API and tunnel."""
    user: str = "user"
    """Who sessions run as there; Google's images have `user`."""
    port: int = 22
    """Where sshd listens; it must be among the configuration's allowed ports."""
    keys: tuple[str, ...] = ()
    """Paths of private SSH keys. A certificate is taken from `<key>-cert.pub` if that exists. None, and no password:
    the image lets `user` in without, as Google's do; the tunnel's token has been the proof."""
    certificates: tuple[str, ...] = ()
    """Paths of more OpenSSH certificates for these keys."""
    passphrase_file: str = ""
    """Path of a file with the passphrase of the keys."""
    password_file: str = ""
    """Path of a file whose first line is the password."""
    agent: str = ""
    """Path of an SSH agent's socket that may be asked for keys. Empty: no agent, whatever the environment says."""
    host_keys: tuple[str, ...] = ()
    """Public host keys (`ssh-ed25519 AAAA...`) of the image's sshd, where it keeps them. Either these, or `trust`."""
    trust: Literal["", "tunnel"] = ""
    """`tunnel`: whatever host key is behind the tunnel is believed (gcloud does the same): most images make new ones at
    every start, and TLS and the token, which opens this one workstation, say already who is at the other end."""
    start_timeout_seconds: float = 600.0
    """For a workstation to be created and started."""
    connect_seconds: float = 20.0
    """For a tunnel to be opened, and again for SSH to let us in."""
    sshd_seconds: float = 60.0
    """For sshd to listen in a workstation that has just been started."""
    token_seconds: float = 3600.0
    """How long a token for the tunnel is asked for; it is renewed before that is over. At most a day."""
    ping_seconds: float = 30.0
    """A tunnel through which nothing comes is asked for a sign of life so often, and cut without one."""
    keepalive_seconds: float = 15.0
    """Without anything heard for so long, sshd is asked for a sign of life. These bytes keep the workstation from being
    idle as long as a session is open; more than its idle time-out lets it be stopped when nobody types."""
    keepalive_count: int = 3
    """After so many unanswered questions the connection is lost."""
    connection_idle_seconds: float = 60.0
    """An SSH connection that nobody uses is closed after so long."""
    max_connections: int = 16
    """SSH connections to one workstation, at most."""
    term: str = "xterm-256color"
    """The kind of terminal that programs are told."""
    environment: tuple[str, ...] = ("*",)
    """Names of variables that sessions may ask sshd to set (`*` at the end stands for any more)."""
    stop_after_seconds: float | None = None
    """So long after its last session here has ended a workstation is stopped (0: at once), whoever else may be in it.
    Left out: never by us; Google stops it when it was idle for the configuration's idle time-out."""
    warn_before_seconds: tuple[float, ...] = (600.0, 60.0)
    """How long before Google stops a workstation its sessions are warned."""

    def __post_init__(self) -> None:
        """Check the fields; ValueError names the wrong one."""
        self._check_names()
        self._check_times()
        check_durable(self)
        if bool(self.host_keys) == bool(self.trust):
            raise ValueError('host_keys: give the host keys, or say trust = "tunnel" (and not both)')
        if not 1 <= self.port <= 0xFFFF:  # noqa: PLR2004 - as TCP has it
            raise ValueError("port: 1 to 65535")
        for name in ("keepalive_count", "max_connections"):
            if not 1 <= getattr(self, name) <= 1000:  # noqa: PLR2004
                raise ValueError(f"{name}: 1 to 1000")

    def _check_names(self) -> None:
        for name, pattern in (
            ("project", _PROJECT),
            ("region", _REGION),
            ("cluster", ID),
            ("config", ID),
            ("name_prefix", _PREFIX),
            ("api_endpoint", _ENDPOINT),
            ("user", _USER),
        ):
            if not pattern.fullmatch(getattr(self, name)):
                raise ValueError(f"{name}: {getattr(self, name)!r} is none")
        if self.workstation and not ID.fullmatch(self.workstation):
            raise ValueError(f"workstation: {self.workstation!r} is no id of a workstation")

    def _check_times(self) -> None:
        for name in (
            "start_timeout_seconds",
            "connect_seconds",
            "sshd_seconds",
            "token_seconds",
            "ping_seconds",
            "keepalive_seconds",
            "connection_idle_seconds",
        ):
            if not 0 < getattr(self, name) <= _DAY_SECONDS:
                raise ValueError(f"{name}: more than 0 and at most 86400")
        if self.stop_after_seconds is not None and not 0 <= self.stop_after_seconds <= _DAY_SECONDS:
            raise ValueError("stop_after_seconds: 0 to 86400, or left out")
        if not all(0 < before <= _DAY_SECONDS for before in self.warn_before_seconds):
            raise ValueError("warn_before_seconds: each more than 0 and at most 86400")
