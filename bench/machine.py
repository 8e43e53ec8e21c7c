"""Facts about the machine and the software a run was made with."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import subprocess
from pathlib import Path

import psutil

from bench.redis_server import find_program

PACKAGES = (
    "terminado",
    "tornado",
    "uvicorn",
    "uvloop",
    "picows",
    "httptools",
    "msgspec",
    "starlette",
    "ptyprocess",
    "redis",
    "asyncssh",
    "aiodocker",
    "aiohttp",
)


def facts() -> dict[str, object]:
    """Return what a reader needs to compare figures, and how busy the machine was before."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "kernel": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "load_before": [round(load, 2) for load in psutil.getloadavg()],
    }


def versions() -> dict[str, str]:
    """Return the versions of the packages and programs involved; "absent" where one is not installed."""
    found = {name: _version(name) for name in PACKAGES}
    found["ttyd"] = "absent"
    if shutil.which("ttyd"):
        said = subprocess.run(["ttyd", "--version"], capture_output=True, text=True, check=True, timeout=10)
        found["ttyd"] = said.stdout.strip().removeprefix("ttyd version ")
    program = find_program()
    found["redis-server"] = "absent"
    if program:
        said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True, timeout=10)
        found["redis-server"] = said.stdout.partition("v=")[2].partition(" ")[0]
    return found


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "absent"


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.exists():
        return platform.processor()
    names = [
        line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")
    ]
    return names[0] if names else platform.machine()
