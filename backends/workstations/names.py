"""What workstations are called, and how they are marked: pure functions of names."""

from __future__ import annotations

import hashlib
import re

ID = re.compile(r"[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?")
"""What the API takes as the id of a workstation (RFC 1035, a label)."""

MADE_BY = "terminal-service"
"""The label of what this service created; its value is the node's name, as far as a label can hold it."""

OWNER = "terminal-service-owner"
"""The annotation with the owner's whole name, for operators."""

_ID_CHARACTERS = 63
_HASH_CHARACTERS = 20
"""80 bits: nobody finds a name for itself that leads to the workstation of another owner."""


def workstation_id(prefix: str, owner: str) -> str:
    """Return the id of an owner's workstation: always the same one, and another one for every other owner.

    What can be read of it is the owner's name as far as an id can hold it; a hash of the name makes it unique.
    """
    mark = hashlib.sha256(owner.encode("utf-8", "surrogatepass")).hexdigest()[:_HASH_CHARACTERS]
    room = _ID_CHARACTERS - len(prefix) - len(mark) - 2
    name = _plain(owner)[: max(room, 0)].strip("-")
    return "-".join(part for part in (prefix, name, mark) if part)


def readable(owner: str) -> str:
    """Return an owner's name as the API takes it."""
    return owner.encode("utf-8", "replace").decode()


def label(value: str) -> str:
    """Return a value that a label can have: at most 63 lower-case letters, digits and dashes."""
    return _plain(value)[:_ID_CHARACTERS].strip("-")


def _plain(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
