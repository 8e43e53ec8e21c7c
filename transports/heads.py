"""The head of a request as the guard reads it: every header by name, nothing interpreted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

from transports import problems

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from starlette.types import Scope

    from transports.problems import Problem


class Refusal(Exception):
    """The request is answered with `problem` and goes no further."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.code)
        self.problem = problem


@dataclass(frozen=True)
class Head:
    """Method (GET for a WebSocket), path, scheme, raw query and headers (lower-case names) of a request."""

    method: str
    path: str
    scheme: str
    query: bytes
    headers: Mapping[bytes, list[bytes]]

    @classmethod
    def of(cls, scope: Scope) -> Head:
        """Read an `http` or `websocket` scope."""
        headers: dict[bytes, list[bytes]] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name.lower(), []).append(value)
        return cls(
            scope.get("method", "GET"),
            scope["path"],
            scope.get("scheme", "http"),
            scope.get("query_string", b""),
            headers,
        )

    def __contains__(self, name: str) -> bool:
        return name.encode() in self.headers

    def one(self, name: str) -> str | None:
        """Return a header's value, None if it is missing; refuse a request that repeats it."""
        values = self.headers.get(name.encode(), [])
        if len(values) > 1:
            raise Refusal(problems.build(400, "header_repeated", f"the header {name} is given more than once"))
        return values[0].decode("latin-1") if values else None

    def listed(self, name: str) -> list[str]:
        """Return the items of a comma-separated header, of all its lines in order."""
        text = b",".join(self.headers.get(name.encode(), [])).decode("latin-1")
        return [item for item in (part.strip() for part in text.split(",")) if item]

    def query_names(self) -> Iterable[str]:
        """Return the names of the query's parameters, decoded, in lower case."""
        for part in self.query.replace(b";", b"&").split(b"&"):
            name = unquote_to_bytes(part.partition(b"=")[0].replace(b"+", b" "))
            yield name.decode("latin-1").strip().lower()
