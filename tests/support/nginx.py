"""A real nginx with deploy/nginx.conf: only addresses, paths and, if asked, times are others.

Only this module of the tests starts it. Where it is not installed the test is skipped and says so.
"""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
from typing import TYPE_CHECKING, Self

import psutil
import pytest

from support.restarts import find_port
from support.service import ROOT
from support.wait import poll_until

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

CONFIGURATION = ROOT / "deploy" / "nginx.conf"
READY_SECONDS = 20.0
STOP_SECONDS = 20.0
TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
NODES = ("node1:8081", "node2:8081")


def adapt(text: str, *, port: int, nodes: Sequence[tuple[str, int]], changes: Mapping[str, str] = {}) -> str:
    """Return the configuration for this machine; `changes` are other values of directives of one value.

    Whatever is to be replaced must be there: a configuration that has become another one fails the test.
    """
    for name, (host, number) in zip(NODES, nodes, strict=True):
        text, count = re.subn(rf"(server )(?:{re.escape(name)})(?= )", rf"\g<1>{host}:{number}", text)
        assert count == 1, name
    every = {"listen": f"127.0.0.1:{port}", "pid": "nginx.pid", "access_log": "off"}
    every |= {f"{name}_temp_path": name for name in TEMPORARY} | dict(changes)
    for directive, value in every.items():
        text, count = re.subn(rf"(?m)^(\s*){directive} +[^;]+;", rf"\g<1>{directive} {value};", text)
        assert count == 1, directive
    return "daemon off;\n" + text


class Nginx:
    """nginx in front of two nodes, on a free port of 127.0.0.1; `with Nginx(...) as nginx`."""

    def __init__(self, directory: Path, nodes: Sequence[tuple[str, int]], **changes: str) -> None:
        program = shutil.which("nginx", path="/usr/local/sbin:/usr/sbin:/usr/local/bin:/usr/bin:/opt/homebrew/bin")
        if program is None:
            pytest.skip("nginx is not installed")
        self.program = program
        self.port = find_port()
        self.directory = directory / f"nginx-{self.port}"
        self.directory.mkdir()
        self.directory.chmod(0o755)
        text = adapt(CONFIGURATION.read_text(encoding="utf-8"), port=self.port, nodes=nodes, changes=changes)
        (self.directory / "nginx.conf").write_text(text)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self.port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def log(self) -> str:
        return (self.directory / "log").read_text(errors="replace")

    def _command(self, *options: str) -> list[str]:
        return [self.program, "-p", str(self.directory), "-e", "stderr", "-c", "nginx.conf", *options]

    def connections_to(self, address: tuple[str, int]) -> int:
        """Return how many connections it has to a node."""
        assert self._process is not None
        workers = psutil.Process(self._process.pid).children()
        open_ones = [each for worker in workers for each in worker.net_connections("tcp")]
        return sum(tuple(each.raddr) == address and each.status == psutil.CONN_ESTABLISHED for each in open_ones)

    def check(self) -> str:
        """Return what nginx says of the configuration; it is not started."""
        return subprocess.run(self._command("-t"), capture_output=True, text=True, check=False).stderr

    def __enter__(self) -> Self:
        """Start, and wait until it listens."""
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(self._command(), stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        poll_until(self._listens, description="nginx to listen", timeout=READY_SECONDS)
        return self

    def _listens(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log()
        with socket.socket() as probe:
            return probe.connect_ex(self.address) == 0

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop; a failed test gets the end of its log."""
        assert self._process is not None
        self._process.terminate()
        self._process.wait(STOP_SECONDS)
        if error is not None:
            error.add_note("nginx log, end:\n" + self.log()[-2000:])
