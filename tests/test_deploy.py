"""The systemd units: as far as that can be known without running systemd, they are right.

They have not been run under a real one. `systemd-analyze verify` reads them, our own parsers read their command lines,
and what they promise (a port that stays open over restarts) is tried with a socket that is given as systemd gives it.
"""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from backends.holder.__main__ import _parse as parse_holder
from support.callers import Callers
from support.service import ROOT, Service
from terminal_service.command import _parse as parse_service
from terminal_service.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.platform("linux")

UNITS = ROOT / "deploy" / "systemd"
SYSTEM = sorted(path for path in UNITS.glob("terminal-service*"))
USER = sorted((UNITS / "user").iterdir())
COMMANDS = ("ExecStart", "ExecStop", "ExecReload")
PYTHON = re.compile(r"[^\s=]+/\.venv/bin/python")
ACTIVATE = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")
os.execv(sys.argv[2], sys.argv[2:])
"""
END_SECONDS = 60.0


def settings_of(unit: Path) -> list[tuple[str, str]]:
    """Return the assignments of a unit file, in order."""
    lines = [line.strip() for line in unit.read_text(encoding="utf-8").splitlines()]
    pairs = [line.partition("=") for line in lines if line and line[0] not in "#;["]
    return [(name, value) for name, _, value in pairs]


def environment_of(unit: Path) -> dict[str, str]:
    """Return the variables a unit sets."""
    words = [word for name, value in settings_of(unit) if name == "Environment" for word in shlex.split(value)]
    return dict(word.split("=", 1) for word in words)


@pytest.mark.parametrize("units", [SYSTEM, USER], ids=["system", "user"])
def test_systemd_can_read_every_unit(tmp_path: Path, units: list[Path]) -> None:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("needs systemd-analyze")
    copies = []
    for unit in units:
        copies.append(tmp_path / unit.name)
        copies[-1].write_text(PYTHON.sub(sys.executable, unit.read_text()))  # it must be there, or that is an error
    where = ["--user"] if units is USER else []
    read = subprocess.run(
        [program, *where, "verify", "--man=no", *map(str, copies)],
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    ours = [line for line in read.stderr.splitlines() if "terminal-service" in line]
    assert (read.returncode, ours) == (0, []), read.stderr


@pytest.mark.parametrize("unit", [*SYSTEM, *USER], ids=lambda unit: f"{unit.parent.name}-{unit.name}")
def test_every_command_line_is_one_of_ours(unit: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = environment_of(unit)
    count = 0
    for name, value in settings_of(unit):
        if name not in COMMANDS:
            continue
        interpreter, option, module, *arguments = shlex.split(value)
        assert (bool(PYTHON.fullmatch(interpreter)), option) == (True, "-m")
        if module == "backends.holder":
            monkeypatch.setattr(sys, "argv", ["holder", *arguments])
            options = parse_holder()
            assert options.directory == environment["HOLDER"]
            assert options.foreground
            assert options.stay
        else:
            assert module == "terminal_service"
            parse_service(arguments)
        count += 1
    assert count or unit.suffix == ".socket"


@pytest.mark.parametrize("units", [SYSTEM, USER], ids=["system", "user"])
def test_both_units_mean_the_same_service(units: list[Path]) -> None:
    services = [unit for unit in units if unit.suffix == ".service"]
    variables = [environment_of(unit) for unit in services]
    assert len(variables) == 2
    assert variables[0] == variables[1]
    assert set(variables[0]) == {"STATE_DIR", "HOLDER"}
    known = {
        name: value.replace("%h", "/home/ann").replace("%t", "/run/user/7") for name, value in variables[0].items()
    }
    settings = Settings.from_environment(known)
    assert settings.holder_dir is not None
    for name in ("EnvironmentFile", "WorkingDirectory", "User"):
        assert len({dict(settings_of(unit)).get(name) for unit in services}) == 1, name


def test_the_socket_is_where_the_service_is_told_to_listen() -> None:
    listen = dict(settings_of(UNITS / "terminal-service.socket"))["ListenStream"]
    settings = Settings.from_environment({})
    assert listen == f"{settings.host}:{settings.port}"


class Activated(Service):
    """The service at a socket that somebody else has opened, given as systemd gives it (sd_listen_fds(3))."""

    def __init__(self, directory: Path, listener: socket.socket, **settings: str) -> None:
        prefix = (sys.executable, "-c", ACTIVATE, str(listener.fileno()))
        super().__init__(directory, prefix=prefix, headers=None, **settings)
        self._pass = (listener.fileno(),)


async def test_a_restart_refuses_nobody_where_systemd_keeps_the_port_open(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:
        address = listener.getsockname()
        service = Activated(tmp_path, listener, PORT=str(address[1]), STOP_SESSIONS_ON_EXIT="false")
        async with service:
            session = await service.create_session(command=["cat"])
            callers = Callers(address)
            async with callers.calling():
                for _ in range(2):
                    assert await service.stop() == 0
                    await service.start()
                    assert service.address == address
            assert callers.failures == []
            assert (await service.info(session["session_id"]))["pid"] == session["pid"]
            await service.delete(session["session_id"])
        with socket.create_connection(address):  # the socket is not ours to close
            pass


async def test_a_socket_elsewhere_than_the_settings_say_is_refused(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        service = Activated(tmp_path, listener, PORT="1")
        process = await asyncio.create_subprocess_exec(
            *service._command,
            cwd=ROOT,
            env=service._environment(),
            pass_fds=service._pass,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        async with asyncio.timeout(END_SECONDS):
            out, _ = await process.communicate()
        assert process.returncode == 2
        assert f"systemd listens on ('127.0.0.1', {listener.getsockname()[1]})" in out.decode()
