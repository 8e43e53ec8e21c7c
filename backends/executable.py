"""From the first word of a command to a file that can be executed, or the reason why there is none."""

# exec takes a path as it is written; Path would normalise it.
# ruff: noqa: PTH112, PTH113, PTH116, PTH118

from __future__ import annotations

import errno
import os
from dataclasses import dataclass

NOT_FOUND = 127
NOT_EXECUTABLE = 126
"""POSIX.1-2024, Shell Command Language 2.8.2: 127 command not found, 126 found but not executable."""


@dataclass(eq=False)
class CannotExecute(Exception):
    """A command cannot be executed: the exit code a shell would report, and one line why."""

    code: int
    reason: str

    def __str__(self) -> str:
        """Give the one line."""
        return self.reason


def find_executable(word: str, *, path: str, cwd: str) -> str:
    """Return the absolute path that `word` means to a child with this PATH and working directory.

    Looks at the file system, so it may block. Raises CannotExecute.
    """
    if "/" in word:
        return _check(word, os.path.join(cwd, word))
    forbidden = None
    for directory in path.split(os.pathsep):
        candidate = os.path.join(cwd, directory, word)  # an empty element is the working directory
        if os.path.isfile(candidate):
            if os.access(candidate, os.X_OK):
                return candidate
            forbidden = candidate
    if forbidden is not None:
        raise _cannot(word, errno.EACCES)
    raise _no_command(word)


def _check(word: str, candidate: str) -> str:
    try:
        os.stat(candidate)
    except OSError as error:
        raise _cannot(word, error.errno or errno.ENOENT) from None
    if os.path.isdir(candidate):
        raise _cannot(word, errno.EISDIR)
    if not os.access(candidate, os.X_OK):
        raise _cannot(word, errno.EACCES)
    return candidate


def exec_failed(word: str, number: int, *, found: bool) -> CannotExecute:
    """Return what execve having failed with errno `number` means for the command `word`; `found`: the file is there."""
    if number == errno.ENOENT and found:
        return CannotExecute(NOT_EXECUTABLE, f"{printable(word)}: bad interpreter: {os.strerror(number)}")
    if number == errno.ENOENT and "/" not in word:
        return _no_command(word)
    return _cannot(word, number)


def printable(text: str) -> str:
    """Return `text` fit for one line on a terminal."""
    return "".join(character if character.isprintable() else "\ufffd" for character in text)


def _no_command(word: str) -> CannotExecute:
    return CannotExecute(NOT_FOUND, f"{printable(word)}: command not found")


def _cannot(word: str, number: int) -> CannotExecute:
    missing = number in {errno.ENOENT, errno.ENOTDIR}
    return CannotExecute(NOT_FOUND if missing else NOT_EXECUTABLE, f"{printable(word)}: {os.strerror(number)}")
