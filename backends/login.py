"""Another user of this machine as a program of theirs sees it: from the user database, nothing of this process's."""

from __future__ import annotations

import os
import pwd
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from backends.environment import posix_base
from backends.errors import UserRefused

if TYPE_CHECKING:
    from collections.abc import Mapping

_SHARED = frozenset({"PATH", "LANG", "LANGUAGE", "TZ"})
_SHARED_PREFIX = "LC_"
"""What says something about the machine, not about the user this process runs as."""

_RUNTIME_DIRECTORIES = Path("/run/user")
_ROOT = "root"


class Login(NamedTuple):
    """An entry of the user database."""

    name: str
    uid: int
    home: str
    shell: str


def find_login(user: str) -> Login:
    """Return the entry of a user. May block (it may be in a directory service). Raises UserRefused."""
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        raise UserRefused(user, "there is no such user on this machine") from None
    if entry.pw_uid == 0 and user != _ROOT:
        raise UserRefused(user, "it is another name of root")
    return Login(entry.pw_name, entry.pw_uid, entry.pw_dir, entry.pw_shell)


def login_environment(base: Mapping[str, str], login: Login) -> dict[str, str]:
    """Return the environment that programs of this user begin with; `base` is that of this process's user."""
    shared = {name: value for name, value in base.items() if name in _SHARED or name.startswith(_SHARED_PREFIX)}
    environment = posix_base(shared, user=login.name, home=login.home, shell=login.shell)
    runtime = _RUNTIME_DIRECTORIES / str(login.uid)
    try:
        if os.stat(runtime).st_uid == login.uid:  # noqa: PTH116 - as everywhere in the checks
            environment["XDG_RUNTIME_DIR"] = str(runtime)
    except OSError:
        pass  # nobody made one for them: they are not logged in otherwise
    return environment
