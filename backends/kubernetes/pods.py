"""Makes, waits for, finds and deletes pods."""

from __future__ import annotations

import asyncio
import contextlib
import random
import secrets
from typing import TYPE_CHECKING, Any

import structlog

from backends.base import Notice
from backends.errors import BackendError, NotProvided, Unreachable
from backends.kubernetes import conditions
from backends.kubernetes.errors import CONFLICT, GONE, NOT_FOUND, UNAUTHORIZED, ApiProblem, typed
from backends.kubernetes.manifest import NODE_LABEL, SESSION_ANNOTATION, SESSION_LABEL, label, pod_manifest

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from backends.base import Order
    from backends.kubernetes.api import Api
    from backends.kubernetes.channels import Target
    from backends.kubernetes.profile import KubernetesProfile

_EVENT_PAUSES = (0.1, 2.0)
"""Between two looks at a pod's events while it is waited for, in seconds: the first, and the longest."""
_WATCH_PAUSES = (0.2, 8.0)
_TOLD_EVENTS = (
    "Scheduled",
    "Pulling",
    "Pulled",
    "FailedMount",
    "FailedAttachVolume",
    "TriggeredScaleUp",
    "NotTriggerScaleUp",
)
_DELETE_SECONDS = 30.0
_LOG_BYTES = 1 << 20

_log = structlog.get_logger(__name__)


