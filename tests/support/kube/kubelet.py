"""One pod's life: scheduled, pulled, started, watched, restarted, ended."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from support.kube.container_log import ContainerLog
from support.kube.containers import Command, NotStarted, Running, Sandbox, User
from support.kube.images import GROUPS, PATH, Image, image_of
from support.kube.pod_form import container_status, set_condition, terminated, waiting
from support.kube.statuses import Refused
from support.kube.store import Object, stamp

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.kube.cluster import Cluster

NODE = "node-1"
NODE_ADDRESS = "10.0.0.11"
FIRST_BACK_OFF_SECONDS = 0.2
MOST_BACK_OFF_SECONDS = 2.0


class Held(Exception):
    """A container that cannot start, with what its state says."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass
class Life:
    """A container of a pod."""

    form: Object
    identity: str = ""
    running: Running | None = None
    log: ContainerLog = field(default_factory=ContainerLog)
    previous: ContainerLog | None = None
    command: Command | None = None
    state: Object = field(default_factory=lambda: waiting("ContainerCreating"))
    last: Object | None = None
    restarts: int = 0
    end_reason: str = ""
    """Why it was killed, if it was."""
    left: set[Running] = field(default_factory=set)
    """Programs of execs, those too whose client is gone."""


class Pod:
    """A pod and its processes."""

    def __init__(self, cluster: Cluster, made: Object) -> None:
        self._cluster = cluster
        self.namespace: str = made["metadata"]["namespace"]
        self.name: str = made["metadata"]["name"]
        self.uid: str = made["metadata"]["uid"]
        self._form = made
        self.lives = {each["name"]: Life(each) for each in made["spec"]["containers"]}
        self.directory: Path = cluster.directory / "pods" / self.uid
        self._begun = datetime.now(UTC)
        self._deleted = asyncio.Event()
        self._hurried = asyncio.Event()
        self._grace = 30.0
        self._failed: tuple[str, str] | None = None
        self._is_open = False

    async def run(self) -> None:
        """Live until the pod is deleted."""
        async with asyncio.TaskGroup() as group:
            living = group.create_task(self._live(), name=f"pod {self.name}")
            await self._deleted.wait()
            if not self._grace:
                self._remove()
            if await self._end_processes(self._grace):
                await asyncio.wait([living], timeout=1)  # it tells how they ended
            living.cancel()
        if self._is_open:
            await self._cluster.runtime.close_pod(self.uid)
        self._remove()

    def _remove(self) -> None:
        self._cluster.store.remove("pods", self.namespace, self.name, uid=self.uid)

    def delete(self, grace: float) -> None:
        if self._deleted.is_set() and not grace:
            self._hurried.set()
            self._remove()
        self._grace = grace
        self._deleted.set()

    def release(self) -> None:
        """Close the streams of whatever still runs."""
        for life in self.lives.values():
            for running in (life.running, *life.left):
                if running is not None:
                    running.close()

    async def fail(self, reason: str, message: str, *, grace: float = 0) -> None:
        """End the pod's processes and leave it failed, as an eviction does."""
        self._failed = reason, message
        await self._end_processes(grace)

        def edit(pod: Object) -> None:
            pod["status"] |= {"phase": "Failed", "reason": reason, "message": message}

        self._edit(edit)

    async def _live(self) -> None:
        await self._schedule()
        await self._cluster.runtime.open_pod(self.uid)
        self._is_open = True
        async with asyncio.TaskGroup() as group:
            if seconds := self._form["spec"].get("activeDeadlineSeconds"):
                group.create_task(self._end_at(seconds), name="pod deadline")
            containers = [
                group.create_task(self._live_container(life), name=f"container {name}")
                for name, life in self.lives.items()
            ]
            await asyncio.wait(containers)
            self._finish()

    async def _end_at(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        if any(life.running for life in self.lives.values()):
            await self.fail("DeadlineExceeded", "Pod was active on the node longer than the specified deadline")

    async def _schedule(self) -> None:
        while problem := self._cluster.problem_for(self._form):
            self._edit(
                lambda pod, problem=problem: set_condition(  # type: ignore[misc]
                    pod, "PodScheduled", holds=False, reason="Unschedulable", message=problem
                )
            )
            self._event("Warning", "FailedScheduling", problem, source="default-scheduler")
            await self._cluster.until_capacity_changes()

        def place(pod: Object) -> None:
            pod["spec"]["nodeName"] = NODE
            set_condition(pod, "PodScheduled", holds=True)

        self._edit(place)
        message = f"Successfully assigned {self.namespace}/{self.name} to {NODE}"
        self._event("Normal", "Scheduled", message, source="default-scheduler")

        def begin(pod: Object) -> None:
            pod["status"] |= {"hostIP": NODE_ADDRESS, "hostIPs": [{"ip": NODE_ADDRESS}], "startTime": stamp()}
            set_condition(pod, "Initialized", holds=True)

        self._edit(begin)
        self._publish()

    async def _live_container(self, life: Life) -> None:
        """Start a container, and again as the pod's restart policy says."""
        back_off = FIRST_BACK_OFF_SECONDS
        while True:
            try:
                await self._run_once(life, await self._pull(life))
            except Held as held:
                life.state = waiting(held.reason, str(held))
                self._publish()
                await asyncio.sleep(back_off)
                back_off = min(back_off * 2, MOST_BACK_OFF_SECONDS)
                continue
            policy = self._form["spec"]["restartPolicy"]
            ended = life.state["terminated"]
            if self._failed or self._deleted.is_set() or policy == "Never":
                return
            if policy == "OnFailure" and ended["exitCode"] == 0:
                return
            life.last, life.restarts, life.previous = life.state, life.restarts + 1, life.log
            life.log = ContainerLog()
            if life.restarts > 1:
                life.state = waiting("CrashLoopBackOff", f"back-off {back_off}s restarting failed container")
                self._publish()
                self._event("Warning", "BackOff", f"Back-off restarting failed container {life.form['name']}")
                await asyncio.sleep(back_off)
                back_off = min(back_off * 2, MOST_BACK_OFF_SECONDS)

    async def _pull(self, life: Life) -> Image:
        reference = life.form["image"]
        image = image_of(reference)
        if image is None or reference in self._cluster.missing_images:
            self._event("Normal", "Pulling", f'Pulling image "{reference}"')
            problem = (
                f'failed to pull and unpack image "docker.io/library/{reference}": failed to resolve reference: '
                "pull access denied, repository does not exist or may require authorization"
            )
            self._event("Warning", "Failed", f'Failed to pull image "{reference}": {problem}')
            self._event("Warning", "Failed", "Error: ErrImagePull")
            if life.state.get("waiting", {}).get("reason") == "ErrImagePull":
                self._event("Normal", "BackOff", f'Back-off pulling image "{reference}"')
                raise Held("ImagePullBackOff", f'Back-off pulling image "{reference}": ErrImagePull: {problem}')
            if life.state.get("waiting", {}).get("reason") == "ImagePullBackOff":
                raise Held("ImagePullBackOff", f'Back-off pulling image "{reference}": ErrImagePull: {problem}')
            raise Held("ErrImagePull", problem)
        if reference in self._cluster.pulled and not self._cluster.pull_seconds:
            self._event("Normal", "Pulled", f'Container image "{reference}" already present on machine')
            return image
        self._event("Normal", "Pulling", f'Pulling image "{reference}"')
        await asyncio.sleep(self._cluster.pull_seconds)
        self._cluster.pulled.add(reference)
        took = f"{self._cluster.pull_seconds}s"
        message = f'Successfully pulled image "{reference}" in {took} ({took} including waiting). Image size: 2 bytes.'
        self._event("Normal", "Pulled", message)
        return image

    async def _run_once(self, life: Life, image: Image) -> None:
        user = self._user_of(life, image)
        root = self.directory / f"{life.form['name']}-{life.restarts}"
        mounts = [*image.make_root(root), *self._mounts(life)]
        security = life.form.get("securityContext") or {}
        life.identity = f"containerd://{secrets.token_hex(32)}"
        sandbox = Sandbox(
            name=life.identity,
            pod=self.uid,
            hostname=self._form["spec"].get("hostname") or self.name,
            root=root,
            mounts=mounts,
            is_read_only=bool(security.get("readOnlyRootFilesystem")),
        )
        life.command = self._command(life, image, user)
        started = datetime.now(UTC)
        name = life.form["name"]
        try:
            running = await self._cluster.runtime.run(sandbox, life.command)
        except NotStarted as error:
            problem = (
                f"failed to create containerd task: failed to create shim task: OCI runtime create failed: {error}"
            )
            self._event("Warning", "Failed", f"Error: {problem}")
            life.state = terminated(128, "StartError", started, problem, life.identity)
            self._publish()
            return
        self._event("Normal", "Created", f"Created container: {name}")
        self._event("Normal", "Started", f"Started container {name}")
        life.running, life.end_reason = running, ""
        life.state = {"running": {"startedAt": stamp(started)}}
        self._publish()
        await self._keep(life, running, started)

    async def _keep(self, life: Life, running: Running, started: datetime) -> None:
        """Keep a container's log until it ends."""
        try:
            async with asyncio.TaskGroup() as group:
                for number, stream in enumerate((running.stdout, running.stderr), 1):
                    if stream is not None:
                        group.create_task(_copy(stream.read, life.log, number), name="container log")
                code = await asyncio.shield(running.exited)
        finally:
            life.running = None
            running.close()
            life.log.close()
        reason = life.end_reason or ("Error" if code else "Completed")
        life.state = terminated(code, reason, started, identity=life.identity)
        self._publish()

    def _user_of(self, life: Life, image: Image) -> User:
        merged = self._form["spec"]["securityContext"] | (life.form.get("securityContext") or {})
        uid = merged.get("runAsUser", image.user[0])
        if merged.get("runAsNonRoot") and not uid:
            raise Held("CreateContainerConfigError", "container has runAsNonRoot and image will run as root")
        return User(
            uid=uid,
            gid=merged.get("runAsGroup", GROUPS.get(uid, 0)),
            groups=[merged["fsGroup"]] if "fsGroup" in merged else [],
            drops="ALL" in (merged.get("capabilities") or {}).get("drop", ()),
            no_new_privileges=merged.get("allowPrivilegeEscalation") is False,
        )

    def _command(self, life: Life, image: Image, user: User) -> Command:
        form = life.form
        env = {"PATH": PATH, "HOSTNAME": self.name, "HOME": "/home/user" if user.uid else "/root"}
        env |= dict(image.environment)
        if form.get("tty"):
            env["TERM"] = "xterm"
        env |= {each["name"]: str(each.get("value", "")) for each in form.get("env") or []}
        words = [*(form.get("command") or ()), *(form.get("args") or ())] or image.command  # it has no entry point
        return Command(
            argv=words,
            env=env,
            cwd=form.get("workingDir") or "/",
            user=user,
            tty=bool(form.get("tty")),
            stdin=bool(form.get("stdin")),
        )

    def _mounts(self, life: Life) -> list[tuple[str, str, bool]]:
        volumes = {each["name"]: each for each in self._form["spec"].get("volumes") or []}
        group = self._form["spec"]["securityContext"].get("fsGroup")
        found = []
        for each in life.form.get("volumeMounts") or []:
            volume = volumes[each["name"]]
            if "persistentVolumeClaim" in volume:
                claim = volume["persistentVolumeClaim"]["claimName"]
                place = self._cluster.directory / "claims" / self.namespace / claim
            else:
                place = self.directory / "volumes" / each["name"]
            place.mkdir(parents=True, exist_ok=True)
            place.chmod(0o2775 if group else 0o777)
            if group:
                os.chown(place, 0, group)
            found.append((str(place), each["mountPath"].rstrip("/"), bool(each.get("readOnly"))))
        return found

    async def _end_processes(self, grace: float) -> bool:
        """End all containers, politely and then firmly; tell whether there was one."""
        running = [life.running for life in self.lives.values() if life.running]
        if running and grace > 0:
            for each in running:
                await self._cluster.runtime.kill(each, signal.SIGTERM)
            hurried = asyncio.create_task(self._hurried.wait(), name="pod hurried")
            ended = asyncio.gather(*(asyncio.shield(each.exited) for each in running))
            either: list[asyncio.Future[Any]] = [hurried, ended]
            try:
                await asyncio.wait(either, timeout=grace, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for future in either:
                    future.cancel()
                await asyncio.gather(*either, return_exceptions=True)
        for each in running:
            await self._cluster.runtime.kill(each, signal.SIGKILL)
        if running:
            await asyncio.wait([each.exited for each in running])
        return bool(running)

    def _finish(self) -> None:
        """Say how the pod ended."""
        if self._failed:
            return
        codes = [life.state["terminated"]["exitCode"] for life in self.lives.values()]
        self._edit(lambda pod: pod["status"].update(phase="Failed" if any(codes) else "Succeeded"))
        self._publish()

    def _publish(self) -> None:
        """Say in the pod's status how its containers are."""

        def edit(pod: Object) -> None:
            statuses = [
                container_status(life.form, life.state, restarts=life.restarts, last=life.last)
                | ({"containerID": life.identity} if life.identity else {})
                for life in self.lives.values()
            ]
            status = pod["status"]
            status["containerStatuses"] = statuses
            are_ready = all(each["ready"] for each in statuses)
            ended = status["phase"] in ("Succeeded", "Failed")
            reason = "" if are_ready else "PodCompleted" if ended else "ContainersNotReady"
            names = " ".join(each["name"] for each in statuses if not each["ready"])
            message = f"containers with unready status: [{names}]" if reason == "ContainersNotReady" else ""
            for kind in ("Ready", "ContainersReady"):
                set_condition(pod, kind, holds=are_ready, reason=reason, message=message)
            if status["phase"] == "Pending" and any("running" in each["state"] for each in statuses):
                status["phase"] = "Running"
                status |= {"podIP": "10.244.0.7", "podIPs": [{"ip": "10.244.0.7"}]}

        self._edit(edit)

    def _edit(self, edit: Callable[[Object], None]) -> None:
        def edit_own(pod: Object) -> None:
            if pod["metadata"]["uid"] == self.uid:
                edit(pod)

        if not self._cluster.is_node_gone:
            with suppress(Refused):  # deleted meanwhile
                self._cluster.store.change("pods", self.namespace, self.name, edit_own)

    def _event(self, kind: str, reason: str, message: str, *, source: str = "kubelet") -> None:
        self._cluster.note_event(self._form, kind, reason, message, source=source)


async def _copy(read: Callable[[], object], log: ContainerLog, number: int) -> None:
    while data := await read():  # type: ignore[misc]
        log.append(number, data)
