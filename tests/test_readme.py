"""What README.md tells a newcomer to type works as written; only the address is another."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from support.service import ROOT, Service

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.platform("linux", "darwin")

README = (ROOT / "README.md").read_text(encoding="utf-8")
WRITTEN_ADDRESS = re.compile(r"(?:127\.0\.0\.1|localhost):8081")
POSITION = re.compile(rb"\nposition (\d+)\n\Z")
SECONDS = 30


def section(title: str) -> str:
    """Return a section of the README, without what it has in fences."""
    found = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", README, re.MULTILINE | re.DOTALL)
    assert found, f"no section {title}"
    return re.sub(r"^```.*?^```\n", "", found[1], flags=re.MULTILINE | re.DOTALL)


def commands(title: str) -> list[str]:
    """Return the indented lines of a section: what is to be typed."""
    return re.findall(r"^    (\S.*)$", section(title), re.MULTILINE)


def python_example() -> str:
    [example] = re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    return str(example)


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    # A home of its own: a newcomer's machine, whatever the profile of whoever runs this does.
    async with Service(tmp_path, HOME=str(tmp_path)) as service:
        yield service


class Typed:
    """Commands of the README, each run by sh as it stands there."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self.session_id = ""

    async def start(self, line: str) -> asyncio.subprocess.Process:
        """Start a command."""
        host, port = self._service.address
        line, changes = WRITTEN_ADDRESS.subn(f"{host}:{port}", line)
        assert changes == 1, f"which service is this for? {line}"
        return await asyncio.create_subprocess_exec(
            "sh",
            "-c",
            "exec " + line,
            env={"PATH": os.environ["PATH"], "ID": self.session_id, "no_proxy": "*"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    async def run(self, line: str) -> bytes:
        """Run a command to its end; return what it printed."""
        process = await self.start(line)
        async with asyncio.timeout(SECONDS):
            out, err = await process.communicate()
        assert (process.returncode, err) == (0, b""), line
        return out


async def test_every_curl_command_does_what_its_sentence_says(service: Service) -> None:
    create, show, type_, read, follow, end = (line for line in commands("Use") if line.startswith("curl "))
    typed = Typed(service)
    session = json.loads(await typed.run(create))
    typed.session_id = session["session_id"]
    assert session["shell"] == "bash"
    assert [each["session_id"] for each in json.loads(await typed.run(show))] == [typed.session_id]

    following = await typed.start(follow)
    try:
        assert following.stdout is not None
        assert json.loads(await typed.run(type_))["bytes"] == 3
        async with asyncio.timeout(SECONDS):
            followed = await following.stdout.readuntil(b"ls")
        assert (await typed.run(read)).startswith(followed)  # what a viewer has, the log has
        assert await typed.run(end) == b""
        async with asyncio.timeout(SECONDS):
            rest, _ = await following.communicate()  # the end of the session is the end of the stream
        assert followed + rest == await service.output(typed.session_id)
    finally:
        if following.returncode is None:
            following.kill()
            await following.communicate()
    assert (await service.info(typed.session_id))["state"] == "ended"


async def test_the_python_example_comes_back_at_exactly_that_byte(service: Service, tmp_path: Path) -> None:
    program = tmp_path / "attach.py"
    text, changes = WRITTEN_ADDRESS.subn("{}:{}".format(*service.address), python_example())
    assert changes == 1
    program.write_text(text)
    session_id = (await service.create_session(shell="bash"))["session_id"]
    seen = b""
    arguments: list[str] = []
    for _ in range(2):
        shown = await _show_until(program, session_id, *arguments, wanted=b"load average")
        position = POSITION.search(shown)
        assert position, shown
        arguments = [position[1].decode()]
        seen += shown[: position.start()]
        assert len(seen) == int(arguments[0])
    assert (await service.output(session_id)).startswith(seen)


async def _show_until(program: Path, *arguments: str, wanted: bytes) -> bytes:
    """Run the example until it has shown `wanted`, stop it with Ctrl-C, and return all that it showed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(program),
        *arguments,
        env={"PATH": os.environ["PATH"], "no_proxy": "*"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(SECONDS):
            shown = await process.stdout.readuntil(wanted)
            process.send_signal(signal.SIGINT)
            rest, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()
    assert errors == b""
    return shown + rest


def test_every_make_target_and_path_that_is_named_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    named = set(re.findall(r"\bmake ([a-z]+)", "\n".join([*commands("Start"), *commands("Work on it")])))
    assert named
    assert named <= targets
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    paths = [path for line in commands("Work on it") for path in re.findall(r"(?<!\S)[\w.]+(?:/|\.py)(?!\S)", line)]
    assert links
    assert len(paths) > 5
    assert [path for path in [*links, *paths] if not (ROOT / path).exists()] == []


def test_every_setting_that_is_named_exists() -> None:
    known = (ROOT / ".env.example").read_text(encoding="utf-8")
    named = set(re.findall(r"`([A-Z]+(?:_[A-Z]+)+)(?:=[^`]*)?`", README))
    assert named
    assert [name for name in named if f"\n{name}=" not in known] == []
