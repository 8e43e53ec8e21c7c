"""The only place that reads the text of a Host header or an origin.

Both come from strangers, so both readers answer None for whatever is not exactly right and never raise.
Grammar: RFC 3986, section 3.2 (authority), without what no browser sends: userinfo, a trailing dot, an empty
port, percent-escapes, a zone id. Comparing is then plain equality of the parsed parts, never a pattern.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

DEFAULT_PORTS = {"http": 80, "https": 443}

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*", re.ASCII)
_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,253})(?::([1-9][0-9]{0,4}))?", re.ASCII)
_ORIGIN = re.compile(r"([A-Za-z][A-Za-z0-9+.-]{0,31})://([^/?#@\\\s]{1,260})", re.ASCII)
_MAX_PORT = 65535


@dataclass(frozen=True)
class Host:
    """Whom a client thinks it talks to: lower-case name or address (IPv6 without brackets), and port."""

    name: str
    port: int | None = None

    def __str__(self) -> str:
        """Render as in a URL."""
        name = f"[{self.name}]" if ":" in self.name else self.name
        return name if self.port is None else f"{name}:{self.port}"


@dataclass(frozen=True)
class Origin:
    """A web origin (RFC 6454): scheme, host and port, the port None if it is the scheme's default."""

    scheme: str
    host: Host

    def __str__(self) -> str:
        """Render as a browser does in the Origin header."""
        return f"{self.scheme}://{self.host}"


def parse_name(text: str) -> str | None:
    """Return a host name or IP address (IPv6 with or without brackets) in its one canonical spelling."""
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    if ":" in bare:
        try:
            return ipaddress.IPv6Address(bare).compressed if "%" not in bare else None
        except ValueError:
            return None
    if bare is not text or len(bare) > 253 or not _NAME.fullmatch(bare):  # noqa: PLR2004  (RFC 1035: 253 octets)
        return None
    return bare.lower()


def parse_host(text: str) -> Host | None:
    """Read `name`, `name:port`, `[v6]` or `[v6]:port`."""
    matched = _AUTHORITY.fullmatch(text)
    name = parse_name(matched[1]) if matched else None
    if matched is None or name is None:
        return None
    port = int(matched[2]) if matched[2] else None
    return Host(name, port) if port is None or port <= _MAX_PORT else None


def parse_origin(text: str) -> Origin | None:
    """Read `scheme://host[:port]`; upper case and the scheme's default port are made canonical."""
    matched = _ORIGIN.fullmatch(text)
    host = parse_host(matched[2]) if matched else None
    return origin_at(matched[1].lower(), host) if matched and host else None


def origin_at(scheme: str, host: Host) -> Origin:
    """Return the origin of pages served by `host` over `scheme` (ws and wss count as http and https)."""
    scheme = {"ws": "http", "wss": "https"}.get(scheme, scheme)
    return Origin(scheme, Host(host.name) if host.port == DEFAULT_PORTS.get(scheme) else host)


def is_loopback(name: str) -> bool:
    """Tell whether a name or address (also IPv4-mapped) can only mean this machine."""
    if name.lower() == "localhost":
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)