class Pods:
    """Those of one namespace."""

    def __init__(self, api: Api, profile: KubernetesProfile, node_id: str) -> None:
        """Look at nothing yet."""
        self._api = api
        self._profile = profile
        self._node_id = node_id
        self._path = f"/api/v1/namespaces/{profile.namespace}/pods"
        self._where = f"in namespace {profile.namespace}"

    async def get(self, name: str) -> dict[str, Any] | None:
        """Return a pod; None: there is none. Raises BackendError."""
        doing = f"look at pod {name} {self._where}"
        try:
            return await self._api.call("GET", f"{self._path}/{name}", doing)
        except ApiProblem as problem:
            if problem.status == NOT_FOUND:
                return None
            raise typed(problem, doing) from None

    async def select(self, labels: str) -> list[dict[str, Any]]:
        """Return the pods with labels. Raises BackendError."""
        doing = f"list pods {self._where}"
        try:
            answer = await self._api.call("GET", self._path, doing, query=[("labelSelector", labels)])
        except ApiProblem as problem:
            raise typed(problem, doing) from None
        return list(answer.get("items") or [])

    async def logs(self, target: Target, *, lines: int, previous: bool) -> bytes:
        """Return the last lines that a container's main process printed. Raises BackendError."""
        doing = f"read the log of pod {target.pod} {self._where}"
        query = [("container", target.container), ("tailLines", str(lines)), ("limitBytes", str(_LOG_BYTES))]
        query += [("previous", "true")] if previous else []
        try:
            return await self._api.text(f"{self._path}/{target.pod}/log", doing, query=query)
        except ApiProblem as problem:
            raise typed(problem, doing) from None

    # -- of a session

    async def provide(self, order: Order, owner: Mapping[str, Any] | None) -> dict[str, Any]:
        """Return a ready pod for a session: one that was made for it already, or a new one.

        Raises BackendError; then, and when this is cancelled, there is none.
        """
        pod = await self.of_session(order.session_id) or await self._create(order, owner)
        try:
            return await self._wait(pod, order.tell)
        except BaseException:
            await self.delete_surely(conditions.name(pod))
            raise

    async def of_session(self, session_id: str) -> dict[str, Any] | None:
        """Return the pod that an earlier process has made for a session, if programs can run in it."""
        found = await self.select(f"{NODE_LABEL}={label(self._node_id)},{SESSION_LABEL}={label(session_id)}")
        container = self._profile.container
        for pod in found:
            if conditions.is_ready(pod, conditions.find_container(pod, container)):
                return pod
        return None

    async def _create(self, order: Order, owner: Mapping[str, Any] | None) -> dict[str, Any]:
        template = self._profile.template
        if template is None:
            raise AssertionError("pods are made from a template")
        doing = f"create a pod {self._where}"
        for _ in range(3):
            name = f"ts-{label(order.session_id)}-{secrets.token_hex(3)}"
            manifest = pod_manifest(template, order, name=name, node_id=self._node_id, owner=owner)
            creating = asyncio.ensure_future(self._api.call("POST", self._path, doing, body=manifest))  # noqa: TID251 - awaited here
            try:
                return await asyncio.shield(creating)
            except asyncio.CancelledError:
                with contextlib.suppress(ApiProblem, BackendError):
                    await creating
                    await self.delete_surely(name)
                raise
            except ApiProblem as problem:
                if problem.status != CONFLICT:
                    raise typed(problem, doing) from None
        raise NotProvided(f"cannot {doing}: every name is taken")

    async def _wait(self, pod: dict[str, Any], tell: Callable[[Notice], None]) -> dict[str, Any]:
        """Wait until a pod is ready, telling how far it is. Raises NotProvided, Unreachable."""
        waiting = _Waiting(pod, self._profile, tell)
        try:
            async with asyncio.timeout(self._profile.ready_seconds), asyncio.TaskGroup() as group:
                events = group.create_task(self._tell_events(waiting), name="pod: events")
                try:
                    await self._follow(waiting)
                finally:
                    events.cancel()
        except TimeoutError:
            why = waiting.last or "nothing is told of it"
            seconds = f"{self._profile.ready_seconds:g} s"
            raise NotProvided(f"pod {waiting.name} is not ready after {seconds}: {why}") from None
        except BaseExceptionGroup as group_error:
            raise group_error.exceptions[0] from None
        return waiting.pod

    async def _follow(self, waiting: _Waiting) -> None:
        """Look at a pod whenever it changes, until it is ready."""
        pause, longest = _WATCH_PAUSES
        while not waiting.look():
            version = waiting.pod["metadata"]["resourceVersion"]
            query = [("fieldSelector", f"metadata.name={waiting.name}")]
            try:
                async with asyncio.timeout_at(waiting.deadline) as deadline:
                    async for event in self._api.watch(
                        self._path, f"watch pod {waiting.name}", query=query, version=version
                    ):
                        if event["type"] == "DELETED":
                            raise NotProvided(f"pod {waiting.name} was deleted before it was ready")
                        waiting.pod = event["object"]
                        if waiting.look():
                            return
                        deadline.reschedule(waiting.deadline)
                continue
            except TimeoutError:
                why = conditions.unschedulable(waiting.pod)
                raise NotProvided(f"pod {waiting.name} cannot become ready: {why}") from None
            except (ApiProblem, Unreachable) as error:
                _check_passing(error, f"watch pod {waiting.name}")
                _log.info("a watch has ended", pod=waiting.name, reason=str(error))
                await asyncio.sleep(pause * random.uniform(0.8, 1.2))  # noqa: S311 - not all at once
                pause = min(2 * pause, longest)
            found = await self.get(waiting.name)
            if found is None:
                raise NotProvided(f"pod {waiting.name} was deleted before it was ready")
            waiting.pod = found

    async def _tell_events(self, waiting: _Waiting) -> None:
        """Tell what the cluster does with a pod; without the right to see it, nothing."""
        path = f"/api/v1/namespaces/{self._profile.namespace}/events"
        query = [("fieldSelector", f"involvedObject.name={waiting.name}")]
        with contextlib.suppress(BackendError, ApiProblem):
            pause, longest = _EVENT_PAUSES
            while True:
                answer = await self._api.call("GET", path, "list events", query=query)
                waiting.hear(answer.get("items") or [])
                await asyncio.sleep(pause)
                pause = min(2 * pause, longest)

    # -- the end

    async def delete(self, name: str) -> None:
        """Delete a pod; it may be gone already. Raises BackendError."""
        doing = f"delete pod {name} {self._where}"
        body = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "gracePeriodSeconds": self._profile.delete_grace_seconds,
            "propagationPolicy": "Background",
        }
        try:
            await self._api.call("DELETE", f"{self._path}/{name}", doing, body=body)
        except ApiProblem as problem:
            if problem.status not in (NOT_FOUND, CONFLICT):
                raise typed(problem, doing) from None

    async def delete_surely(self, name: str) -> None:
        """Delete a pod, even if whoever wanted it does not wait; what remains a sweep finds."""
        deleting = asyncio.ensure_future(self._delete_patiently(name))  # noqa: TID251 - awaited here
        try:
            await asyncio.shield(deleting)
        except asyncio.CancelledError:
            await deleting
            raise

    async def _delete_patiently(self, name: str) -> None:
        try:
            async with asyncio.timeout(_DELETE_SECONDS):
                await self.delete(name)
        except (BackendError, TimeoutError) as error:
            _log.warning("a pod was not deleted", pod=name, reason=str(error) or "no answer in time")

    async def orphans(self, living: Collection[str]) -> list[str]:
        """Return the names of this node's pods of sessions that are not among the living. Raises BackendError."""
        found = await self.select(f"{NODE_LABEL}={label(self._node_id)}")
        return [
            conditions.name(pod)
            for pod in found
            if (pod["metadata"].get("annotations") or {}).get(SESSION_ANNOTATION) not in living
            and not pod["metadata"].get("deletionTimestamp")
        ]


