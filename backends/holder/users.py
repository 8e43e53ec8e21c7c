"""Programs as other users of this machine: who may be asked for, and how the child of a fork becomes one.

A holder that root runs for a service of another user is a boundary: whoever has taken the service over can ask it
for anything. So it has a list of users (`RunAs`) and starts programs as nobody else, and all that a request names (a
program, a directory) is looked for by the child, after it has become that user: with the user's rights, never root's.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_GROUP = "@"


class NotAllowed(Exception):
    """No program may run as this user; the message is why."""


class RunAs:
    """The users that programs may run as."""

    def __init__(self, text: str) -> None:
        """Take names, comma separated; `@name` is a group: its members, but never uid 0. Raises ValueError."""
        words = [word.strip() for word in text.split(",") if word.strip()]
        self._names = frozenset(word for word in words if not word.startswith(_GROUP))
        self._groups = frozenset(word[len(_GROUP) :] for word in words if word.startswith(_GROUP))
        if not words or "" in self._groups:
            raise ValueError(text)

    def check(self, user: str | None) -> None:
        """Raise NotAllowed unless a program may run as `user` (None: as whoever runs the holder)."""
        name = own_name() if user is None else user
        if name not in self._names and not self._is_member(name):
            raise NotAllowed(f"this holder runs no programs as {name!r}")

    def _is_member(self, name: str) -> bool:
        import grp  # noqa: PLC0415 - few holders need it
        import pwd  # noqa: PLC0415

        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            return False
        for group in self._groups if entry.pw_uid else ():
            try:
                found = grp.getgrnam(group)
            except KeyError:
                continue
            if found.gr_gid == entry.pw_gid or name in found.gr_mem:
                return True
        return False


def own_name() -> str:
    """Return the name of the user of this process; its number if it has none."""
    import pwd  # noqa: PLC0415

    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def open_to_others(path: str, writers: int = stat.S_IWGRP | stat.S_IWOTH) -> str | None:
    """Return the part of a path that others than root and this user could put something else in the place of."""
    path = os.path.realpath(path)
    while True:
        if os.path.exists(path):
            status = os.stat(path)
            is_open = status.st_mode & writers and not status.st_mode & stat.S_ISVTX
            if is_open or status.st_uid not in (0, os.geteuid()):
                return path
        if path == os.path.dirname(path):
            return None
        path = os.path.dirname(path)


def open_code() -> str | None:
    """Return the part of this program that others could change; a group may (Debian's is `staff`)."""
    import ptyprocess  # noqa: PLC0415

    places = (
        open_to_others(file, stat.S_IWOTH) for file in (__file__, ptyprocess.__file__, os.__file__, sys.executable)
    )
    return next(filter(None, places), None)


# -- in the child, between fork and exec


def become(user: str) -> None:
    """Give up every right but those of `user`; standard input, the terminal, is theirs then. Raises NotAllowed."""
    import pwd  # noqa: PLC0415

    if os.geteuid() != 0:  # one with capabilities alone would hand them down: only root's go with the uid
        raise NotAllowed("it takes a holder that root runs")
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        raise NotAllowed(f"there is no user {user!r} on this machine") from None
    try:
        os.fchown(0, entry.pw_uid, -1)
        os.initgroups(entry.pw_name, entry.pw_gid)
        os.setgid(entry.pw_gid)
        os.setuid(entry.pw_uid)
    except OSError as error:
        raise NotAllowed(f"cannot become {user!r}: {os.strerror(error.errno or errno.EPERM)}") from None


def execute(word: str, arguments: Sequence[str], env: Mapping[str, str], cwd: str) -> NoReturn:
    """Do what execvp(3) does: look for `word` in PATH, and give a script without an interpreter to the shell.

    argv[0] is the path of the file. Raises OSError; its `filename` is the file that is there, if one is.
    """
    directories = [""] if "/" in word else env.get("PATH", "").split(os.pathsep)
    failed = OSError(errno.ENOENT, os.strerror(errno.ENOENT))
    for directory in directories:
        file = os.path.join(cwd, directory, word)  # an empty element is the working directory
        if "/" not in word and not os.path.isfile(file):
            continue
        try:
            _execute_file(file, arguments, env)
        except OSError as error:
            failed = OSError(error.errno, os.strerror(error.errno or 0), file if os.path.exists(file) else None)
        if failed.errno != errno.EACCES:
            break
    raise failed


def _execute_file(file: str, arguments: Sequence[str], env: Mapping[str, str]) -> NoReturn:
    try:
        os.execve(file, [file, *arguments], env)  # noqa: S606 - what was asked for, by whom it was asked for
    except OSError as error:
        if error.errno != errno.ENOEXEC or not is_text(file):
            raise
    os.execve("/bin/sh", ["/bin/sh", file, *arguments], env)  # noqa: S606


def is_text(file: str) -> bool:
    """Tell whether a file that `execve` refuses as ENOEXEC is a script without `#!`, to be run by the shell.

    No NUL byte before the first line's end is the test POSIX gives for a text file in this place.
    """
    try:
        with open(file, "rb") as stream:
            return b"\0" not in stream.readline(1024)
    except OSError:
        return False  # executable but not readable: no shell could read it either
