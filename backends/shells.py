"""The shells that can be asked for by name on a POSIX system, and how each is started."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backends.errors import ShellNotFound
from backends.executable import CannotExecute, find_executable

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

# bash and zsh are started as login shells because nobody else has read the user's profile before them; fish
# reads its configuration anyway; a login sh would be `sh -l`, which is not in POSIX (yash and old ash refuse it).
# Profiles set PATH (Debian's /etc/profile from nothing), so whoever is given a PATH gets a shell that reads none.
_LOGIN = "--login"
_ARGUMENTS: Mapping[str, tuple[str, ...]] = {
    "bash": (_LOGIN,),
    "zsh": (_LOGIN,),
    "fish": (),
    "sh": (),
    "pwsh": ("-NoLogo",),
}
SHELLS = tuple(_ARGUMENTS)
"""The names of those that are known."""

_ALIASES = {"powershell": "pwsh"}


def available_shells(environment: Mapping[str, str]) -> list[str]:
    """Return the names on this environment's PATH, the user's own shell first. Looks at the file system."""
    return sorted_shells([file for file in shell_files() if _find(file, environment)], environment)


def shell_files() -> list[str]:
    """Return the words by which shells are found on a PATH."""
    return list(_ARGUMENTS)


def sorted_shells(files: Collection[str], environment: Mapping[str, str]) -> list[str]:
    """Return the names that stand for these files, of those there are, the user's own shell first."""
    own = environment.get("SHELL", "").rpartition("/")[2]
    names = [name for name in (*_ARGUMENTS, *_ALIASES) if _ALIASES.get(name, name) in files]
    return sorted(names, key=lambda name: name != own)


def shell_command(name: str | None, environment: Mapping[str, str], *, keeps_path: bool = False) -> list[str]:
    """Return the argv of a shell, the user's own for None; raises ShellNotFound. Looks at the file system.

    `keeps_path`: the PATH was asked for, so no profile may replace it.
    """
    if name is None:
        name = next(iter(available_shells(environment)), "sh")
    shell = _ALIASES.get(name, name)
    if shell not in _ARGUMENTS or not _find(shell, environment):
        raise ShellNotFound(name, available_shells(environment))
    return shell_arguments(name, keeps_path=keeps_path)


def shell_arguments(name: str, *, keeps_path: bool) -> list[str]:
    """Return the argv of a shell that is there; see `shell_command`."""
    shell = _ALIASES.get(name, name)
    return [shell, *(each for each in _ARGUMENTS[shell] if not (keeps_path and each == _LOGIN))]


def _find(name: str, environment: Mapping[str, str]) -> bool:
    try:
        find_executable(name, path=environment["PATH"], cwd="/")
    except CannotExecute:
        return False
    return True
