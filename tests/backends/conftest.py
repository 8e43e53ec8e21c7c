from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from support.terminals import Terminals, opened, plain_environment

if sys.platform == "win32":
    collect_ignore_glob = ["test_posix_*", "test_ssh_*", "test_workstations*"]
else:
    from backends.forkers import HolderForker, OwnForker
    from backends.local_pty import Patience
    from backends.posix import PosixBackend
    from support.container_daemon import ContainerDaemon, running
    from support.dockerd import Dockerd
    from support.elsewhere import ELSEWHERE, FarPlace, far_place
    from support.kube.server import KubeServer, kube_server
    from support.kube_thread import KubeThread, kube_thread
    from support.other_users import guarded_holder, need_root, open_directory
    from support.podman import Podman
    from support.sshd import Sshd, serving_sshd
    from support.workstations import Cloud

    if TYPE_CHECKING:
        import asyncio
        from collections.abc import AsyncIterator, Iterator
        from pathlib import Path

    @pytest.fixture(params=["held", "own"])
    async def local(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Terminals]:
        """Open terminals on this machine, forked by a holder or not; leftovers are given a short time."""
        forker = HolderForker(tmp_path / "holder") if request.param == "held" else OwnForker()
        backend = PosixBackend(plain_environment(), forker, patience=Patience(leftover=0.3))
        async with opened(backend) as terminals:
            yield terminals

    @pytest.fixture(scope="session")
    def kube(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KubeThread]:
        """Give a cluster that tests leave as it was."""
        with kube_thread(tmp_path_factory.mktemp("kube")) as cluster:
            yield cluster

    @pytest.fixture
    def place() -> Iterator[Path]:
        """Give a directory that every user can reach; skip the test where root does not run it."""
        need_root()
        with open_directory() as path:
            yield path

    @pytest.fixture
    async def holder(place: Path) -> AsyncIterator[asyncio.subprocess.Process]:
        """Run a holder that root has started for a service of another user."""
        async with guarded_holder(place / "holder") as process:
            yield process

    @pytest.fixture(scope="session")
    def dockerd() -> Iterator[ContainerDaemon]:
        """Run a Docker daemon for all tests; none of them stops it."""
        with running(Dockerd) as daemon:
            yield daemon

    @pytest.fixture(scope="module", params=ELSEWHERE)
    def far(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FarPlace]:
        """Give an environment of each backend that runs commands elsewhere, on its real server."""
        with far_place(request, tmp_path_factory.mktemp("far")) as place:
            yield place

    @pytest.fixture(scope="session", params=["dockerd", "podman"])
    def daemon(request: pytest.FixtureRequest) -> ContainerDaemon:
        """Run each of the two."""
        found: ContainerDaemon = request.getfixturevalue(request.param)
        return found

    @pytest.fixture(scope="session")
    def podman() -> Iterator[ContainerDaemon]:
        """Run a Podman service for all tests; none of them stops it."""
        with running(Podman) as daemon:
            yield daemon

    @pytest.fixture(scope="module")
    def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
        """Run an SSH server for all tests of a file."""
        with serving_sshd(tmp_path_factory.mktemp("sshd")) as server:
            yield server

    @pytest.fixture
    async def server(tmp_path: Path) -> AsyncIterator[KubeServer]:
        """Run a cluster for one test, which may do with it what it likes."""
        async with kube_server(tmp_path) as server:
            yield server

    @pytest.fixture
    async def cloud(tmp_path: Path, sshd: Sshd) -> AsyncIterator[Cloud]:
        """Emulate the API of Workstations, in front of an SSH server."""
        async with Cloud(tmp_path / "cloud") as cloud:
            cloud.listening[22] = sshd.port
            yield cloud
