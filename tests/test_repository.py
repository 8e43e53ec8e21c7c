"""What must hold for the repository itself: its files, its locks, its layers."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PACKAGES = PROJECT["tool"]["importlinter"]["root_packages"]
LIMIT_BYTES = 1_000_000

# Written in parts, so that this file does not hold what it looks for.
HOSTS = [
    ".".join(parts)
    for parts in [("pypi", "org"), ("pythonhosted", "org"), ("npmjs", "org"), ("npmjs", "com"), ("debian", "org")]
]

# For each contract one import that breaks it, appended to a module of a copy of the packages.
BREACHES = {
    "Ways in stand above the log and the backends, which do not know each other": (
        "replay/log.py",
        "import backends.base",
    ),
    "Nodes meet where logs are kept, and know no backend": ("replay/log.py", "import nodes.base"),
    "The log, the backends and the nodes know nothing above them": ("backends/base.py", "import terminal_service"),
    "Only the composition root knows the ways in": ("terminal_service/sessions.py", "import transports.channel"),
    "Only the program imports the composition root": ("transports/channel.py", "import terminal_service.app"),
    "Only the composition root names a concrete backend": ("transports/http.py", "import backends.echo"),
    "Only the composition root names a concrete store": ("terminal_service/terminal.py", "import replay.memory"),
    "Only the Redis store and the nodes speak to Redis": ("terminal_service/sessions.py", "import redis"),
    "Adapters do not know each other": ("backends/posix.py", "import backends.echo"),
    "Each library of a backend stays behind its adapter": ("terminal_service/sessions.py", "import asyncssh"),
    "ASGI lives in transports only": ("terminal_service/sessions.py", "import starlette"),
    "Platform PTY libraries stay behind their adapter": ("replay/log.py", "import ptyprocess"),
    "The holder stands alone: it runs on other machines too": ("backends/holder/ring.py", "import backends.base"),
}


def tracked_files() -> list[Path]:
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("needs git and a git checkout")
    listed = subprocess.run(
        [git, "-c", f"safe.directory={ROOT}", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True
    ).stdout
    files = [ROOT / name for name in listed.decode().split("\0") if name]
    return [file for file in files if file.is_file()]


def test_no_tracked_file_is_large() -> None:
    large = {file.name: file.stat().st_size for file in tracked_files() if file.stat().st_size > LIMIT_BYTES}
    assert not large


def test_no_tracked_file_names_a_package_registry() -> None:
    pattern = re.compile("|".join(re.escape(host) for host in HOSTS).encode())
    naming = [str(file.relative_to(ROOT)) for file in tracked_files() if pattern.search(file.read_bytes())]
    assert not naming


def pinned(name: str) -> dict[str, Requirement]:
    """Read a requirements file: every entry is `name==version [; marker]` with at least one hash."""
    text = (ROOT / "requirements" / name).read_text().replace("\\\n", " ")
    entries = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    found: dict[str, Requirement] = {}
    for entry in entries:
        specification, *hashes = entry.split("--hash=")
        assert hashes, f"{specification} has no hash"
        assert all(re.fullmatch("sha256:[0-9a-f]{64}", digest.strip()) for digest in hashes), specification
        requirement = Requirement(specification)
        assert re.fullmatch("==[^*,]+", str(requirement.specifier)), specification
        found[canonicalize_name(requirement.name)] = requirement
    return found


@pytest.mark.parametrize(
    ("name", "declared"),
    [
        ("base.txt", PROJECT["project"]["dependencies"]),
        ("dev.txt", PROJECT["project"]["dependencies"] + PROJECT["dependency-groups"]["dev"]),
    ],
)
def test_every_declared_dependency_is_pinned_with_hashes(name: str, declared: list[str]) -> None:
    pins = pinned(name)
    for requirement in map(Requirement, declared):
        pin = pins.get(canonicalize_name(requirement.name))
        assert pin is not None, f"{requirement} is not in {name}: run `make lock`"
        version = str(pin.specifier).removeprefix("==")
        assert requirement.specifier.contains(version, prereleases=True), f"{pin} is not {requirement}: run `make lock`"


def test_tests_run_with_the_versions_the_service_runs_with() -> None:
    base, dev = pinned("base.txt"), pinned("dev.txt")
    assert {name: str(pin.specifier) for name, pin in base.items()} == {name: str(dev[name].specifier) for name in base}


def test_every_dependency_has_its_reason() -> None:
    reasons = (ROOT / "docs" / "dependencies.md").read_text()
    declared = PROJECT["project"]["dependencies"] + PROJECT["dependency-groups"]["dev"]
    missing = {name for name in (Requirement(line).name for line in declared) if f"| {name} |" not in reasons}
    assert not missing


def test_every_contract_is_broken_by_a_breach(tmp_path: Path) -> None:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    needed = ["terminal_service/app.py", "backends/posix.py", "backends/echo.py", "replay/memory.py"]
    for path in [*needed, *(path for path, _ in BREACHES.values())]:
        (tmp_path / path).touch()
    for path, line in BREACHES.values():
        with (tmp_path / path).open("a") as module:
            module.write(f"\n{line}\n")
    linted = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as main; main()", "--no-logo"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    broken = set(re.findall(r"^(.+?) BROKEN", linted.stdout, flags=re.MULTILINE))
    assert broken == set(BREACHES) == {contract["name"] for contract in PROJECT["tool"]["importlinter"]["contracts"]}
    assert linted.returncode == 1