def _check_passing(error: ApiProblem | Unreachable, doing: str) -> None:
    """Raise what will not pass. A version may be too old, and a token: then another is taken."""
    if isinstance(error, ApiProblem) and error.status not in (GONE, UNAUTHORIZED):
        final = typed(error, doing)
        if not isinstance(final, Unreachable):
            raise final from None


class _Waiting:
    """A pod that is to become ready."""

    def __init__(self, pod: dict[str, Any], profile: KubernetesProfile, tell: Callable[[Notice], None]) -> None:
        """Say nothing yet."""
        self.pod = pod
        self.name = conditions.name(pod)
        self.last = ""
        self._profile = profile
        self._tell = tell
        self._container = conditions.find_container(pod, "")
        self._heard: set[str] = set()
        self._unschedulable_since: float | None = None

    def look(self) -> bool:
        """Say how far it is; return whether it is ready. Raises NotProvided."""
        if conditions.is_ready(self.pod, self._container):
            self._say("the container runs")
            return True
        if (why := conditions.hopeless(self.pod, self._container)) is not None:
            raise NotProvided(f"pod {self.name} cannot become ready: {why}")
        if conditions.unschedulable(self.pod) is None:
            self._unschedulable_since = None
        elif self._unschedulable_since is None:
            self._unschedulable_since = asyncio.get_running_loop().time()
        how = conditions.progress(self.pod, self._container)
        if how is not None and not (self._heard and conditions.is_on_its_way(self.pod, self._container)):
            self._say(how)  # else an event has said more
        return False

    @property
    def deadline(self) -> float | None:
        """Until when it may stay as it is, by the loop's clock."""
        if self._unschedulable_since is None:
            return None
        return self._unschedulable_since + self._profile.unschedulable_seconds

    def hear(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Tell of events that are new."""
        for event in events:
            key = f"{event.get('reason')}: {event.get('message')}"
            if key in self._heard or event.get("reason") not in _TOLD_EVENTS:
                continue
            self._heard.add(key)
            if event["reason"] == "Scheduled" and self.last:
                continue  # the pod has said so
            self._say(_words_of(event))

    def _say(self, message: str) -> None:
        if message != self.last:
            self.last = message
            self._tell(Notice("progress", f"{message} (pod {self.name})", {"pod": self.name}))


def _words_of(event: Mapping[str, Any]) -> str:
    """Return what an event says, for people who wait."""
    words = " ".join(str(event.get("message", "")).split())[:300]
    if event["reason"] == "Scheduled":  # "Successfully assigned default/box to node-1"
        return f"scheduled on node {words.rpartition(' ')[2]}"
    return words
