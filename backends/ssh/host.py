"""What a look at a host tells: its user's shell, other shells, and where things are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from backends.errors import AccessRefused

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_NO_SHELLS = frozenset({"nologin", "false", "tmux", "screen", "git-shell"})


@dataclass(frozen=True)
class Host:
    """What a look at a host has told; as a user's login shell has it."""

    shell: str
    """Path of the user's login shell."""
    shells: Mapping[str, str]
    """Names and paths of the shells that exist, the user's own first."""
    variables: Mapping[str, str]

    @classmethod
    def read(cls, lines: Sequence[str], place: str) -> Host:
        """Read what `script.look_script` makes a host say. Raises AccessRefused."""
        shell, known, variables = "", [], {}
        for line in lines:
            kind, _, value = line.partition(" ")
            if kind == "shell":
                shell = value
            elif kind == "known":
                known.append(value)
            elif kind == "variable":
                name, _, value = value.partition("=")
                variables[name] = value
        if not shell:
            raise AccessRefused(f"{place} does not tell its users' shell")
        shells: dict[str, str] = {}
        for path in (shell, *known):
            name = path.rpartition("/")[2]
            if name not in _NO_SHELLS:
                shells.setdefault(name, path)
        return cls(shell, shells, variables)
