"""Where the backends lead in the bench: real servers of this machine, and the plain tool that leads there too.

They are those of the tests (tests/support), so the bench needs a clone of the repository, and what they need: root,
for daemons of containers, and the programs. What cannot be had is left out, and named.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
import os
import shlex
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import msgspec

from backends.base import Order
from backends.errors import BackendError
from backends.profile import Site
from bench.client import BenchError
from bench.servers import ROOT, START_SECONDS
from bench.text import PROGRAM

sys.path.append(str(ROOT / "tests"))

if TYPE_CHECKING:
    from pathlib import Path

    from backends.base import Backend, Environment
    from backends.profile import Profile


class Ground(ABC):
    """A place, the backend that leads there, and the tool. `start` blocks; what is missing raises an exception."""

    name = ""
    backend = ""
    """Its module and class."""
    environment: Environment
    found: tuple[list[str], dict[str, str]]
    """The tool that leads to the environment."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory / self.name
        self.directory.mkdir()
        self.stack = contextlib.ExitStack()
        self._backend: Backend

    @abstractmethod
    def start(self) -> None:
        """Start the server."""

    @abstractmethod
    def profile(self) -> Profile:
        """Return what an operator would say of it."""

    @abstractmethod
    def tool(self) -> tuple[list[str], dict[str, str]]:
        """Return the tool's words, those of a program follow, and what is added to its environment. Blocks."""

    def tool_line(self) -> tuple[list[str], dict[str, str]]:
        """Return the tool with the bench's program, and its whole environment."""
        words, environment = self.found
        return [*words, *PROGRAM], {**os.environ, **environment}

    async def open(self) -> None:
        """Have the backend provide an environment, as for a session. Raises BenchError."""
        try:
            self._backend = self._make(self.profile(), Site("bench", self.directory / "site"))
            self.environment = await self._backend.open(Order("bench", owner="bench"))
        except BackendError as error:
            await self._backend.close()
            raise BenchError(str(error)) from error
        self.found = await asyncio.to_thread(self.tool)  # now: what others open later looks the same

    def _make(self, profile: Profile, site: Site) -> Backend:
        module, _, name = self.backend.partition(":")
        made: Backend = getattr(importlib.import_module(module), name)(profile, site)
        return made

    async def close(self) -> None:
        """Release it."""
        await self.environment.close()
        await self._backend.close()

    def stop(self) -> None:
        """Stop the server."""
        self.stack.close()

    def table(self) -> dict[str, Any]:
        """Return the profile as a file of backends has it."""
        table: dict[str, Any] = msgspec.to_builtins(self.profile())
        return {field: value for field, value in table.items() if field != "name" and value not in (None, [], {}, "")}


class Ssh(Ground):
    """OpenSSH, and its client."""

    name = "ssh"
    backend = "backends.ssh.backend:SshBackend"

    def start(self) -> None:
        """Start sshd; it lets many sessions over one connection."""
        from support.sshd import serving_sshd

        options = ("MaxSessions 200", "LogLevel ERROR")
        self._server = self.stack.enter_context(serving_sshd(self.directory, *options))

    def profile(self) -> Profile:
        """Lead to it."""
        return self._server.profile(name=self.name)

    def tool(self) -> tuple[list[str], dict[str, str]]:
        """Return `ssh`, which reads no configuration but this."""
        server = self._server
        options = [
            *("-F", "none", "-tt", "-e", "none", "-i", str(server.client_key), "-p", str(server.port)),
            *("-o", f"UserKnownHostsFile={server.known_hosts}", "-o", "LogLevel=ERROR"),
        ]
        return ["ssh", *options, f"{server.user}@{server.host}"], {"TERM": "xterm-256color"}

    def tool_line(self) -> tuple[list[str], dict[str, str]]:
        """Quote the program: a shell is there first."""
        words, environment = self.found
        return [*words, shlex.join(PROGRAM)], {**os.environ, **environment}

    def shared_tool_line(self) -> tuple[list[str], dict[str, str]]:
        """Return the tool over one connection that all share."""
        words, environment = self.tool_line()
        share = ["-o", "ControlMaster=auto", "-o", f"ControlPath={self.directory}/share", "-o", "ControlPersist=20"]
        return [words[0], *share, *words[1:]], environment


