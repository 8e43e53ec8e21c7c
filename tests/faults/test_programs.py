"""Programs that cannot be started, and how that is told: 422 with the field, or 126 and 127 with the reason."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from support.service import Service

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

SESSIONS = "/api/v1/sessions"


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    async with Service(tmp_path) as service:
        yield service
        assert (await service.http.get("/health")).status_code == 200
        assert "Traceback" not in service.log()


async def refused(service: Service, **fields: Any) -> list[str]:
    """Ask for a session that cannot be; return the fields that are named."""
    text = json.dumps(fields)  # which can say half a surrogate pair
    answer = await service.http.post(SESSIONS, content=text, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422, (text, answer.text)
    problem = answer.json()
    assert problem["code"] == "invalid_request"
    assert all(error["message"] for error in problem["errors"])
    return [error["field"] for error in problem["errors"]]


async def test_what_no_system_can_be_passed_is_refused_with_the_field(service: Service, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    wrong: list[tuple[str, dict[str, Any]]] = [
        ("env", {"env": {"A": "nul\0"}}),
        ("env", {"env": {"nul\0": "a"}}),
        ("env", {"env": {"A=B": "a"}}),
        ("env", {"env": {"": "a"}}),
        ("env", {"env": {"A": 1}}),
        ("env", {"env": {"A": "\ud800"}}),
        ("env", {"env": {"\ud800": "a"}}),
        ("env", {"env": ["A=1"]}),
        ("cwd", {"cwd": "/no/such/directory"}),
        ("cwd", {"cwd": str(file)}),
        ("cwd", {"cwd": "a\0b"}),
        ("cwd", {"cwd": "x" * 5000}),
        ("cwd", {"cwd": "/" + "x" * 300}),
        ("command", {"command": []}),
        ("command", {"command": [""]}),
        ("command", {"command": ["a\0b"]}),
        ("command", {"command": ["echo", "\ud800"]}),
        ("command", {"command": "echo"}),
        ("command", {"command": ["echo", "x" * 200_000]}),
        ("command", {"command": ["echo"] * 10_000}),
        ("shell", {"shell": "no-such-shell"}),
        ("shell", {"shell": "/bin/sh"}),
        ("shell", {"shell": ""}),
        ("shell", {"shell": "sh\0"}),
        ("rows", {"rows": 0}),
        ("rows", {"rows": 10**6}),
        ("rows", {"rows": "many"}),
        ("cols", {"cols": -1}),
        ("cols", {"cols": 1.5}),
        ("ttl_seconds", {"ttl_seconds": -1}),
        ("ttl_seconds", {"ttl_seconds": 1e300}),
        ("retention_bytes", {"retention_bytes": 1 << 62}),
        ("backend", {"backend": "moon"}),
        ("nonsense", {"nonsense": 1}),
    ]
    for field, fields in wrong:
        named = await refused(service, **fields)
        assert any(each.partition("[")[0].partition(".")[0] == field for each in named), (fields, named)
    assert (await service.http.get(SESSIONS, params={"state": "all"})).json() == []
    assert list((service.state / "sessions").iterdir()) == []


async def test_a_command_that_cannot_be_executed_is_told_in_the_output_and_at_the_end(
    service: Service, tmp_path: Path
) -> None:
    def make(name: str, text: bytes, mode: int = 0o755) -> str:
        (tmp_path / name).write_bytes(text)
        (tmp_path / name).chmod(mode)
        return str(tmp_path / name)

    (tmp_path / "loop").symlink_to("loop")
    not_found: dict[str, str] = {
        "no-such-command-anywhere": "command not found",
        str(tmp_path / "missing"): "No such file or directory",
        str(tmp_path / "file" / "below"): "Not a directory",
    }
    make("file", b"", 0o644)
    found: dict[str, str] = {
        make("plain", b"#!/bin/sh\nexit 0\n", 0o644): "Permission denied",
        str(tmp_path): "Is a directory",
        make("interpreter", b"#!/no/such/interpreter\n"): "bad interpreter",
        make("binary", b"\x00\x01\x02\x03" * 100): "Exec format error",
        str(tmp_path / "loop"): "symbolic links",
    }
    for code, commands in ((127, not_found), (126, found)):
        for command, reason in commands.items():
            session = (await service.create_session(command=[command, "argument"]))["session_id"]
            async with service.client(session) as client:
                ended = await client.wait_ended()
            assert ended["exit_code"] == code, (command, ended)
            assert reason in ended["message"], (command, ended)
            assert command in ended["message"]
            assert client.data == ended["message"].encode() + b"\r\n"
            info = await service.info(session)
            assert (info["state"], info["exit_code"], info["pid"]) == ("ended", code, None)
            assert await service.output(session) == client.data
    script = make("script", b"echo no first line; exit 5\n")  # as execvp(3), a text without #! is the shell's
    session = (await service.create_session(command=[script]))["session_id"]
    async with service.client(session) as client:
        assert (await client.wait_ended())["exit_code"] == 5
    assert client.data == b"no first line\r\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a service that is not root")
async def test_a_directory_that_may_not_be_entered_is_refused(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    os.chown(closed, 65534, 65534)
    # Still root, without the power to pass by permissions.
    prefix = ("setpriv", "--bounding-set", "-dac_override,-dac_read_search")
    async with Service(tmp_path, prefix=prefix) as service:
        answer = await service.http.post(SESSIONS, json={"cwd": str(closed)})
        assert answer.status_code == 422
        (error,) = answer.json()["errors"]
        assert error["field"] == "cwd"
        assert "Permission denied" in error["message"]


async def test_an_end_by_a_signal_is_named(service: Service) -> None:
    for number, name in enumerate(("TERM", "KILL", "SEGV", "HUP", "USR1")):
        script = f"echo last words; kill -{name} $$"
        session = (await service.create_session(command=["sh", "-c", script]))["session_id"]
        async with service.client(session, encoding=("msgpack", "json", "raw")[number % 3]) as client:
            ended = await client.wait_ended()
        assert client.data == b"last words\r\n"
        assert (ended["exit_code"], ended["signal"]) == (None, f"SIG{name}")
        info = await service.info(session)
        assert (info["state"], info["exit_code"], info["signal"]) == ("ended", None, f"SIG{name}")
