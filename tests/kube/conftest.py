"""A test API server for each test, and kubectl with all rights."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.kube.kubectl import Kubectl
from support.kube.server import KubeServer, kube_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[KubeServer]:
    async with kube_server(tmp_path) as running:
        yield running


@pytest.fixture
def kubectl(server: KubeServer, tmp_path: Path) -> Kubectl:
    return Kubectl(server.kubeconfig(tmp_path / "kubeconfig"))
