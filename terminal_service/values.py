"""How the text of a setting becomes a value.

A `Reader` turns text into a value or raises `ValueError`; its `allowed` says in words what it takes, so that
one clear line can be printed for any wrong value. Readers of secrets say so and their text is never shown.
"""

from __future__ import annotations

import hashlib
import ipaddress
import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from replay.redis_address import FORMS, RedisAddress
from terminal_service.addresses import parse_name, parse_origin
from terminal_service.os_users import OsUsers

if TYPE_CHECKING:
    from collections.abc import Callable

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# The smallest sun_path of the systems we run on (macOS: 104 with its NUL; Linux: 108).
_MAX_SOCKET_PATH_BYTES = 103
_MIN_KEY_CHARACTERS = 16
_USER = re.compile(r"[A-Za-z0-9._@-]{1,64}", re.ASCII)
_PLAIN_KEY = re.compile(rf"[\x21-\x2b\x2d-\x7e]{{{_MIN_KEY_CHARACTERS},256}}", re.ASCII)
_HASHED_KEY = re.compile(r"sha256:([0-9A-Fa-f]{64})", re.ASCII)


@dataclass(frozen=True)
class ApiKey:
    """Whose key it is, and its SHA-256 digest; the key itself is kept nowhere."""

    user: str
    digest: bytes = field(repr=False)

    @classmethod
    def of(cls, user: str, key: str) -> ApiKey:
        """Make one from the key itself."""
        return cls(user, hashlib.sha256(key.encode()).digest())


@dataclass(frozen=True)
class Reader:
    """How to read one kind of value, and in words what it allows."""

    read: Callable[[str], Any]
    allowed: str
    secret: bool = False


def whole(low: int, high: int, *, zero: str = "") -> Reader:
    """Read a whole number of the range; with `zero`, 0 is allowed too and means that."""

    def read(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,18}", text, re.ASCII):
            raise ValueError
        return int(_within(int(text), low, high, zero=zero))

    return Reader(read, f"a whole number from {low} to {high}{_or_zero(zero)}")


def seconds(low: float, high: float, *, zero: str = "") -> Reader:
    """Read a duration in seconds, fractions allowed; with `zero`, 0 is allowed too and means that."""

    def read(text: str) -> float:
        if not re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,9})?", text, re.ASCII):
            raise ValueError
        return _within(float(text), low, high, zero=zero)

    return Reader(read, f"seconds from {low:.12g} to {high:.12g}{_or_zero(zero)}")


def _within(number: float, low: float, high: float, *, zero: str) -> float:
    if not math.isfinite(number) or not (low <= number <= high or (zero and number == 0)):
        raise ValueError
    return number


def _or_zero(meaning: str) -> str:
    return f", or 0 for {meaning}" if meaning else ""


def choice(*names: str, upper: bool = False) -> Reader:
    """Read one of the names, in any case."""

    def read(text: str) -> str:
        name = text.upper() if upper else text.lower()
        if name not in names:
            raise ValueError
        return name

    return Reader(read, "one of " + ", ".join(names))


def _listen_name(text: str) -> str:
    name = parse_name(text)
    if name is None:
        raise ValueError
    return name


def _path(text: str) -> Path:
    if "\0" in text:
        raise ValueError
    return Path(text).expanduser().absolute()


def _socket_path(text: str) -> Path:
    path = _path(text)
    if len(bytes(path)) > _MAX_SOCKET_PATH_BYTES:
        raise ValueError
    return path


def _switch(text: str) -> bool:
    switches = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}
    if text.lower() not in switches:
        raise ValueError(text)
    return switches[text.lower()]


def _holder(text: str) -> str:
    if text.lower() in ("on", "off"):
        return text.lower()
    path = _path(text)
    if not Path(text).expanduser().is_absolute():
        raise ValueError(text)
    return str(path)


def _word(text: str) -> str:
    if not text.isprintable():
        raise ValueError
    return text


def _items(text: str) -> list[str]:
    return [item for item in (part.strip() for part in text.split(",")) if item]


def _host_names(text: str) -> tuple[str, ...]:
    return tuple(_listen_name(item) for item in _items(text))


def _origins(text: str) -> tuple[str, ...]:
    origins = [parse_origin(item) for item in _items(text)]
    if None in origins:
        raise ValueError
    return tuple(str(origin) for origin in origins)


def _networks(text: str) -> tuple[Network, ...]:
    return tuple(ipaddress.ip_network(item) for item in _items(text))


def _api_keys(text: str) -> tuple[ApiKey, ...]:
    keys = tuple(_api_key(item) for item in _items(text))
    if len({key.digest for key in keys}) < len(keys):
        raise ValueError("the same key is given twice")
    return keys


def _api_key(item: str) -> ApiKey:
    user, _, key = item.partition(":")
    if not _USER.fullmatch(user):
        raise ValueError
    if hashed := _HASHED_KEY.fullmatch(key):
        return ApiKey(user, bytes.fromhex(hashed[1]))
    # A digest with a slip of the pen must not quietly become a key of its own.
    if key.startswith("sha256:") or not _PLAIN_KEY.fullmatch(key):
        raise ValueError
    return ApiKey.of(user, key)


def _os_users(text: str) -> OsUsers:
    return OsUsers.parse(_items(text), _USER)


NAME = Reader(_listen_name, "a host name or IP address")
PATH = Reader(_path, "a path")
SOCKET_PATH = Reader(_socket_path, f"a path of at most {_MAX_SOCKET_PATH_BYTES} bytes")
SWITCH = Reader(_switch, "true or false")
HOLDER = Reader(_holder, "on, off, or an absolute path")
WORD = Reader(_word, "printable text")
HOST_NAMES = Reader(_host_names, "host names or IP addresses without port, comma separated (no *)")
OS_USERS = Reader(_os_users, "owner=user, comma separated, each owner once, * for all the others")
ORIGINS = Reader(_origins, "origins like https://app.example.com, comma separated (no *, no path)")
NETWORKS = Reader(_networks, "IP addresses or networks like 10.0.0.0/8, comma separated (no *)")
REDIS_URL = Reader(RedisAddress.parse, FORMS, secret=True)
API_KEYS = Reader(
    _api_keys,
    f"user:key, comma separated, each key different and {_MIN_KEY_CHARACTERS} to 256 printable characters, "
    "or user:sha256:<64 hex digits>",
    secret=True,
)
