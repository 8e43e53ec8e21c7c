"""Who is really asking when a trusted proxy is in front."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.types import Scope

    from terminal_service.values import Network
    from transports.heads import Head

_SCHEMES = frozenset({"http", "https"})


def seen_through(scope: Scope, head: Head, trusted: Sequence[Network]) -> Scope:
    """Return the scope with the client and scheme that trusted proxies tell of; as it is if none is the peer.

    X-Forwarded-For grows to the right, so the client is the rightmost address that is no trusted proxy; what
    stands left of it, the client itself may have written.
    """
    client = scope.get("client")
    if not trusted or client is None or not _trusts(trusted, client[0]):
        return scope
    scope = dict(scope)
    for text in reversed(head.listed("x-forwarded-for")):
        if _address(text) is None:
            break
        scope["client"] = (text, 0)
        if not _trusts(trusted, text):
            break
    schemes = head.listed("x-forwarded-proto")
    if schemes and schemes[-1] in _SCHEMES:
        scope["scheme"] = _as_kind(schemes[-1], scope["type"])
    return scope


def _as_kind(scheme: str, kind: str) -> str:
    return scheme.replace("http", "ws") if kind == "websocket" else scheme


def _trusts(trusted: Sequence[Network], text: str) -> bool:
    address = _address(text)
    return address is not None and any(address in network for network in trusted)


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
