"""Files that hold a secret: read, and refused if others can read them too."""

from __future__ import annotations

import os
import stat

from backends.errors import AccessRefused

_LIMIT_BYTES = 1 << 20


def read_secret(path: str) -> bytes:
    """Return what is in a secret's file. May block. Raises AccessRefused, without anything of its content."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - the descriptor is needed
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise AccessRefused(f"{path} is no file")
            if is_exposed(status, os.geteuid()):
                raise AccessRefused(f"{path} can be read by other users: its mode must be 0600 or stricter")
            return file.read(_LIMIT_BYTES)
    except OSError as error:
        raise AccessRefused(f"{path} cannot be read: {error.strerror}") from None


def is_exposed(status: os.stat_result, user: int) -> bool:
    """Tell whether others can use the file.

    A group may read what belongs to somebody else: so it is where the system hands a secret to one group's service.
    """
    return bool(status.st_mode & (0o077 if status.st_uid == user else 0o027))
