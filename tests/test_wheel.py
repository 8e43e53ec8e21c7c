"""What is built is what is in the checkout: the wheel, installed alone, holds every module."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PACKAGES = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]

# Runs in the environment of the wheel: import every module, tell where it came from and who else provides it.
IMPORT_ALL = """
import importlib, importlib.metadata, json, pkgutil, sys
files = {}
for package in sys.argv[1:]:
    root = importlib.import_module(package)
    files[package] = root.__file__
    for module in pkgutil.walk_packages(root.__path__, package + "."):
        files[module.name] = importlib.import_module(module.name).__file__
providers = importlib.metadata.packages_distributions()
print(json.dumps({"files": files, "providers": {package: providers.get(package) for package in sys.argv[1:]}}))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("wheel")
    run([sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(directory)], cwd=ROOT)
    (built,) = directory.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel alone into an environment of its own; return that environment."""
    directory = tmp_path_factory.mktemp("environment")
    venv.create(directory, with_pip=False, symlinks=os.name != "nt")
    install = ["pip", "--python", str(python_of(directory)), "install", "--quiet", "--no-deps", "--no-index"]
    run([sys.executable, "-m", *install, "--disable-pip-version-check", str(wheel)], cwd=directory)
    return directory


def python_of(environment: Path) -> Path:
    return environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def run(command: list[str], *, cwd: Path, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_the_wheel_holds_every_file_of_the_four_packages(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    on_disk = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert packed == on_disk
    assert set(PACKAGES) == {"terminal_service", "transports", "nodes", "replay", "backends"}


def test_every_module_of_the_installed_wheel_imports_and_nobody_else_provides_it(installed: Path) -> None:
    # The dependencies come from this environment, the four packages from the wheel's, which stands before it.
    own = sysconfig.get_path("purelib", vars={"base": str(installed), "platbase": str(installed)})
    path = os.pathsep.join([own, sysconfig.get_path("purelib"), sysconfig.get_path("platlib")])
    env = {**os.environ, "PYTHONPATH": path, "PYTHONSAFEPATH": "1"}
    told = json.loads(run([str(python_of(installed)), "-c", IMPORT_ALL, *PACKAGES], cwd=installed, env=env))
    elsewhere = {name: file for name, file in told["files"].items() if not Path(file).is_relative_to(installed)}
    assert not elsewhere
    assert {name: set(providers) for name, providers in told["providers"].items()} == {
        package: {"terminal-service"} for package in PACKAGES
    }
