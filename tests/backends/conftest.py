from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from support.terminals import Terminals, opened, plain_environment

if sys.platform == "win32":
    collect_ignore_glob = ["test_posix_*"]
else:
    from backends.local_pty import Patience
    from backends.posix import PosixBackend

    if TYPE_CHECKING:
        from collections.abc import AsyncIterator

    @pytest.fixture
    async def local() -> AsyncIterator[Terminals]:
        """Open terminals on this machine; what a program leaves running is given a short time."""
        backend = PosixBackend(plain_environment(), patience=Patience(leftover=0.3))
        async with opened(backend) as terminals:
            yield terminals
