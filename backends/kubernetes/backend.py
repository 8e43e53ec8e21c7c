"""Sessions in pods of a Kubernetes cluster: the backend."""

from __future__ import annotations

import asyncio
import socket
import sys
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakSet

import structlog

from backends.base import Capabilities
from backends.environment import check_text
from backends.errors import AccessRefused, BackendError, InvalidProgram, NotProvided
from backends.kubernetes import conditions
from backends.kubernetes.api import Api
from backends.kubernetes.channels import Pulse, Target
from backends.kubernetes.credentials import Credentials
from backends.kubernetes.durable import LINK, DurablePodEnvironment, SharedPod
from backends.kubernetes.environment import KubernetesEnvironment
from backends.kubernetes.errors import ApiProblem, typed
from backends.kubernetes.pods import Pods
from backends.kubernetes.processes import Processes, service_mark, session_mark
from backends.kubernetes.rights import Rights, find_rights
from backends.kubernetes.wrapper import SHELLS

if sys.platform != "win32":  # where no profile is durable
    from backends.durable.target import Target as DurableTarget
    from backends.durable.terminals import DurableTerminals, recalled, sweep_programs

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

    from backends.base import Order, Survivor
    from backends.kubernetes.profile import KubernetesProfile
    from backends.profile import Site

_Kind = TypeVar("_Kind", bound=KubernetesEnvironment)

_END_SECONDS = 1.0
_CLOSE_SECONDS = 15.0

_log = structlog.get_logger(__name__)


