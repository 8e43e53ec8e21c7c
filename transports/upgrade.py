"""The HTTP side of a WebSocket handshake (RFC 6455, section 4.2), from bytes to bytes.

Errors, as a tree::

    UpgradeError   the request cannot be upgraded; carries the HTTP status and headers of the answer
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import http
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import unquote

import httptools

if TYPE_CHECKING:
    from collections.abc import Iterable

Headers = list[tuple[bytes, bytes]]

VERSION = b"13"
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_KEY_BYTES = 16
# RFC 9110, sections 5.1 and 5.5: a token, and a value without line ends or other controls (tab allowed).
_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(rb"[^\x00-\x08\x0a-\x1f\x7f]*")


@dataclass(eq=False)
class UpgradeError(Exception):
    """The request is no WebSocket handshake that can be answered with 101."""

    status: int
    reason: str
    headers: Headers = field(default_factory=list)

    def __str__(self) -> str:
        """Give the reason."""
        return self.reason


@dataclass(frozen=True)
class UpgradeRequest:
    """A valid handshake: where it goes, what came with it, and the key to answer."""

    path: str
    raw_path: bytes
    query: bytes
    headers: Headers
    key: bytes

    @property
    def subprotocols(self) -> list[str]:
        """The subprotocols the client offers, its favourite first."""
        values = [value for name, value in self.headers if name == b"sec-websocket-protocol"]
        tokens = (token.strip() for value in values for token in value.decode("latin-1").split(","))
        return [token for token in tokens if token]


class _Collector:
    """What httptools calls while it parses a request head."""

    def __init__(self) -> None:
        self.url = b""
        self.headers: Headers = []

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def values(self, name: bytes) -> list[bytes]:
        return [value for other, value in self.headers if other == name]


def parse(head: bytes) -> UpgradeRequest:
    """Read a complete request head. Raises UpgradeError."""
    collector = _Collector()
    parser = httptools.HttpRequestParser(collector)
    try:
        parser.feed_data(head)
    except httptools.HttpParserUpgrade:
        pass  # its way to say that what follows the head is not HTTP
    except httptools.HttpParserError as error:
        raise UpgradeError(400, "malformed HTTP request") from error
    if not parser.should_upgrade() or [value.lower() for value in collector.values(b"upgrade")] != [b"websocket"]:
        raise UpgradeError(426, "a WebSocket upgrade is required", [(b"upgrade", b"websocket")])
    if parser.get_method() != b"GET":
        raise UpgradeError(405, "a WebSocket handshake is a GET", [(b"allow", b"GET")])
    if collector.values(b"sec-websocket-version") != [VERSION]:
        raise UpgradeError(426, "only WebSocket version 13 is spoken", [(b"sec-websocket-version", VERSION)])
    raw_path, query = _split(collector.url)
    return UpgradeRequest(
        path=unquote(raw_path.decode("ascii")),
        raw_path=raw_path,
        query=query,
        headers=collector.headers,
        key=_key(collector.values(b"sec-websocket-key")),
    )


def accept_headers(request: UpgradeRequest) -> Headers:
    """Return the headers that make a 101 response the answer to this very request."""
    digest = hashlib.sha1(request.key + _GUID, usedforsecurity=False).digest()
    return [
        (b"upgrade", b"websocket"),
        (b"connection", b"Upgrade"),
        (b"sec-websocket-accept", base64.b64encode(digest)),
    ]


def response_head(status: int, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return status line and headers. Raises ValueError for what could split the response or is no status."""
    lines = [b"HTTP/1.1 %d %s" % (status, http.HTTPStatus(status).phrase.encode())]
    for name, value in headers:
        if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
            raise ValueError(f"invalid HTTP header {name!r}: {value!r}")
        lines.append(name + b": " + value)
    return b"\r\n".join([*lines, b"", b""])


def _split(url: bytes) -> tuple[bytes, bytes]:
    """Return path and query of a request target in origin or absolute form."""
    try:
        parsed = httptools.parse_url(url)
    except httptools.HttpParserError as error:
        raise UpgradeError(400, "malformed request target") from error
    path, query = parsed.path or b"/", parsed.query or b""
    if not path.isascii() or not query.isascii():
        raise UpgradeError(400, "request target is not ASCII")
    return path, query


def _key(values: list[bytes]) -> bytes:
    """Return the one valid key among the header's values."""
    if len(values) != 1:
        raise UpgradeError(400, "exactly one Sec-WebSocket-Key is required")
    try:
        nonce = base64.b64decode(values[0], validate=True)
    except binascii.Error as error:
        raise UpgradeError(400, "Sec-WebSocket-Key is not base64") from error
    if len(nonce) != _KEY_BYTES:
        raise UpgradeError(400, "Sec-WebSocket-Key is not 16 bytes")
    return values[0]
