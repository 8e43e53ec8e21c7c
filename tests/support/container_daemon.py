"""Real daemons that run containers, for tests: started in directories of their own, always stopped, all removed.

`dockerd` and `podman` say how each is started. They need root; without it, or without the program, tests are skipped.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import tarfile
import tempfile
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import psutil
import pytest

from support.terminals import is_alive
from support.wait import poll_until

if TYPE_CHECKING:
    from collections.abc import Iterator

IMAGE = "box:1"
READY_SECONDS = 60.0
PASSWD = "root:x:0:0:root:/root:/bin/sh\nann:x:1000:1000:Ann:/home/ann:/bin/sh\n"


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("daemon", timeout=60)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class ContainerDaemon(ABC):
    """A daemon that can be stopped, killed and started again; it keeps its directory and its images."""

    kind = ""
    programs: ClassVar[tuple[str, ...]] = ()

    def __init__(self, directory: Path) -> None:
        """Begin stopped."""
        self.directory = directory
        self.socket = directory / "api.sock"
        self.pid = 0

    @property
    def url(self) -> str:
        return f"unix://{self.socket}"

    @abstractmethod
    def command(self) -> tuple[list[str], dict[str, str]]:
        """Return what starts it, and the environment it needs."""

    def start(self) -> None:
        assert not self.pid, "it runs already"
        words, environment = self.command()
        # Not as a child of this process: tests fail when they leave children behind, and this one is for all of them.
        note = self.directory / "started"
        note.unlink(missing_ok=True)
        launch = ["setsid", "--fork", "sh", "-c", 'echo $$ > "$0.new"; mv "$0.new" "$0"; exec "$@"', str(note), *words]
        with (self.directory / "log").open("ab") as log:
            subprocess.run(
                launch,
                check=True,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                cwd=self.directory,  # where conmon leaves notes
                env={**os.environ, **environment},
            )
        poll_until(note.exists, description=f"{self.kind} to start")
        self.pid = int(note.read_text())
        poll_until(self._answers, description=f"{self.kind} to answer", timeout=READY_SECONDS)

    def _answers(self) -> bool:
        assert is_alive(self.pid), (self.directory / "log").read_text()
        try:
            return self.ask("GET", "/_ping")[0] == 200
        except OSError:
            return False

    def stop(self, signum: int = signal.SIGTERM) -> None:
        """Stop it, as its operator would, or kill it."""
        if self.pid:
            pid, self.pid = self.pid, 0
            os.kill(pid, signum)
            poll_until(lambda: not is_alive(pid), description=f"{self.kind} to end")

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, Any]:
        """Send one request; return the status and what the answer's JSON says."""
        connection = _UnixConnection(str(self.socket))
        with contextlib.closing(connection):
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            data = answer.read()
        try:
            return answer.status, json.loads(data)
        except ValueError:
            return answer.status, data

    def import_image(self, tar: bytes, name: str = IMAGE) -> None:
        path = f"/v1.40/images/create?fromSrc=-&repo={name}"
        status, said = self.ask("POST", path, tar, **{"Content-Type": "application/x-tar"})
        assert status == 200, said

    def containers(self) -> list[dict[str, Any]]:
        """List all containers that there are."""
        status, listed = self.ask("GET", "/v1.40/containers/json?all=1")
        assert status == 200, listed
        found: list[dict[str, Any]] = listed
        return found

    def remove_all(self) -> None:
        """Remove every container."""
        for container in self.containers():
            self.ask("DELETE", f"/v1.40/containers/{container['Id']}?force=1&v=1")

    def destroy(self) -> None:
        """Stop it and remove all it has."""
        if not self.pid:
            self.start()  # after a test that failed: containers live on without it
        self.remove_all()
        self.stop()
        # Podman's monitors stay for five minutes after each exec, then run podman, which makes its directories anew.
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.name() == "conmon" and any(str(self.directory) in word for word in process.cmdline()):
                    process.kill()
        for line in reversed(Path("/proc/self/mounts").read_text().splitlines()):
            place = line.split()[1]
            if Path(place).is_relative_to(self.directory):
                subprocess.run(["umount", "--lazy", place], check=False)
        shutil.rmtree(self.directory, ignore_errors=True)


def need(*programs: str) -> None:
    """Skip the test if a daemon cannot be run here."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to run a daemon of containers")
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")


@contextlib.contextmanager
def running(kind: type[ContainerDaemon]) -> Iterator[ContainerDaemon]:
    """Run a daemon that has the image of busybox."""
    need(*kind.programs, "busybox")
    daemon = kind(Path(tempfile.mkdtemp(prefix=f"{kind.kind}-")))
    try:
        daemon.start()
        daemon.import_image(busybox_tar())
        yield daemon
    finally:
        daemon.destroy()


def busybox_tar() -> bytes:
    """Return the files of a small system: busybox and its applets."""
    program = shutil.which("busybox")
    assert program is not None
    applets = subprocess.run([program, "--list"], check=True, capture_output=True, text=True).stdout.split()
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for name in ("bin", "etc", "root", "home", "home/ann", "tmp", "proc", "sys", "dev", "data"):
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if name in {"tmp", "data"} else 0o755
            entry.uid = entry.gid = 1000 if name == "home/ann" else 0
            tar.addfile(entry)
        tar.add(program, "bin/busybox")
        for applet in applets:
            if applet != "busybox":
                link = tarfile.TarInfo(f"bin/{applet}")
                link.type, link.linkname = tarfile.SYMTYPE, "busybox"
                tar.addfile(link)
        for name, text in (("etc/passwd", PASSWD), ("etc/group", "root:x:0:\nann:x:1000:\n")):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(text), 0o644
            tar.addfile(entry, io.BytesIO(text.encode()))
    return made.getvalue()
