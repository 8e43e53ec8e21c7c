"""Durable sessions on a host reached by SSH."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any

from backends.profile import Site
from backends.ssh.backend import SshBackend
from support.durable_place import stop_holders

if TYPE_CHECKING:
    from pathlib import Path

    from support.sshd import Sshd


class DurableSsh(SshBackend):
    """Its holders are ended by `stop`, as by nobody but tests: the host is started anew."""

    def __init__(self, server: Sshd, directory: Path, **fields: Any) -> None:
        self.holders = directory.parent / "holders"
        given = {"durable": True, "durable_python": sys.executable, "durable_directory": str(self.holders), **fields}
        super().__init__(server.profile(**given), Site("node", directory))

    async def stop(self) -> None:
        await self.close()
        await asyncio.to_thread(stop_holders, [self.holders])
