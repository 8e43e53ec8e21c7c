"""Whose sessions run as which user of the machine."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

ANYBODY = "*"
_ROOT = "root"
# What useradd(8) accepts, and the names that directory services have: ann@example.com, EXAMPLE\ann.
_OS_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._@\\-]{0,62}\$?", re.ASCII)


@dataclass(frozen=True)
class OsUsers:
    """Rules from owners to users of the machine: pairs, `*` for every owner that has none of their own.

    `*` as the user: the one with the owner's name, but never root, which has to be named. Without any rule everybody
    is the service's own user.
    """

    rules: tuple[tuple[str, str], ...] = ()

    @classmethod
    def parse(cls, items: Iterable[str], owner_name: re.Pattern[str]) -> OsUsers:
        """Read `owner=user` pairs. Raises ValueError."""
        rules: dict[str, str] = {}
        for item in items:
            owner, equals, user = (part.strip() for part in item.partition("="))
            same_name = (owner, user) == (ANYBODY, ANYBODY)
            if not equals or owner in rules or not (owner == ANYBODY or owner_name.fullmatch(owner)):
                raise ValueError(item)
            if not (same_name or _OS_USER.fullmatch(user)):
                raise ValueError(item)
            rules[owner] = user
        return cls(tuple(rules.items()))

    def __bool__(self) -> bool:
        """Tell whether there are any rules."""
        return bool(self.rules)

    def find(self, owner: str) -> str | None:
        """Return the user that this owner's programs run as; None: no rule names one."""
        rules = dict(self.rules)
        user = rules.get(owner, rules.get(ANYBODY))
        if user != ANYBODY:
            return user
        return owner if owner != _ROOT and _OS_USER.fullmatch(owner) else None
