from __future__ import annotations

from typing import TYPE_CHECKING

from support.kube.server import kube_server
from support.pods import pod_backend
from support.terminals import opened

if TYPE_CHECKING:
    from pathlib import Path


async def test_a_shell_in_a_pod_is_typed_into(tmp_path: Path) -> None:
    async with kube_server(tmp_path) as server, opened(pod_backend(server, tmp_path)) as terminals:
        shell = await terminals.run(shell="sh", rows=33, cols=99)
        await shell.type(b"stty size; exit 7\r")
        status = await shell.wait()
        assert status.code == 7, shell.output
        assert b"33 99" in shell.output
