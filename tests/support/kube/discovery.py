"""What an API server says of itself: its version and the resources it has."""

from __future__ import annotations

from typing import Any

from support.kube.statuses import no_such_path
from support.kube.store import RESOURCES, Object

VERBS = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
GROUPS = {"authorization.k8s.io": "v1", "metrics.k8s.io": "v1beta1"}
VERSION = {
    "major": "1",
    "minor": "36",
    "gitVersion": "v1.36.0",
    "gitCommit": "0" * 40,
    "gitTreeState": "clean",
    "buildDate": "2026-04-22T00:00:00Z",
    "goVersion": "go1.26.0",
    "compiler": "gc",
    "platform": "linux/amd64",
}
PARAMETERS = [
    {"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": True}}
    for name in ("dryRun", "fieldManager", "fieldValidation", "pretty")
]


def describe(path: str, *, has_metrics: bool) -> Object:
    """Answer a path that is about the server; raise Refused if there is nothing."""
    groups = {name: version for name, version in GROUPS.items() if has_metrics or not name.startswith("metrics")}
    answers: dict[str, Any] = {
        "/version": VERSION,
        "/api": {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []},
        "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group(*each) for each in groups.items()]},
        "/api/v1": _core(),
        "/apis/authorization.k8s.io/v1": _reviews(),
        "/openapi/v3": {"paths": {"api/v1": {"serverRelativeURL": "/openapi/v3/api/v1?hash=0"}}},
        "/openapi/v3/api/v1": _schema(),
    }
    if has_metrics:
        answers["/apis/metrics.k8s.io/v1beta1"] = _metrics()
    if path.rstrip("/") not in answers:
        raise no_such_path()
    found: Object = answers[path.rstrip("/")]
    return found


def _group(name: str, version: str) -> Object:
    one = {"groupVersion": f"{name}/{version}", "version": version}
    return {"name": name, "versions": [one], "preferredVersion": one}


def _list(group_version: str, resources: list[Object]) -> Object:
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": resources}


def _core() -> Object:
    found: list[Object] = []
    for each in RESOURCES.values():
        described = {
            "name": each.plural,
            "singularName": each.kind.lower(),
            "namespaced": each.is_namespaced,
            "kind": each.kind,
            "verbs": VERBS,
        }
        found.append(described | ({"shortNames": [each.short]} if each.short else {}))
    for sub, kind, verbs in (
        ("attach", "PodAttachOptions", ["create", "get"]),
        ("exec", "PodExecOptions", ["create", "get"]),
        ("log", "Pod", ["get"]),
        ("portforward", "PodPortForwardOptions", ["create", "get"]),
        ("status", "Pod", ["get", "patch", "update"]),
    ):
        found.append({"name": f"pods/{sub}", "singularName": "", "namespaced": True, "kind": kind, "verbs": verbs})
    return _list("v1", found)


def _reviews() -> Object:
    kinds = ("SelfSubjectAccessReview", "SelfSubjectRulesReview")
    return _list(
        "authorization.k8s.io/v1",
        [
            {
                "name": f"{kind.lower()}s",
                "singularName": kind.lower(),
                "namespaced": False,
                "kind": kind,
                "verbs": ["create"],
            }
            for kind in kinds
        ],
    )


def _metrics() -> Object:
    pods = {"name": "pods", "singularName": "", "namespaced": True, "kind": "PodMetrics", "verbs": ["get", "list"]}
    return _list("metrics.k8s.io/v1beta1", [pods])


def _schema() -> Object:
    """Say which requests take which parameters, which kubectl asks before it creates anything."""
    paths: Object = {}
    for each in RESOURCES.values():
        kind = {"group": each.group, "kind": each.kind, "version": each.version}
        place = f"/api/v1/{'namespaces/{namespace}/' if each.is_namespaced else ''}{each.plural}"
        operation = {"x-kubernetes-group-version-kind": kind, "parameters": PARAMETERS, "responses": {}}
        paths[place] = {"post": operation | {"x-kubernetes-action": "post"}}
        paths[f"{place}/{{name}}"] = {"patch": operation | {"x-kubernetes-action": "patch"}}
    return {
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": VERSION["gitVersion"]},
        "paths": paths,
        "components": {"schemas": {}},
    }
