"""What an operator says of one place where sessions can run, and what a backend is given to work with.

Each kind of backend adds its own fields in a `Profile` of its own (`class SshProfile(Profile, tag="ssh")`), which is
light to import: the libraries it speaks with are loaded when the backend is made.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from pathlib import Path


class Profile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """What all kinds have. A ValueError in `__post_init__` names the field that is wrong."""

    name: str = ""
    """What sessions ask for; it is not in the table but its name."""
    users: tuple[str, ...] = ("*",)
    """Who may have sessions here; `*` is everybody."""
    description: str = ""
    """For people who choose."""


@dataclass(frozen=True)
class Site:
    """Where a backend works from."""

    node_id: str
    """This node's name: what is provisioned elsewhere is marked with it."""
    directory: Path
    """The backend's own directory, private to the service's user; it need not exist yet."""


class LocalProfile(Profile, tag="local", frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The machine that the service runs on. It is always there, and its name is `local`."""


class EchoProfile(Profile, tag="echo", frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A program in the service's memory that echoes what is typed. It is always there under the name `echo`."""
