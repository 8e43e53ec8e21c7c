"""What an owner on another machine asks about this one before it starts a program here."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence


def look(words: Sequence[str], path: str, cwd: str) -> dict[str, Any]:
    """Return for each word the absolute path of the file that execvp(3) would execute, or why there is none.

    `directory` is why nobody can enter the working directory, or 0.
    """
    return {"files": {word: _find(word, path, cwd) for word in words}, "directory": _closed(cwd)}


def _closed(directory: str) -> int:
    try:
        if not stat.S_ISDIR(os.stat(directory).st_mode):
            return errno.ENOTDIR
    except OSError as error:
        return error.errno or errno.ENOENT
    return 0 if os.access(directory, os.X_OK) else errno.EACCES


def _find(word: str, path: str, cwd: str) -> dict[str, Any]:
    directories = [""] if "/" in word else path.split(os.pathsep)
    found = errno.ENOENT
    for directory in directories:
        file = os.path.join(cwd, directory, word)  # an empty element is the working directory
        number = _trouble(file)
        if not number:
            return {"file": file}
        if number == errno.EACCES or "/" in word:
            found = number
    return {"errno": found}


def _trouble(file: str) -> int:
    try:
        os.stat(file)
    except OSError as error:
        return error.errno or errno.ENOENT
    if os.path.isdir(file):
        return errno.EISDIR
    return 0 if os.access(file, os.X_OK) else errno.EACCES
