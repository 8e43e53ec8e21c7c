"""A container's file system, kept as an image."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

from backends.containers.spec import OWNER, SESSION
from backends.containers.trouble import told
from backends.errors import InvalidProgram, NotSupported

if TYPE_CHECKING:
    from collections.abc import Mapping

    from backends.containers.box import Box

_SECONDS = 3600.0
"""For a snapshot: the daemon is silent until it is made, and there may be many files."""
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")


async def commit(box: Box, repository: str, name: str, labels: Mapping[str, str], *, backend: str) -> str:
    """Make an image; return its name. Raises NotSupported, InvalidProgram, BackendError."""
    if not repository:
        raise NotSupported(backend, "snapshot (the profile names no repository for them)")
    if not _TAG.fullmatch(name):
        raise InvalidProgram("name", f"{name!r} is not made of letters, digits, '_', '.' and '-', 128 at most")
    # An image inherits its container's labels. By these a container made from it would be taken for a session's.
    kept = {**dict.fromkeys(labels, ""), OWNER: labels.get(OWNER, ""), SESSION: labels.get(SESSION, "")}
    changes = [f"LABEL {each}={_quoted(value)}" for each, value in kept.items()]
    with told(box.daemon.address, "make a snapshot"):
        async with asyncio.timeout(_SECONDS):
            await box.container.commit(repository=repository, tag=name, changes=changes, config={})  # Podman wants some
    return f"{repository}:{name}"


def _quoted(value: str) -> str:
    return '"' + re.sub(r'(["\\$])', r"\\\1", " ".join(value.split())) + '"'
