"""The shape of every refusal over HTTP: a problem document (RFC 9457) with a stable `code`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence

CONTENT_TYPE = b"application/problem+json"


@dataclass(frozen=True)
class FieldError:
    """What is wrong with one field of a request; `field` as a path with dots (`env.PATH`)."""

    field: str
    message: str


@dataclass(frozen=True)
class Problem:
    """A refusal: for programs `status` and `code`, for people `title` and `detail`."""

    status: int
    code: str
    title: str
    detail: str
    errors: Sequence[FieldError] = ()
    headers: Sequence[tuple[bytes, bytes]] = ()

    def document(self) -> dict[str, Any]:
        """Return the members of the JSON object; `errors` only if there are any."""
        members: dict[str, Any] = {
            "type": "about:blank",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
        }
        if self.errors:
            members["errors"] = [{"field": each.field, "message": each.message} for each in self.errors]
        return members

    def body(self) -> bytes:
        """Return the document as JSON."""
        return json.dumps(self.document()).encode()


def build(
    status: int,
    code: str,
    detail: str,
    *,
    title: str = "",
    errors: Mapping[str, str] | None = None,
    headers: Sequence[tuple[bytes, bytes]] = (),
) -> Problem:
    """Make a problem; its title is the status' own phrase (RFC 9457, 4.2.1: `about:blank`) unless given."""
    fields = tuple(FieldError(name, message) for name, message in (errors or {}).items())
    return Problem(status, code, title or HTTPStatus(status).phrase, detail, fields, tuple(headers))


async def send_problem(
    problem: Problem,
    send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
    *,
    prefix: str = "http",
    headers: Sequence[tuple[bytes, bytes]] = (),
) -> None:
    """Send it as a complete response; `prefix` `websocket.http` denies a WebSocket handshake."""
    body = problem.body()
    head = [(b"content-type", CONTENT_TYPE), (b"content-length", b"%d" % len(body))]
    await send(
        {
            "type": f"{prefix}.response.start",
            "status": problem.status,
            "headers": [*head, *problem.headers, *headers],
        }
    )
    await send({"type": f"{prefix}.response.body", "body": body})
