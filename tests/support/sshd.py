"""A real OpenSSH server on a loopback port, with keys and a configuration of its own."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from backends.abilities import Command
from backends.profile import Site
from backends.ssh.backend import SshBackend
from backends.ssh.profile import SshProfile
from support.terminals import Terminals, opened

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

    from backends.ssh.environment import SshEnvironment
    from backends.ssh.execution import SshExecution
    from backends.ssh.pool import SshPool


def need_sshd() -> str:
    """Return the path of sshd; skip the test where there is none."""
    path = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if path is None:
        pytest.skip("needs sshd (Debian: openssh-server)")
    return path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def make_key(path: Path, *options: str, kind: str = "ed25519") -> Path:
    """Make a key pair; return the private one's path."""
    subprocess.run(
        ["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", path.name, "-f", str(path), *options],
        check=True,
        stdin=subprocess.DEVNULL,
    )
    return path


@functools.cache
def can_mount() -> bool:
    """Tell whether a server can have a user database of its own."""
    if os.geteuid() != 0:
        return False
    return subprocess.run(["unshare", "--mount", "true"], check=False, stderr=subprocess.DEVNULL).returncode == 0


def _write_users(directory: Path, passwords: Mapping[str, str], shell: str) -> dict[str, Path]:
    """Write a user database; return what is to be mounted where."""
    home = directory / "home"
    home.mkdir()
    users = [line.split(":") for line in Path("/etc/passwd").read_text().splitlines()]
    users = [[*user[:5], str(home), shell] if user[0] == "root" else user for user in users]
    shadow = Path("/etc/shadow").read_text().splitlines()
    for number, (name, password) in enumerate(passwords.items()):
        users.append([name, "x", str(60_000 + number), "65534", "", str(home), shell])
        hashed = subprocess.run(["openssl", "passwd", "-6", password], check=True, capture_output=True, text=True)
        shadow.append(f"{name}:{hashed.stdout.strip()}:19000:0:99999:7:::")
    files = {"/etc/passwd": directory / "passwd", "/etc/shadow": directory / "shadow"}
    files["/etc/passwd"].write_text("".join(":".join(user) + "\n" for user in users))
    files["/etc/shadow"].touch(mode=0o600)
    files["/etc/shadow"].write_text("".join(line + "\n" for line in shadow))
    return files


def public_of(key: Path) -> str:
    return Path(f"{key}.pub").read_text().strip()


