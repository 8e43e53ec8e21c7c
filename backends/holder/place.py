"""What an owner on another machine asks about this one before it starts a program here."""

from __future__ import annotations

import errno
import os
import pwd
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence


def describe(names: Sequence[str]) -> dict[str, Any]:
    """Return who this is and the named variables of the environment; `LC_*` names a prefix."""
    prefixes = tuple(name[:-1] for name in names if name.endswith("*"))
    wanted = {name for name in os.environ if name in names or (prefixes and name.startswith(prefixes))}  # noqa: TID251
    try:
        user = pwd.getpwuid(os.geteuid())
        entry = {"user": user.pw_name, "home": user.pw_dir, "shell": user.pw_shell}
    except KeyError:  # in a container with any number as its user
        entry = {"user": str(os.geteuid()), "home": "/", "shell": "/bin/sh"}
    return {
        **entry,
        "environment": {name: os.environ[name] for name in wanted},  # noqa: TID251 - of the login here
        "host": os.uname().nodename,
        "system": sys.platform,
    }


def look(words: Sequence[str], path: str, cwd: str) -> dict[str, Any]:
    """Return for each word the absolute path of the file that execvp(3) would execute, or why there is none."""
    return {word: _find(word, path, cwd) for word in words}


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
