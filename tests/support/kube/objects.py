"""Create, read, watch, change and delete objects over HTTP."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from aiohttp import web

from support.kube import metrics
from support.kube.pod_form import table
from support.kube.statuses import Refused, bad_request, invalid, no_such_path, not_found, success
from support.kube.store import RESOURCES, Object, fields_match, labels_match

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.kube.cluster import Cluster
    from support.kube.paths import Asked


class Objects:
    """The requests about objects, in a cluster."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._store = cluster.store

    async def do(self, request: web.Request, asked: Asked) -> web.StreamResponse:
        """Answer; raise Refused."""
        if asked.group == "metrics.k8s.io":
            return web.json_response(await metrics.read(self._cluster, asked, _wanted(request, asked)))
        resource = RESOURCES.get(asked.resource)
        if resource is None or asked.group != resource.group or asked.sub not in ("", "status"):
            raise no_such_path()
        if asked.verb == "watch":
            return await self._watch(request, asked)
        body = await _body(request)
        answer = getattr(self, f"_{asked.verb}")(request, asked, body)
        return web.json_response(answer, status=201 if asked.verb == "create" else 200)

    def _shown(self, request: web.Request, asked: Asked, found: list[Object], *, is_list: bool) -> Object:
        version = str(self._store.version)
        if asked.resource == "pods" and "as=Table" in request.headers.get("Accept", ""):
            return table(found, version, is_list=is_list)
        if not is_list:
            return found[0]
        kind = RESOURCES[asked.resource]
        return {
            "kind": f"{kind.kind}List",
            "apiVersion": kind.api_version,
            "metadata": {"resourceVersion": version},
            "items": found,
        }

    def _get(self, request: web.Request, asked: Asked, _: Object) -> Object:
        found = self._store.get(asked.resource, _place(asked), asked.name)
        return self._shown(request, asked, [found], is_list=False)

    def _list(self, request: web.Request, asked: Asked, _: Object) -> Object:
        found = self._store.list(asked.resource, _wanted(request, asked))
        return self._shown(request, asked, found, is_list=True)

    def _create(self, request: web.Request, asked: Asked, given: Object) -> Object:
        kind = RESOURCES[asked.resource]
        if given.get("kind", kind.kind) != kind.kind:
            raise bad_request(f"the object is a {given['kind']}, expected {kind.kind}")
        metadata = given.setdefault("metadata", {})
        if metadata.get("namespace", asked.namespace) != asked.namespace and kind.is_namespaced:
            raise bad_request("the namespace of the provided object does not match the namespace sent on the request")
        if kind.is_namespaced and not self._store.has("namespaces", "", asked.namespace):
            raise not_found("namespaces", asked.namespace)
        if request.query.get("dryRun"):
            return given
        if asked.resource == "pods":
            made = self._cluster.create_pod(asked.namespace, given)
        else:
            made = self._store.create(asked.resource, _place(asked), given)
        return self._shown(request, asked, [made], is_list=False)

    def _update(self, request: web.Request, asked: Asked, given: Object) -> Object:
        before = self._store.get(asked.resource, _place(asked), asked.name)
        if given.get("metadata", {}).get("name") != asked.name:
            raise bad_request("the name of the object does not match the name on the URL")
        after = {**given, "metadata": {**before["metadata"], **given["metadata"]}}
        if asked.resource == "pods":
            after |= {"status": before["status"]}
            _check_spec(before, after)
        return self._shown(request, asked, [self._store.replace(asked.resource, after, check=True)], is_list=False)

    def _patch(self, request: web.Request, asked: Asked, given: Any) -> Object:
        before = self._store.get(asked.resource, _place(asked), asked.name)
        if request.content_type == "application/json-patch+json":
            after = _patched(before, given)
        else:
            after = _merged(before, given)
        if asked.resource == "pods":
            _check_spec(before, after)
        return self._shown(request, asked, [self._store.replace(asked.resource, after, check=True)], is_list=False)

    def _delete(self, request: web.Request, asked: Asked, options: Object) -> Object:
        found = self._store.get(asked.resource, _place(asked), asked.name)
        wanted = options.get("preconditions", {}).get("uid", found["metadata"]["uid"])
        if wanted != found["metadata"]["uid"]:
            message = (
                f'Operation cannot be fulfilled on {asked.resource} "{asked.name}": the UID in the precondition '
                f"({wanted}) does not match the UID in record ({found['metadata']['uid']})"
            )
            raise Refused(409, "Conflict", message)
        if asked.resource == "pods":
            return self._cluster.delete_pod(asked.namespace, asked.name, _grace(request, options))
        self._store.remove(asked.resource, _place(asked), asked.name)
        return success(asked.name, asked.resource, found["metadata"]["uid"])

    def _deletecollection(self, request: web.Request, asked: Asked, options: Object) -> Object:
        found = self._store.list(asked.resource, _wanted(request, asked))
        for each in found:
            name = each["metadata"]["name"]
            if asked.resource == "pods":
                self._cluster.delete_pod(each["metadata"]["namespace"], name, _grace(request, options))
            else:
                self._store.remove(asked.resource, _place(asked), name)
        return self._shown(request, asked, found, is_list=True)

    async def _watch(self, request: web.Request, asked: Asked) -> web.StreamResponse:
        """Stream changes until the client's timeout."""
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        as_table = asked.resource == "pods" and "as=Table" in request.headers.get("Accept", "")

        async def send(kind: str, each: Object) -> None:
            if as_table and kind in ("ADDED", "MODIFIED", "DELETED"):
                each = table([each], each["metadata"]["resourceVersion"], is_list=True)
            await response.write(json.dumps({"type": kind, "object": each}).encode() + b"\n")

        with suppress(TimeoutError):
            async with asyncio.timeout(float(request.query.get("timeoutSeconds") or 1800)):
                try:
                    await self._tell(request, asked, send)
                except Refused as refused:
                    await send("ERROR", refused.body)
        if request.query.get("allowWatchBookmarks") in ("1", "true"):
            await send("BOOKMARK", self._bookmark(asked))
        await response.write_eof()
        return response

    async def _tell(self, request: web.Request, asked: Asked, send: Callable[..., Any]) -> None:
        wanted = _wanted(request, asked)
        version = int(request.query.get("resourceVersion") or 0)
        wants_initial = request.query.get("sendInitialEvents") in ("1", "true")
        if not version or wants_initial:
            version = self._store.version
            for each in self._store.list(asked.resource, wanted):
                await send("ADDED", each)
            if wants_initial:
                bookmark = self._bookmark(asked)
                bookmark["metadata"]["annotations"] = {"k8s.io/initial-events-end": "true"}
                await send("BOOKMARK", bookmark)
        async for kind, each in self._store.watch(asked.resource, version, wanted):
            await send(kind, each)

    def _bookmark(self, asked: Asked) -> Object:
        kind = RESOURCES[asked.resource]
        metadata = {"resourceVersion": str(self._store.version), "creationTimestamp": None}
        found: Object = {"kind": kind.kind, "apiVersion": kind.api_version, "metadata": metadata}
        return found | ({"spec": {"containers": None}, "status": {}} if asked.resource == "pods" else {})


