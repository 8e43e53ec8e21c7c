"""What a container is like inside: who programs run as, and which shells there are."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from backends.containers import scripts
from backends.environment import posix_base
from backends.errors import NotProvided, ShellNotFound
from backends.shells import SHELLS, shell_arguments

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backends.containers.box import Box


@dataclass(frozen=True)
class Inside:
    """What was seen."""

    user: str
    home: str
    path: str
    shells: Sequence[str] = field(default=())
    """Names, the user's own first."""
    env: dict[str, str] = field(default_factory=dict)
    """What programs start from: the container's own variables, completed by what a login would have set."""

    def shell_command(self, name: str | None, *, keeps_path: bool) -> list[str]:
        """Return the argv of a shell, the user's own for None. Raises ShellNotFound."""
        if name is None:
            name = next(iter(self.shells), "sh")
        if name not in self.shells:
            raise ShellNotFound(name, list(self.shells))
        return shell_arguments(name, keeps_path=keeps_path)


async def look_inside(box: Box, container_env: Sequence[str], user: str) -> Inside:
    """Look. Raises NotProvided: no program can run there (no `/bin/sh`, say)."""
    code, out, error = await box.run(scripts.LOOK, *SHELLS, user=user)
    seen: dict[str, str] = {}
    has = []
    for line in out.decode("utf-8", "replace").splitlines():
        name, _, value = line.partition(" ")
        if name == "has":
            has.append(value)
        else:
            seen[name] = value
    if code != 0 or "path" not in seen:
        said = b" ".join((out, error)).decode("utf-8", "replace").strip()
        raise NotProvided(f"no shell can be run in the container (it needs a /bin/sh): {said[:300]}")
    own = seen["shell"].rpartition("/")[2]
    shells = sorted(has, key=lambda each: each != own)
    base = dict(each.partition("=")[::2] for each in container_env)
    user = seen["user"] or seen["uid"]
    shell = seen["shell"] or "/bin/sh"
    env = base | posix_base(base, user=user, home=seen["home"] or "/", shell=shell)
    env["PATH"] = base.get("PATH") or seen["path"]
    return Inside(user, env["HOME"], env["PATH"], shells, env)