class KubernetesBackend:
    """Pods of one namespace: one for each session, made from a template, or one that is there."""

    def __init__(self, profile: KubernetesProfile, site: Site, *, pulse: Pulse = Pulse()) -> None:  # noqa: B008 - frozen
        """Connect to nothing yet."""
        self.name = profile.name or "kubernetes"
        self.capabilities = Capabilities(
            exec=True, files=True, port_forwarding=True, stats=True, signals=True, reattach=profile.durable
        )
        self._profile = profile
        self._site = site
        self._node_id = site.node_id
        self._pulse = pulse
        self._credentials = Credentials(profile)
        self._api = Api(self._credentials)
        self._pods = Pods(self._api, profile, site.node_id)
        self._durable: WeakSet[DurablePodEnvironment] = WeakSet()
        self._shared = SharedPod(self._existing, self._make_shared)
        self._shared_target = DurableTarget(self._shared, profile, site) if profile.durable else None
        self._shells: Sequence[str] = ()
        self._reported: tuple[list[str], list[str]] = [], []

    async def shells(self, user: str | None = None) -> Sequence[str]:  # noqa: ARG002 - refused when it is started
        """Return what was found in the last pod; in one that is there it is looked for."""
        if not self._shells and self._profile.template is None:
            self._shells = await self._find_shells(self._processes(await self._existing()))
        return self._in_order(self._shells or [self._profile.shell or "sh"])

    def _in_order(self, shells: Sequence[str]) -> Sequence[str]:
        return sorted(shells, key=lambda name: name != self._profile.shell)

    async def _find_shells(self, processes: Processes) -> Sequence[str]:
        return await processes.programs(*SHELLS)

    async def open(self, order: Order) -> KubernetesEnvironment:
        """Make a pod for a session and wait until it is ready, or look for the one that is there."""
        check_text("session_id", order.session_id)
        if self._profile.template is None:
            self._refuse_choice(order)
            return await self._environment(order, await self._existing())
        if self._profile.durable:
            pod = await self._pods.of_session(order.session_id)
            if pod is not None:  # its programs run on: whatever goes wrong now, it stays
                return await self._environment(order, pod)
        pod = await self._pods.provide(order, await self._owner())
        try:
            return await self._environment(order, pod)
        except BaseException:
            await self._pods.delete_surely(conditions.name(pod))
            raise

    def _refuse_choice(self, order: Order) -> None:
        """Raise InvalidProgram if a session asks for something of a pod that is as it is."""
        for field in ("image", "cpus", "memory_bytes", "gpus"):
            if getattr(order, field) is not None:
                raise InvalidProgram(field, f"backend {self.name!r} has sessions in a pod that is there, as it is")

    async def _environment(self, order: Order, pod: dict[str, Any]) -> KubernetesEnvironment:
        kind = DurablePodEnvironment if self._profile.durable else KubernetesEnvironment
        environment = self._make(kind, order.session_id, pod, self._release)
        self._shells = await self._find_shells(environment.processes)
        if self._profile.template is not None:
            environment.warn_before_end(pod, order.tell)
        if isinstance(environment, DurablePodEnvironment):
            target = self._shared_target
            if self._profile.template is not None or target is None:
                target = DurableTarget(environment, self._profile, self._site, fate=environment.fate)
                environment.own_target = target
                self._durable.add(environment)
            environment.terminals = DurableTerminals(target, order)
        return environment

    def _make(
        self, kind: type[_Kind], session_id: str, pod: dict[str, Any], release: Callable[[Any], Awaitable[None]]
    ) -> _Kind:
        return kind(
            self._processes(pod),
            self._pods,
            pod,
            session_id=session_id,
            node_id=self._node_id,
            shell=self._profile.shell,
            release=release,
        )

    def _make_shared(self, pod: dict[str, Any]) -> KubernetesEnvironment:
        async def keep(_: KubernetesEnvironment) -> None:
            """Leave the pod as it is."""

        return self._make(KubernetesEnvironment, LINK, pod, keep)

    def _processes(self, pod: Mapping[str, Any]) -> Processes:
        try:
            container = conditions.find_container(pod, self._profile.container)
        except LookupError as error:
            raise NotProvided(str(error)) from None
        target = Target(self._profile.namespace, conditions.name(pod), container)
        return Processes(self._api, target, self._pulse)

    async def _existing(self) -> dict[str, Any]:
        """Return the pod that the profile names, ready. Raises NotProvided."""
        profile = self._profile
        where = f"in namespace {profile.namespace}"
        if profile.pod:
            pod = await self._pods.get(profile.pod)
            if pod is None:
                raise NotProvided(f"there is no pod {profile.pod} {where}")
            found = [pod]
        else:
            found = await self._pods.select(profile.selector)
            if not found:
                raise NotProvided(f"there is no pod with the labels {profile.selector} {where}")
        for pod in found:
            if conditions.is_ready(pod, self._processes(pod).target.container):
                return pod
        container = self._processes(found[0]).target.container
        why = conditions.hopeless(found[0], container) or conditions.progress(found[0], container) or "it is not ready"
        raise NotProvided(f"pod {conditions.name(found[0])} {where} is not ready: {why}")

    async def _owner(self) -> Mapping[str, Any] | None:
        """Return a reference to the pod that the service runs in, with which the pods of sessions are to go."""
        if not (self._profile.in_cluster and self._profile.owned) or self._profile.durable:
            return None
        name = socket.gethostname()
        try:
            own = await self._pods.get(name)
        except BackendError:
            own = None
        if own is None:
            return None
        return {"apiVersion": "v1", "kind": "Pod", "name": name, "uid": own["metadata"]["uid"]}

    async def _release(self, environment: KubernetesEnvironment) -> None:
        """Delete a session's pod; in one that is shared, end what the session has left."""
        processes = environment.processes
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                if self._profile.template is not None:
                    await self._pods.delete(processes.target.pod)
                else:
                    await processes.end(session_mark(self._node_id, environment.session_id), _END_SECONDS)
        except (BackendError, TimeoutError) as error:
            _log.warning(
                "a session has left something in a cluster: a later sweep removes it",
                pod=processes.target.pod,
                reason=str(error) or "no answer in time",
            )

    async def rights(self) -> Rights:
        """Find out what the service may do in the cluster. Raises BackendError."""
        try:
            return await find_rights(self._api, self._profile)
        except ApiProblem as problem:
            raise typed(problem, "ask what the service may do") from None
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None

    async def check(self) -> None:
        """See whether the cluster lets the service do what it must; warn of what it lets it do beyond that."""
        rights = await self.rights()
        if rights.missing:
            missing = "; ".join(map(str, rights.missing))
            raise AccessRefused(f"the service lacks rights in the cluster: {missing}")
        report = [*map(str, rights.wanting)], [*map(str, rights.too_wide)]
        if report != self._reported:
            self._reported = report
            if rights.wanting:
                _log.info(
                    "the service lacks rights in a cluster that it could use", backend=self.name, rights=report[0]
                )
            if rights.too_wide:
                _log.warning(
                    "the service has more rights in a cluster than it needs", backend=self.name, rights=report[1]
                )
        if self._profile.template is None:
            await self._existing()

    async def survivors(self) -> Sequence[Survivor]:
        """Return none: on this machine nothing runs on."""
        return []

    async def recall(self, session_id: str) -> Survivor | None:
        """Return what a holder in a pod has; none where execs end with this process."""
        return recalled(session_id) if self._profile.durable else None

    async def sweep(self, living: Collection[str]) -> None:
        """Delete this node's pods of other sessions; in a pod that is shared, end their programs."""
        if self._profile.template is not None:
            for name in await self._pods.orphans(living):
                _log.info("an orphaned pod is deleted", pod=name)
                await self._pods.delete(name)
            return
        if self._shared_target is not None:
            await sweep_programs(self._shared_target, living)
        processes = self._processes(await self._existing())
        kept = [session_mark(self._node_id, session_id) for session_id in (*living, LINK)]
        marks = await processes.marks(service_mark(self._node_id))
        for mark in {mark.rpartition("-")[0] + "-" for mark in marks} - set(kept):
            _log.info("programs of a session that is over are ended", pod=processes.target.pod, mark=mark)
            await processes.end(mark, _END_SECONDS)

    async def stop(self) -> None:
        """Do nothing: programs end with this process or a holder by itself, pods with their sessions."""

    async def close(self) -> None:
        """Close all connections; what holders have runs on."""
        for environment in list(self._durable):
            await environment.let_go()
        if self._shared_target is not None:
            await self._shared_target.close()
        await self._shared.close()
        await self._api.close()
