"""The objects of the test cluster and their history: versions, watches, selectors."""

from __future__ import annotations

import asyncio
import copy
import re
import secrets
import uuid
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from support.kube.statuses import already_exists, conflict, gone, invalid, not_found

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

Object = dict[str, Any]

MOST_CHANGES = 10_000
NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
NAME_RULE = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', "
    "and must start and end with an alphanumeric character"
)


@dataclass(frozen=True)
class Resource:
    """A kind of objects."""

    plural: str
    kind: str
    short: str = ""
    group: str = ""
    version: str = "v1"
    is_namespaced: bool = True

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version


RESOURCES = {
    each.plural: each
    for each in (
        Resource("pods", "Pod", "po"),
        Resource("events", "Event", "ev"),
        Resource("configmaps", "ConfigMap", "cm"),
        Resource("secrets", "Secret"),
        Resource("serviceaccounts", "ServiceAccount", "sa"),
        Resource("persistentvolumeclaims", "PersistentVolumeClaim", "pvc"),
        Resource("resourcequotas", "ResourceQuota", "quota"),
        Resource("namespaces", "Namespace", "ns", is_namespaced=False),
        Resource("nodes", "Node", "no", is_namespaced=False),
    )
}


@dataclass(frozen=True)
class Change:
    """What happened to an object."""

    version: int
    resource: str
    before: Object | None
    after: Object | None

    def seen_by(self, wanted: Callable[[Object], bool]) -> tuple[str, Object] | None:
        """Return what a watch of the wanted objects tells of it."""
        was = self.before is not None and wanted(self.before)
        is_ = self.after is not None and wanted(self.after)
        if is_ and self.after is not None:
            return ("MODIFIED" if was else "ADDED"), self.after
        if was and self.before is not None:
            last = copy.deepcopy(self.after or self.before)
            last["metadata"]["resourceVersion"] = str(self.version)
            return "DELETED", last
        return None


