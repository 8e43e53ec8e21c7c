"""Environments elsewhere that run commands and have files, of every backend that has such, on their real servers."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Protocol, cast

from backends.abilities import Executor, FileKeeper
from backends.base import Environment
from backends.containers.backend import ContainerBackend
from backends.containers.profile import ContainerProfile
from backends.profile import Site
from backends.ssh.backend import SshBackend
from support.container_daemon import IMAGE, ContainerDaemon
from support.pods import thread_backend
from support.sshd import serving_sshd
from support.terminals import opened

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    import pytest

    from backends.base import Backend
    from support.kube_thread import KubeThread

ELSEWHERE = ("ssh", "kubernetes", "docker", "podman")


class FarEnvironment(Environment, Executor, FileKeeper, Protocol):
    """What these can all do."""


FarPlace = Callable[[], AbstractAsyncContextManager[FarEnvironment]]


@contextmanager
def far_place(request: pytest.FixtureRequest, directory: Path) -> Iterator[FarPlace]:
    """Start the server that the fixture's parameter names, unless it runs; give what opens an environment there."""
    if request.param == "ssh":
        with serving_sshd(directory / "sshd", "MaxSessions 100") as server:
            yield lambda: _environment(SshBackend(server.profile(), Site("node-1", directory / "ssh")))
    elif request.param == "kubernetes":
        cluster: KubeThread = request.getfixturevalue("kube")
        yield lambda: _environment(thread_backend(cluster, directory, shared=True))
    else:
        daemon: ContainerDaemon = request.getfixturevalue({"docker": "dockerd"}.get(request.param, request.param))
        profile = ContainerProfile(name=daemon.kind, socket=daemon.url, image=IMAGE, cpus=2.0)
        yield lambda: _environment(ContainerBackend(profile, Site("node-1", daemon.directory)))


@asynccontextmanager
async def _environment(backend: Backend) -> AsyncIterator[FarEnvironment]:
    async with opened(backend) as terminals:
        yield cast("FarEnvironment", terminals.environment)
