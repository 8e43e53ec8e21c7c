"""The holder as one file: small, the same each time, and good for every Python from 3.8 on."""

from __future__ import annotations

import ast
import asyncio
import io
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import backends.holder
from backends.base import ExitStatus
from backends.holder.pack import main, pack
from support.far import Far, reached, run

MAX_BYTES = 64 * 1024
OLDEST, NEWEST = 8, 15
MODULES = sorted(name for name in zipfile.ZipFile(io.BytesIO(pack())).namelist() if re.match(r"backends/.*\.py", name))


def version_of(python: str) -> int:
    """Return the minor version of a Python 3; 0 if it cannot be run (a shim of a version that is not installed)."""
    asked = subprocess.run([python, "-c", "import sys; print(*sys.version_info[:2])"], capture_output=True, check=False)
    major, _, minor = asked.stdout.decode().partition(" ")
    return int(minor) if major == "3" and not asked.returncode else 0


def find_pythons() -> dict[int, str]:
    """Return one interpreter for each minor version that is on PATH or one of pyenv's."""
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    found: dict[int, str] = {}
    for minor in range(OLDEST, NEWEST + 1):
        places = [*sorted(map(str, root.glob(f"versions/3.{minor}.*/bin/python"))), shutil.which(f"python3.{minor}")]
        works = [place for place in places if place and version_of(place) == minor]
        if works:
            found[minor] = works[0]
    return found


PYTHONS = find_pythons()
VERSIONS = [
    pytest.param(minor, id=f"3.{minor}")
    for minor in range(OLDEST, NEWEST + 1)
    if minor in PYTHONS or minor <= sys.version_info.minor
]


def python_of(minor: int) -> str:
    if minor not in PYTHONS:
        pytest.skip(f"there is no Python 3.{minor} here")
    return PYTHONS[minor]


def test_it_is_small_and_the_same_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = pack()
    assert len(packed) <= MAX_BYTES
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    assert pack() == packed
    file = tmp_path / "holder.pyz"
    monkeypatch.setattr(sys, "argv", ["pack", str(file)])
    assert main() == 0
    assert file.read_bytes() == packed


def test_it_needs_the_standard_library_and_ptyprocess_alone() -> None:
    ours = Path(next(iter(backends.holder.__path__)))
    imported = {
        name
        for path in ours.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        for name in names_in(node)
    }
    assert {name.partition(".")[0] for name in imported} <= sys.stdlib_module_names | {"ptyprocess", "backends"}
    assert {name for name in imported if name.startswith("backends.")} == {
        name for name in imported if name.startswith("backends.holder")
    }


def names_in(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module or "."] if isinstance(node, ast.ImportFrom) else []


@pytest.mark.parametrize("minor", VERSIONS)
def test_every_module_is_good_for_every_python(minor: int, tmp_path: Path) -> None:
    file = tmp_path / "holder.pyz"
    file.write_bytes(pack())
    names = [name[: -len(".py")].replace("/", ".").replace(".__init__", "") for name in MODULES]
    script = f"import sys; sys.path.insert(0, {str(file)!r}); import " + ", ".join(names)
    done = subprocess.run(
        [python_of(minor), "-S", "-s", "-E", "-W", "error", "-c", script], capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()


@pytest.mark.parametrize("minor", VERSIONS)
async def test_it_runs_with_every_python(minor: int, tmp_path: Path) -> None:
    far = await asyncio.to_thread(Far, tmp_path, python_of(minor))
    async with reached(far) as link:
        terminal = await run(link, "echo ready; read line; stty size; exit $line")
        await terminal.sink.until(b"ready")
        await far.cut_and_return(link)
        terminal.pty.resize(33, 99)
        await terminal.type(b"17\n")
        assert await terminal.wait() == ExitStatus(code=17)
        assert b"33 99" in terminal.output
        left = await run(link, "trap '' HUP; sleep 1000")
        await left.pty.close(0.1)
        assert (await left.wait()).signal is not None
