from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from support.terminals import Terminals, opened, plain_environment

if sys.platform == "win32":
    collect_ignore_glob = ["test_posix_*"]
else:
    from backends.forkers import HolderForker, OwnForker
    from backends.local_pty import Patience
    from backends.posix import PosixBackend

    if TYPE_CHECKING:
        from collections.abc import AsyncIterator
        from pathlib import Path

    @pytest.fixture(params=["held", "own"])
    async def local(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Terminals]:
        """Open terminals on this machine, forked by a holder or not; leftovers are given a short time."""
        forker = HolderForker(tmp_path / "holder") if request.param == "held" else OwnForker()
        backend = PosixBackend(plain_environment(), forker, patience=Patience(leftover=0.3))
        async with opened(backend) as terminals:
            yield terminals
