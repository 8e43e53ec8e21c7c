"""Where Redis is and as whom it is spoken to: the text of `REDIS_URL`, understood. Imports no client."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal
from urllib.parse import parse_qsl, unquote

if TYPE_CHECKING:
    from collections.abc import Mapping

PORT = 6379
SENTINEL_PORT = 26379
HIGHEST_PORT = 65535
FORMS = (
    "redis://[user:password@]host[:port][/db], rediss:// for TLS, redis+cluster://host,host..., "
    "redis+sentinel://host,host.../service[/db], unix:///path; "
    "options ?ssl_ca_certs= ssl_certfile= ssl_keyfile= ssl_check_hostname= sentinel_username= sentinel_password="
)

_URL = re.compile(
    r"(?P<scheme>redis|rediss|unix)(\+(?P<kind>cluster|sentinel))?://"
    r"((?P<user>[^:@/?]*)(:(?P<password>[^@/?]*))?@)?(?P<hosts>[^/?@]*)(?P<path>/[^?]*)?(\?(?P<options>.*))?"
)
_HOST = re.compile(r"(\[(?P<v6>[0-9a-fA-F:.]+)\]|(?P<name>[A-Za-z0-9._-]+))(:(?P<port>[0-9]{1,5}))?")
_OPTIONS = frozenset(
    (
        "ssl_ca_certs",
        "ssl_ca_path",
        "ssl_certfile",
        "ssl_keyfile",
        "ssl_check_hostname",
        "sentinel_username",
        "sentinel_password",
    )
)


@dataclass(frozen=True)
class RedisAddress:
    """One Redis, whatever it is made of. Its text names hosts only; the rest may be secret."""

    kind: Literal["standalone", "cluster", "sentinel"]
    hosts: tuple[tuple[str, int], ...]
    tls: bool = False
    path: str = ""
    """Of a Unix socket, in place of hosts."""
    db: int = 0
    service: str = ""
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    options: Mapping[str, str] = field(default_factory=dict, repr=False)

    def __str__(self) -> str:
        """Name the hosts."""
        return self.path or ",".join(f"{host}:{port}" for host, port in self.hosts)

    @classmethod
    def parse(cls, url: str) -> RedisAddress:
        """Understand a URL; see FORMS. Raises ValueError, whose text repeats nothing of it."""
        match = _URL.fullmatch(url)
        if match is None:
            raise ValueError("not a URL of Redis")
        kind = match["kind"] or "standalone"
        options = dict(parse_qsl(match["options"] or "", strict_parsing=bool(match["options"])))
        if match["scheme"] != "rediss" and any(name.startswith("ssl_") for name in options):
            raise ValueError("options of TLS, which rediss:// asks for")  # or it would seem to be encrypted
        path = unquote(match["path"] or "")
        if options.keys() - _OPTIONS or (options.keys() & {"ssl_check_hostname"} and not _is_switch(options)):
            raise ValueError("an option that is unknown or has a wrong value")
        service, db = _parse_path(path, kind) if match["scheme"] != "unix" else ("", 0)
        return cls(
            kind=kind,  # type: ignore[arg-type] # the pattern allows no other
            hosts=_parse_hosts(match["hosts"], kind, is_path=match["scheme"] == "unix"),
            tls=match["scheme"] == "rediss",
            path=_check_socket(path, kind) if match["scheme"] == "unix" else "",
            db=db,
            service=service,
            username=unquote(match["user"]) if match["user"] else None,
            password=unquote(match["password"]) if match["password"] else None,
            options=options,
        )


def _is_switch(options: Mapping[str, str]) -> bool:
    return options["ssl_check_hostname"] in ("true", "false")


def _check_socket(path: str, kind: str) -> str:
    if kind != "standalone" or len(path) <= 1:
        raise ValueError("a Unix socket has a path, and nothing else")
    return path


def _parse_hosts(text: str, kind: str, *, is_path: bool) -> tuple[tuple[str, int], ...]:
    if is_path:
        if text:
            raise ValueError("a Unix socket has no host")
        return ()
    default = SENTINEL_PORT if kind == "sentinel" else PORT
    hosts = []
    for part in text.split(","):
        match = _HOST.fullmatch(part)
        if match is None or not 0 < int(match["port"] or default) <= HIGHEST_PORT:
            raise ValueError("a host or port that is none")
        hosts.append((match["v6"] or match["name"], int(match["port"] or default)))
    if kind == "standalone" and len(hosts) > 1:
        raise ValueError("several hosts are a cluster or sentinels")
    return tuple(hosts)


def _parse_path(path: str, kind: str) -> tuple[str, int]:
    """Return the service of sentinels and the number of the database."""
    parts = path.strip("/").split("/") if path.strip("/") else []
    service = ""
    if kind == "sentinel":
        if not parts:
            raise ValueError("sentinels are asked for a service")
        service = parts.pop(0)
    if not parts:
        return service, 0
    if len(parts) > 1 or kind == "cluster" or re.fullmatch(r"[0-9]{1,5}", parts[0]) is None:
        raise ValueError("a database that is none")
    return service, int(parts[0])
