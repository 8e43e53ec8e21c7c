"""What an operator says of hosts reached by SSH; imports no SSH library."""

from __future__ import annotations

import re
from typing import Literal

import msgspec

from backends.durable.profile import DurableProfile, check_durable

MAX_HOPS = 8
_MAX_PORT = 0xFFFF

_RANGES = {
    "connect_seconds": (0.1, 3600),
    "keepalive_seconds": (0.1, 3600),
    "keepalive_count": (1, 1000),
    "idle_seconds": (0.1, 86_400),
    "max_connections": (1, 1000),
    "max_sessions": (0, 1000),
}

_HOST = re.compile(r"[A-Za-z0-9_:][A-Za-z0-9._:%-]{0,254}")
"""Names, IPv4 and IPv6 addresses (with a zone); no blank, control character, quote, `@`, or `-` in front."""

_USER = re.compile(r"[A-Za-z0-9_.][^\s\x00-\x1f\x7f:/@]{0,254}")


class Hop(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A host on the way, with its own user, secrets and host key."""

    host: str
    port: int = 22
    user: str
    """Who to be there."""
    keys: tuple[str, ...] = ()
    """Paths of private keys (OpenSSH or PEM). A certificate is taken from `<key>-cert.pub` if that exists."""
    certificates: tuple[str, ...] = ()
    """Paths of more OpenSSH certificates for these keys."""
    passphrase_file: str = ""
    """Path of a file with the passphrase of the keys."""
    password_file: str = ""
    """Path of a file whose first line is the password."""
    agent: str = ""
    """Path of an SSH agent's socket that may be asked for keys. Empty: no agent, whatever the environment says."""
    known_hosts: str = ""
    """Path of a known_hosts file. Empty: `known_hosts` in the backend's own directory."""
    host_keys: tuple[str, ...] = ()
    """The host's public keys (`ssh-ed25519 AAAA...`): no file is asked then."""
    trust: Literal["strict", "first_use"] = "strict"
    """`first_use`: the key of a host seen for the first time is believed and kept in the backend's own directory."""

    def __post_init__(self) -> None:
        """Check the fields; ValueError names the wrong one."""
        check_place(self.host, self.port)
        check_user("user", self.user)


class SshProfile(DurableProfile, tag="ssh", frozen=True, kw_only=True):
    """A host reached by SSH. The service's own agent, keys and ssh_config are never used."""

    host: str
    """Name or address."""
    port: int = 22
    user: str = ""
    """Who sessions run as there, for owners that `user_of` does not name. Empty: only those it names get in."""
    user_of: dict[str, str] = msgspec.field(default_factory=dict)
    """Owner of a session: who it runs as there."""
    keys: tuple[str, ...] = ()
    """Paths of private keys (OpenSSH or PEM). A certificate is taken from `<key>-cert.pub` if that exists."""
    certificates: tuple[str, ...] = ()
    """Paths of more OpenSSH certificates for these keys."""
    passphrase_file: str = ""
    """Path of a file with the passphrase of the keys."""
    password_file: str = ""
    """Path of a file whose first line is the password."""
    agent: str = ""
    """Path of an SSH agent's socket that may be asked for keys. Empty: no agent, whatever the environment says."""
    known_hosts: str = ""
    """Path of a known_hosts file. Empty: `known_hosts` in the backend's own directory."""
    host_keys: tuple[str, ...] = ()
    """The host's public keys (`ssh-ed25519 AAAA...`): no file is asked then."""
    trust: Literal["strict", "first_use"] = "strict"
    """`first_use`: the key of a host seen for the first time is believed and kept in the backend's own directory."""
    jump: tuple[Hop, ...] = ()
    """Hosts on the way, the nearest first."""
    connect_seconds: float = 20.0
    """For each host on the way, from the name being looked up to being let in."""
    keepalive_seconds: float = 15.0
    """Without anything heard for so long the host is asked for a sign of life."""
    keepalive_count: int = 3
    """After so many unanswered questions the connection is lost."""
    idle_seconds: float = 60.0
    """A connection that nobody uses is closed after so long."""
    max_connections: int = 16
    """For each user."""
    max_sessions: int = 0
    """On one connection. 0: as many as the host allows (sshd's MaxSessions, 10 unless set)."""
    term: str = "xterm-256color"
    """The kind of terminal that programs are told."""
    environment: tuple[str, ...] = ("*",)
    """Names of variables that sessions may ask the host to set (`*` at the end stands for any more).

    The host sets those that its AcceptEnv names; sessions are told of the others.
    """

    def __post_init__(self) -> None:
        """Check the fields; ValueError names the wrong one."""
        check_place(self.host, self.port)
        if not self.user and not self.user_of:
            raise ValueError("user: neither this nor user_of says who to be there")
        if self.user:
            check_user("user", self.user)
        for owner, user in self.user_of.items():
            check_user(f"user_of[{owner!r}]", user)
        if len(self.jump) > MAX_HOPS:
            raise ValueError(f"jump: more than {MAX_HOPS} hosts on the way")
        for name, (least, most) in _RANGES.items():
            if not least <= getattr(self, name) <= most:
                raise ValueError(f"{name}: {least:g} to {most:g}")
        check_durable(self)
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}", self.term):
            raise ValueError("term: the name of a kind of terminal")


def check_place(host: str, port: int) -> None:
    """Raise ValueError unless this is a host and a port; nothing that a program might take for an option."""
    if not _HOST.fullmatch(host):
        raise ValueError(f"host: {host!r} is no host name or address")
    if not 1 <= port <= _MAX_PORT:
        raise ValueError("port: 1 to 65535")


def check_user(field: str, user: str) -> None:
    """Raise ValueError unless this can be a user's name."""
    if not _USER.fullmatch(user):
        raise ValueError(f"{field}: {user!r} is no user's name")
