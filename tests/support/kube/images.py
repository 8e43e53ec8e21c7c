"""The images of the test cluster, by name, and the file systems that containers get of them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

BUSYBOX = Path("/bin/busybox")
OF_HOST = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
PASSWORDS = "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n"
GROUPS = {1000: 1000, 65534: 65534}
"""The groups of the users that images know."""
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Image:
    """What a container starts from."""

    name: str
    command: Sequence[str] = ("/bin/sh",)
    environment: Mapping[str, str] = field(default_factory=dict)
    of_host: bool = False
    """Whether it has the programs and the Python of this machine, instead of busybox alone."""
    user: tuple[int, int] = (0, 0)

    def make_root(self, root: Path) -> list[tuple[str, str, bool]]:
        """Make a container's own files; return what is mounted beside them."""
        for name in ("dev", "proc", "etc", "root", "home/user", "tmp", "var/tmp", "usr/bin", "usr/local/bin", "run"):
            (root / name).mkdir(parents=True)
        (root / "tmp").chmod(0o1777)
        os.chown(root / "home/user", 1000, 1000)
        (root / "etc/passwd").write_text(PASSWORDS)
        (root / "etc/group").write_text("root:x:0:\ntty:x:5:\nuser:x:1000:\n")
        (root / "etc/hosts").write_text("127.0.0.1 localhost\n")
        if self.of_host:
            return _mounts_of_host(root)
        (root / "bin").mkdir()
        shutil.copy(BUSYBOX, root / "bin/busybox")
        for applet in applets():
            (root / "bin" / applet).symlink_to("/bin/busybox")
        return []


def _mounts_of_host(root: Path) -> list[tuple[str, str, bool]]:
    """Show this machine's programs and Python, read-only, at the places they have here."""
    mounts = []
    for name in OF_HOST:
        path = Path(name)
        if path.is_symlink():
            (root / name[1:]).symlink_to(path.readlink())
        elif path.is_dir():
            mounts.append((name, name, True))
    prefixes = [
        prefix
        for prefix in sorted({sys.prefix, sys.base_prefix})
        if not any(Path(prefix).is_relative_to(place) for place in OF_HOST)
    ]
    shared = [name for name in ("/etc/ld.so.cache", "/etc/localtime", "/etc/alternatives") if Path(name).exists()]
    mounts += [(prefix, prefix, True) for prefix in prefixes]
    return mounts + [(str(Path(name).resolve()), name, True) for name in shared]


@cache
def applets() -> list[str]:
    listed = subprocess.run([BUSYBOX, "--list"], check=True, capture_output=True, text=True)
    return [name for name in listed.stdout.split() if name != "busybox"]


def base_python() -> str:
    """Return the Python that runs the tests, without any environment's packages."""
    found = Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"
    return str(found if found.exists() else Path(sys.executable).resolve())


PYTHON_PATH = f"{Path(base_python()).parent}:{PATH}"
IMAGES = {
    image.name: image
    for image in (
        Image("busybox"),
        Image("python", (base_python(),), {"PATH": PYTHON_PATH, "LANG": "C.UTF-8"}, of_host=True),
        Image("tools", ("/bin/bash",), {"PATH": PYTHON_PATH, "LANG": "C.UTF-8"}, of_host=True),
        Image("nonroot", user=(1000, 1000)),
    )
}


def image_of(reference: str) -> Image | None:
    """Find an image by what pods call it: `busybox`, `docker.io/library/busybox:1.36`."""
    return IMAGES.get(reference.rpartition("/")[2].partition("@")[0].partition(":")[0])
