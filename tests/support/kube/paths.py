"""Read what is asked of an API server from a request's method and path."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from support.kube.statuses import no_such_path

if TYPE_CHECKING:
    from collections.abc import Mapping

VERBS = {"GET": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


@dataclass(frozen=True)
class Asked:
    """A verb on a resource."""

    verb: str
    group: str
    version: str
    resource: str
    namespace: str = ""
    name: str = ""
    sub: str = ""

    @property
    def full_resource(self) -> str:
        return f"{self.resource}/{self.sub}" if self.sub else self.resource


def read_path(method: str, path: str, query: Mapping[str, str]) -> Asked:
    """Return what is asked; raise Refused where nothing is."""
    parts = [part for part in path.split("/") if part]
    if parts[:1] == ["api"]:
        group, (version, *rest) = "", parts[1:]
    elif parts[:1] == ["apis"] and len(parts) > 3:
        group, version, *rest = parts[1:]
    else:
        raise no_such_path()
    namespace = ""
    if rest[:1] == ["namespaces"] and len(rest) > 2:
        namespace, rest = rest[1], rest[2:]
    if not rest or len(rest) > 3 or method not in VERBS:
        raise no_such_path()
    resource, name, sub = (*rest, "", "")[:3]
    if resource == "namespaces":
        namespace = name
    verb = VERBS[method]
    if not name and method in ("GET", "DELETE"):
        verb = {"GET": "list", "DELETE": "deletecollection"}[method]
        if query.get("watch") in ("1", "true"):
            verb = "watch"
    return Asked(verb, group, version, resource, namespace, name, sub)