class Sshd:
    """One server: `directory` has its files, the client's key and what clients must know of it.

    Where root runs the tests it sees a user database of its own: root's home is `directory/home`, so that nothing of
    what root has set up for its shells matters, and `passwords` names more users and their passwords.
    """

    host = "127.0.0.1"

    def __init__(
        self,
        directory: Path,
        *options: str,
        accept_env: str | None = "*",
        passwords: Mapping[str, str] | None = None,
        shell: str = "/bin/bash",
        sftp: bool = True,
    ) -> None:
        """Write its files. `options`: more lines of sshd_config, which win over those here."""
        self.directory = directory
        self.user = pwd.getpwuid(os.geteuid()).pw_name
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        directory.mkdir(parents=True, exist_ok=True)
        self._mounts = _write_users(directory, passwords or {}, shell) if can_mount() else {}
        if passwords and not self._mounts:
            pytest.skip("needs root and mount namespaces, for users and passwords of its own")
        self.host_key = make_key(directory / "host_key")
        self.client_key = make_key(directory / "client_key")
        shutil.copy(f"{self.client_key}.pub", directory / "authorized_keys")
        self.log = directory / "log"
        lines = [
            *options,
            f"Port {self.port}",
            f"ListenAddress {self.host}",
            f"HostKey {self.host_key}",
            f"AuthorizedKeysFile {directory / 'authorized_keys'}",
            f"PidFile {directory / 'pid'}",
            "UsePAM no",
            "StrictModes no",
            "PermitRootLogin yes",
            "PasswordAuthentication no",
            "KbdInteractiveAuthentication no",
            "LogLevel DEBUG1",
            "MaxStartups 100",
            *(["Subsystem sftp internal-sftp"] if sftp else []),
            *([f"AcceptEnv {accept_env}"] if accept_env else []),
        ]
        (directory / "sshd_config").write_text("\n".join(lines) + "\n")
        self.write_known_hosts()

    @property
    def known_hosts(self) -> Path:
        return self.directory / "known_hosts"

    @property
    def public_key(self) -> str:
        """The host's key, as profiles list it."""
        return public_of(self.host_key)

    def write_known_hosts(self, key: Path | None = None) -> None:
        """Record the host's key, or another one."""
        self.known_hosts.write_text(f"[{self.host}]:{self.port} {public_of(key or self.host_key)}\n")

    def profile(self, **fields: Any) -> SshProfile:
        """Return a profile that leads here, as the user who runs the tests."""
        given = {
            "name": "host",
            "host": self.host,
            "port": self.port,
            "user": self.user,
            "keys": (str(self.client_key),),
            "known_hosts": str(self.known_hosts),
            **fields,
        }
        return SshProfile(**given)

    def start(self) -> None:
        """Start to listen. Blocks a little."""
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        command = [need_sshd(), "-D", "-E", str(self.log), "-f", str(self.directory / "sshd_config")]
        if self._mounts:
            binds = "".join(f"mount --bind {ours} {theirs} && " for theirs, ours in self._mounts.items())
            command = ["unshare", "--mount", "sh", "-c", f'{binds}exec "$@"', "sh", *command]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        self.wait_ready()

    def wait_ready(self, seconds: float = 30) -> None:
        """Wait until it lets in. Blocks."""
        deadline = time.monotonic() + seconds
        while True:
            assert self.process is not None
            assert self.process.poll() is None, self.log.read_text()
            with socket.socket() as probe, contextlib.suppress(OSError):
                probe.connect((self.host, self.port))
                return
            assert time.monotonic() < deadline, "sshd does not listen"
            time.sleep(0.01)

    def sessions(self) -> list[int]:
        """Return the ids of the processes that each serve one connection (the privileged ones)."""
        assert self.process is not None
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(pid) for pid in children.split()]

    def stop(self) -> None:
        """End it and all connections."""
        if self.process is None:
            return
        for pid in [*self.sessions(), self.process.pid]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
        self.process = None


@contextlib.contextmanager
def serving_sshd(directory: Path, *options: str, starts: bool = True, **more: Any) -> Iterator[Sshd]:
    """Run a server for a while. Blocks a little."""
    need_sshd()
    server = Sshd(directory, *options, **more)
    try:
        if starts:
            server.start()
        yield server
    finally:
        server.stop()


@asynccontextmanager
async def running_sshd(directory: Path, *options: str, **more: Any) -> AsyncIterator[Sshd]:
    """Run a server for a while."""
    serving = serving_sshd(directory, *options, **more)
    server = await asyncio.to_thread(serving.__enter__)
    try:
        yield server
    finally:
        await asyncio.to_thread(serving.__exit__, None, None, None)


class SshPlace:
    """A host as a session has it."""

    def __init__(self, terminals: Terminals) -> None:
        self.terminals = terminals

    @property
    def backend(self) -> SshBackend:
        return cast("SshBackend", self.terminals.backend)

    @property
    def environment(self) -> SshEnvironment:
        return cast("SshEnvironment", self.terminals.environment)

    @property
    def pool(self) -> SshPool:
        return self.environment._pool

    async def execute(self, *argv: str) -> SshExecution:
        execution = await self.environment.execute(Command(argv))
        return cast("SshExecution", execution)


@asynccontextmanager
async def reached(server: Sshd, directory: Path, **fields: Any) -> AsyncIterator[SshPlace]:
    """Open a session on a host; `fields` of its profile."""
    backend = SshBackend(server.profile(**fields), Site("node", directory / "site"))
    async with opened(backend) as terminals:
        yield SshPlace(terminals)
