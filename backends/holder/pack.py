"""Pack the holder as one file that any Python >= 3.8 runs: `python -m backends.holder.pack FILE`.

It is a zip file with a first line for the system, as the standard library's `zipapp` makes them (PEP 441). That
writes the times of files and the order of directories into it, so it is not used: the same code gives the same bytes.
"""

from __future__ import annotations

import io
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import ptyprocess

import backends

_FIRST_LINE = b"#!/usr/bin/env python3\n"
_MAIN = """\
import sys

from backends.holder.__main__ import main

sys.exit(main())
"""
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the first that a zip file knows
_LEFT_OUT = {"pack.py", "boot.py"}


def pack() -> bytes:
    """Return the file."""
    archive = io.BytesIO()
    archive.write(_FIRST_LINE)
    with zipfile.ZipFile(archive, "a", zipfile.ZIP_DEFLATED, compresslevel=9) as packed:
        for name, text in sorted(_contents().items()):
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.create_system = 3  # Unix, wherever this runs
            entry.external_attr = 0o100644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            packed.writestr(entry, text, compresslevel=9)
    return archive.getvalue()


def _contents() -> dict[str, str]:
    """Return what is in it: the holder, ptyprocess with its licence, and where to begin."""
    ours, theirs = (Path(next(iter(module.__path__))) for module in (backends, ptyprocess))
    files = {ours / "__init__.py": "backends/__init__.py"}
    files.update({path: f"backends/holder/{path.name}" for path in (ours / "holder").glob("*.py")})
    files.update({path: f"ptyprocess/{path.name}" for path in theirs.glob("*.py")})
    found = {name: path.read_text("utf-8") for path, name in files.items() if path.name not in _LEFT_OUT}
    licences = [file for file in metadata.files("ptyprocess") or () if file.name.startswith("LICENSE")]
    return {**found, **{f"ptyprocess/{file.name}": file.read_text("utf-8") for file in licences}, "__main__.py": _MAIN}


def main() -> int:
    """Write the file and tell its size; return the exit code."""
    if len(sys.argv) != 2:  # noqa: PLR2004 - itself and the file
        sys.stderr.write("usage: python -m backends.holder.pack FILE\n")
        return 2
    packed = pack()
    Path(sys.argv[1]).write_bytes(packed)
    sys.stdout.write(f"{sys.argv[1]}: {len(packed)} bytes\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