def _place(asked: Asked) -> str:
    return asked.namespace if RESOURCES[asked.resource].is_namespaced else ""


def _wanted(request: web.Request, asked: Asked) -> Callable[[Object], bool]:
    labels = labels_match(request.query.get("labelSelector", ""))
    fields = fields_match(request.query.get("fieldSelector", ""))

    def is_wanted(each: Object) -> bool:
        is_here = not asked.namespace or each["metadata"].get("namespace", "") == asked.namespace
        return is_here and labels(each) and fields(each)

    return is_wanted


async def _body(request: web.Request) -> Any:
    if not request.can_read_body:
        return {}
    try:
        return json.loads(await request.read() or b"{}")
    except ValueError as error:
        raise bad_request(f"the body of the request was in an unknown format: {error}") from error


def _grace(request: web.Request, options: Object) -> int | None:
    given = options.get("gracePeriodSeconds", request.query.get("gracePeriodSeconds"))
    return None if given is None else int(given)


def _check_spec(before: Object, after: Object) -> None:
    def fixed(pod: Object) -> Object:
        spec = {key: value for key, value in pod["spec"].items() if key != "activeDeadlineSeconds"}
        return spec | {"containers": [{**each, "image": ""} for each in spec["containers"]]}

    if fixed(before) != fixed(after):
        problem = "Forbidden: pod updates may not change fields other than `spec.containers[*].image` and some more"
        raise invalid("Pod", before["metadata"]["name"], "spec", problem, reason="FieldValueForbidden")


def _merged(before: Any, given: Any) -> Any:
    """Apply a merge patch (RFC 7386)."""
    if not isinstance(given, dict):
        return given
    after = dict(before) if isinstance(before, dict) else {}
    for key, value in given.items():
        if value is None:
            after.pop(key, None)
        else:
            after[key] = _merged(after.get(key), value)
    return after


def _patched(before: Object, steps: list[Object]) -> Object:
    """Apply the add, replace, remove and test steps of a JSON patch (RFC 6902)."""
    after: Object = json.loads(json.dumps(before))
    for step in steps:
        *way, last = [part.replace("~1", "/").replace("~0", "~") for part in step["path"].split("/")[1:]]
        place: Any = after
        for part in way:
            place = place[int(part)] if isinstance(place, list) else place.setdefault(part, {})
        if step["op"] == "test" and place.get(last) != step["value"]:
            raise Refused(422, "Invalid", "the server rejected our request due to an error in our request")
        if step["op"] == "remove":
            place.pop(last)
        elif step["op"] in ("add", "replace"):
            place[last] = step["value"]
    return after
