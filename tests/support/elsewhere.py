"""Environments elsewhere that run commands and have files, of every backend that has such, on their real servers."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path
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

    import pytest

    from backends.base import Backend
    from support.kube_thread import KubeThread

ELSEWHERE = ("ssh", "kubernetes", "docker", "podman")


class FarEnvironment(Environment, Executor, FileKeeper, Protocol):
    """What these can all do."""


FarPlace = Callable[[Path], AbstractAsyncContextManager[FarEnvironment]]
"""Opens an environment; the backend's own files are in the directory."""


@contextmanager
def far_place(request: pytest.FixtureRequest, directory: Path) -> Iterator[FarPlace]:
    """Start the server that the fixture's parameter names, unless it runs; give what opens an environment there."""
    if request.param == "ssh":
        with serving_sshd(directory, "MaxSessions 100") as server:
            yield lambda own: _environment(SshBackend(server.profile(), Site("node-1", own / "ssh")))
    elif request.param == "kubernetes":
        cluster: KubeThread = request.getfixturevalue("kube")
        yield lambda own: _environment(thread_backend(cluster, own, shared=True))
    else:
        daemon: ContainerDaemon = request.getfixturevalue({"docker": "dockerd"}.get(request.param, request.param))
        profile = ContainerProfile(name=daemon.kind, socket=daemon.url, image=IMAGE, cpus=2.0)
        yield lambda own: _environment(ContainerBackend(profile, Site("node-1", own / daemon.kind)))


@asynccontextmanager
async def _environment(backend: Backend) -> AsyncIterator[FarEnvironment]:
    async with opened(backend) as terminals:
        yield cast("FarEnvironment", terminals.environment)
