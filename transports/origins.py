"""Which web pages may talk to the service: the checks of Host, Origin and Sec-Fetch-Site, and CORS.

A browser on this machine is a peer like any other, so neither listening on loopback nor the peer's user
protects from the pages it shows. Host stops names that a page's owner points here (DNS rebinding); Origin and
Sec-Fetch-Site stop pages from elsewhere. All are compared whole, after parsing, never by pattern.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from terminal_service.addresses import Host, origin_at, parse_host, parse_origin
from transports import problems
from transports.accepted import wants_page
from transports.heads import Refusal

if TYPE_CHECKING:
    from transports.heads import Head

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})

# Fetch Metadata (W3C): same-site is another port or subdomain, which may be anybody's.
_OWN_SITE = frozenset({"same-origin", "none"})


@dataclass(frozen=True)
class Sites:
    """The names this service goes by (without ports), and the other origins whose pages may use it."""

    hosts: frozenset[str] = LOOPBACK_NAMES
    origins: frozenset[str] = frozenset()

    def check(self, head: Head) -> str | None:
        """Return the other origin that asks and may, None if none asks. Raises Refusal."""
        return self._check_origin(head, self._check_host(head))

    def _check_host(self, head: Head) -> Host:
        text = head.one("host")
        host = parse_host(text) if text is not None else None
        if host is None:
            raise Refusal(problems.build(400, "host_malformed", "the Host header is missing or malformed"))
        if host.name not in self.hosts:
            detail = "the service does not go by the name in the Host header; see ALLOWED_HOSTS"
            raise Refusal(problems.build(421, "host_not_allowed", detail))
        return host

    def _check_origin(self, head: Head, host: Host) -> str | None:
        text = head.one("origin")
        if text is not None:
            origin = parse_origin(text)
            # A browser writes an origin in one way only; any other spelling is not from a browser.
            if origin is None or str(origin) != text or not self._may_ask(text, str(origin_at(head.scheme, host))):
                detail = "pages of the Origin header's origin may not use the service; see ALLOWED_ORIGINS"
                raise Refusal(problems.build(403, "origin_not_allowed", detail))
            if text in self.origins:
                return text
        if (head.one("sec-fetch-site") or "none") not in _OWN_SITE and not _is_visit(head):
            raise Refusal(problems.build(403, "cross_site", "the request was made by a page of another site"))
        return None

    def _may_ask(self, origin: str, own: str) -> bool:
        return origin == own or origin in self.origins


def _is_visit(head: Head) -> bool:
    """Tell whether a link elsewhere leads to the console: the page is for everybody, and does nothing by itself."""
    return (
        (head.method, head.path) == ("GET", "/")
        and (head.one("sec-fetch-mode"), head.one("sec-fetch-dest")) == ("navigate", "document")
        and wants_page(head.listed("accept"))
    )


def is_preflight(head: Head) -> bool:
    """Tell whether a browser asks beforehand what another origin's page may send (Fetch standard, CORS)."""
    return head.method == "OPTIONS" and "access-control-request-method" in head


_READ_HEADERS = (
    *(b"Content-Range", b"Date", b"Idempotency-Replayed", b"Link", b"Location", b"Retry-After", b"X-Incomplete"),
    *(b"X-Terminal-From", b"X-Terminal-Head", b"X-Terminal-First", b"X-Terminal-Epoch", b"X-Terminal-Lost-Bytes"),
)


def cors_headers(origin: str) -> list[tuple[bytes, bytes]]:
    """Return the headers that let the pages of an allowed origin read the answer; never with cookies."""
    return [
        (b"access-control-allow-origin", origin.encode()),
        (b"access-control-expose-headers", b", ".join(_READ_HEADERS)),
        (b"vary", b"Origin"),
    ]


PREFLIGHT_HEADERS = (
    (b"access-control-allow-methods", b"GET, POST, PUT, PATCH, DELETE"),
    (b"access-control-allow-headers", b"Authorization, Content-Type, Idempotency-Key, Range, X-API-Key"),
    (b"access-control-max-age", b"600"),
)
"""What the page of an allowed origin may send."""