class Store:
    """All objects."""

    def __init__(self) -> None:
        self.version = 1000
        self.oldest = 0
        """Watches from before this version are told to list again."""
        self._objects: dict[str, dict[tuple[str, str], Object]] = {name: {} for name in RESOURCES}
        self._history: deque[Change] = deque(maxlen=MOST_CHANGES)
        self._changed = asyncio.Event()

    def compact(self) -> None:
        """Forget the history, as etcd does every five minutes."""
        self._history.clear()
        self.oldest = self.version + 1
        self._wake()

    def get(self, resource: str, namespace: str, name: str) -> Object:
        """Return a copy; raise Refused."""
        found = self._objects[resource].get((namespace, name))
        if found is None:
            raise not_found(resource, name, RESOURCES[resource].group)
        return copy.deepcopy(found)

    def has(self, resource: str, namespace: str, name: str) -> bool:
        return (namespace, name) in self._objects[resource]

    def list(self, resource: str, wanted: Callable[[Object], bool] = lambda _: True) -> list[Object]:
        found = self._objects[resource]
        return [copy.deepcopy(found[key]) for key in sorted(found) if wanted(found[key])]

    def create(self, resource: str, namespace: str, given: Object) -> Object:
        made = copy.deepcopy(given)
        kind = RESOURCES[resource]
        metadata = made.setdefault("metadata", {})
        if not metadata.get("name") and metadata.get("generateName"):
            metadata["name"] = metadata["generateName"] + secrets.token_hex(3)[:5]
        name = metadata.get("name") or ""
        if not name:
            raise invalid(kind.kind, "", "metadata.name", "Required value: name or generateName is required")
        if not NAME.fullmatch(name):
            raise invalid(kind.kind, name, "metadata.name", f'Invalid value: "{name}": {NAME_RULE}')
        if self.has(resource, namespace, name):
            raise already_exists(resource, name, kind.group)
        made |= {"apiVersion": kind.api_version, "kind": kind.kind}
        metadata |= {"uid": str(uuid.uuid4()), "creationTimestamp": stamp()}
        if kind.is_namespaced:
            metadata["namespace"] = namespace
        self._put(resource, (namespace, name), made)
        return copy.deepcopy(made)

    def replace(self, resource: str, given: Object, *, check: bool = False) -> Object:
        """Store a new state of an object that exists; `check` its version."""
        metadata = given["metadata"]
        key = metadata.get("namespace", ""), metadata["name"]
        before = self.get(resource, *key)
        wanted = metadata.get("resourceVersion")
        if check and wanted and wanted != before["metadata"]["resourceVersion"]:
            raise conflict(resource, key[1])
        self._put(resource, key, copy.deepcopy(given))
        return copy.deepcopy(given)

    def change(self, resource: str, namespace: str, name: str, edit: Callable[[Object], None]) -> Object:
        """Edit an object in place, if that changes anything; raise Refused if it is gone."""
        before = self.get(resource, namespace, name)
        after = copy.deepcopy(before)
        edit(after)
        return before if after == before else self.replace(resource, after)

    def remove(self, resource: str, namespace: str, name: str, *, uid: str = "") -> None:
        """Remove what is there of a name, if it is still that one."""
        before = self._objects[resource].get((namespace, name))
        if before is not None and uid in ("", before["metadata"]["uid"]):
            del self._objects[resource][namespace, name]
            self._note(resource, before, None)

    def _put(self, resource: str, key: tuple[str, str], made: Object) -> None:
        before = self._objects[resource].get(key)
        made["metadata"]["resourceVersion"] = str(self.version + 1)
        self._objects[resource][key] = made
        self._note(resource, before, made)

    def _note(self, resource: str, before: Object | None, after: Object | None) -> None:
        self.version += 1
        self._history.append(Change(self.version, resource, before, copy.deepcopy(after)))
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _since(self, version: int) -> Iterator[Change]:
        if version < self.oldest - 1:
            raise gone(version, self.oldest)
        return iter([change for change in self._history if change.version > version])

    async def watch(
        self, resource: str, version: int, wanted: Callable[[Object], bool]
    ) -> AsyncIterator[tuple[str, Object]]:
        """Yield what happens after a version, for ever; raise Refused when that is no longer known."""
        while True:
            changed = self._changed
            for change in self._since(version):
                version = change.version
                if change.resource == resource and (seen := change.seen_by(wanted)):
                    yield seen
            await changed.wait()

    async def until(self, predicate: Callable[[], bool]) -> None:
        """Wait until something is true of the objects."""
        while not predicate():
            await self._changed.wait()


def stamp(when: datetime | None = None) -> str:
    return (when or datetime.now(UTC)).strftime("%Y-%m-%dT%H:%M:%SZ")


def labels_match(selector: str) -> Callable[[Object], bool]:
    """Read a label selector: `a=b,c!=d,e,!f,g in (h,i)`."""
    terms = [term.strip() for term in re.split(r",(?![^(]*\))", selector) if term.strip()]

    def is_matched(each: Object) -> bool:
        labels = each["metadata"].get("labels") or {}
        return all(_term_matches(term, labels) for term in terms)

    return is_matched


def _term_matches(term: str, labels: dict[str, str]) -> bool:
    if found := re.fullmatch(r"(\S+)\s+(in|notin)\s+\((.*)\)", term):
        key, operator, values = found.groups()
        return (labels.get(key) in [value.strip() for value in values.split(",")]) == (operator == "in")
    if "!=" in term:
        key, value = term.split("!=", 1)
        return labels.get(key.strip()) != value.strip()
    if "=" in term:
        key, value = re.split("==?", term, maxsplit=1)
        return labels.get(key.strip()) == value.strip()
    if term.startswith("!"):
        return term[1:].strip() not in labels
    return term in labels


def fields_match(selector: str) -> Callable[[Object], bool]:
    """Read a field selector: `metadata.name=x,status.phase!=Running`."""
    terms = [re.fullmatch(r"([^!=]+)(==|!=|=)(.*)", term) for term in selector.split(",") if term]

    def is_matched(each: Object) -> bool:
        return all((str(_field(each, term[1])) == term[3]) == (term[2] != "!=") for term in terms if term is not None)

    return is_matched


def _field(each: Object, path: str) -> Any:
    found: Any = each
    for name in path.split("."):
        found = found.get(name, "") if isinstance(found, dict) else ""
    return found
