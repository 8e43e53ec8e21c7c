"""Files with secrets: read only where nobody else can read them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from backends.base import AccessRefused


def check_private(path: str, field: str) -> None:
    """Raise AccessRefused if others can read the file of this field, or we cannot. Blocks."""
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116 - a path as it was written
    except OSError as error:
        raise AccessRefused(f"{field}: {path}: {os.strerror(error.errno or 0)}") from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise AccessRefused(f"{field}: {path} can be read by others: chmod 600 it")


def read_secret(path: str, field: str) -> str:
    """Return what the file has, without the end of its line. Raises AccessRefused. Blocks."""
    check_private(path, field)
    try:
        return Path(path).read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise AccessRefused(f"{field}: {path} cannot be read: {type(error).__name__}") from None