class Containers(Ground):
    """A daemon, and `exec -it` of its client."""

    backend = "backends.containers.backend:ContainerBackend"

    def profile(self) -> Profile:
        """Make containers of busybox."""
        from backends.containers.profile import ContainerProfile
        from support.container_daemon import IMAGE

        return ContainerProfile(name=self.name, socket=self._daemon.url, image=IMAGE, pull="never", cpus=2.0)

    def _container(self) -> str:
        [container, *_] = self._daemon.containers()
        return str(container["Id"])

    def _start(self, kind: Any) -> None:
        from support.container_daemon import running

        self._daemon = self.stack.enter_context(running(kind))


class Docker(Containers):
    """dockerd and `docker exec`."""

    name = "docker"

    def start(self) -> None:
        """Start dockerd."""
        from support.dockerd import Dockerd

        self._start(Dockerd)

    def tool(self) -> tuple[list[str], dict[str, str]]:
        """Enter the backend's own container."""
        return ["docker", "-H", self._daemon.url, "exec", "-it", self._container()], {}


class Podman(Containers):
    """podman's service and `podman --remote exec`."""

    name = "podman"

    def start(self) -> None:
        """Start the service."""
        from support.podman import Podman as Daemon

        self._start(Daemon)

    def tool(self) -> tuple[list[str], dict[str, str]]:
        """Enter the backend's own container."""
        return ["podman", "--remote", "--url", self._daemon.url, "exec", "-it", self._container()], {}


class Kubernetes(Ground):
    """The tests' API server in a process of its own, and `kubectl exec`."""

    name = "kubernetes"
    backend = "backends.kubernetes.backend:KubernetesBackend"

    def start(self) -> None:
        """Start the server."""
        from support.kube.kubectl import find_kubectl

        self._kubectl = find_kubectl()
        self._kubeconfig = self.directory / "kubeconfig"
        log = (self.directory / "log").open("wb")
        with log:
            argv = [sys.executable, "-m", "bench.kube_server", str(self.directory)]
            server = subprocess.Popen(argv, cwd=ROOT, stdin=subprocess.PIPE, stdout=log, stderr=log)
        self.stack.callback(_finish, server)
        deadline = time.monotonic() + START_SECONDS
        while not (self.directory / "ready").exists():
            if server.poll() is not None or time.monotonic() > deadline:
                raise BenchError((self.directory / "log").read_text()[-2000:])
            time.sleep(0.05)

    def profile(self) -> Profile:
        """Make pods of busybox."""
        from backends.kubernetes.profile import KubernetesProfile, PodTemplate

        template = PodTemplate(image="busybox:1")
        return KubernetesProfile(name=self.name, kubeconfig=str(self._kubeconfig), template=template)

    def tool(self) -> tuple[list[str], dict[str, str]]:
        """Enter the backend's own pod."""
        environment = {"KUBECONFIG": str(self._kubeconfig), "KUBECACHEDIR": str(self.directory / "cache")}
        listed = subprocess.run(
            [self._kubectl, "get", "pods", "-o", "json"],
            check=True,
            capture_output=True,
            env={**os.environ, **environment},
        )
        name = json.loads(listed.stdout)["items"][0]["metadata"]["name"]
        return [self._kubectl, "exec", "-it", str(name), "--"], environment


def _finish(server: subprocess.Popen[bytes]) -> None:
    """Let it end by the end of its input."""
    if server.stdin is not None:
        server.stdin.close()
    server.wait(30)


GROUNDS: dict[str, type[Ground]] = {ground.name: ground for ground in (Ssh, Docker, Podman, Kubernetes)}
