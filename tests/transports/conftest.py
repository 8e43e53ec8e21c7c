"""Fixtures of the ways in: one service process per module, with the module's SETTINGS, asked with its HEADERS."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.shared import process, visit

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from support.shared import SharedService


@pytest.fixture(scope="module")
def service_process(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SharedService]:
    """Run a service for the tests of a module."""
    settings: dict[str, str] = getattr(request.module, "SETTINGS", {})
    headers = getattr(request.module, "HEADERS", None)
    with process(tmp_path_factory.mktemp("service"), headers=headers, **settings) as service:
        yield service


@pytest.fixture
async def service(service_process: SharedService) -> AsyncIterator[SharedService]:
    """Give the module's service to a test; the sessions the test leaves are ended."""
    async with visit(service_process) as service:
        yield service
