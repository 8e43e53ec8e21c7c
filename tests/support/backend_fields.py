"""Every field of every kind of backend, as docs/backends-fields.md has it: from the profiles' own docstrings.

`python tests/support/backend_fields.py` writes the file anew.
"""

from __future__ import annotations

import ast
import inspect
import json
import sys
import textwrap
import types
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from backends.profile import Profile
from terminal_service.backends_app import KINDS, find_profile

FILE = Path(__file__).resolve().parents[2] / "docs" / "backends-fields.md"
HEAD = """# The fields of backends

Made by `tests/support/backend_fields.py` from the code. What they are for: [backends.md](backends.md).
"""
_WORDS = {str: "text", int: "whole number", float: "number", bool: "true or false", type(None): "", Path: "path"}


def text() -> str:
    """Return the whole file."""
    sections = [HEAD, _section("## All kinds", Profile, hides=frozenset({"name"}), says=False)]
    told: set[type] = {Profile}
    for kind in KINDS:
        profile = find_profile(kind)
        for base in reversed(profile.__mro__[1:]):
            if issubclass(base, Profile) and base not in told:
                told.add(base)
                sections.append(_section(f"## {_title(base)}", base, says=False))
        bases = [_title(each) for each in profile.__mro__[1:] if each in told and each is not Profile]
        sections.append(_section(f"## `kind = {json.dumps(kind)}`", profile, bases=bases))
    return "\n".join(sections)


def _section(
    title: str,
    struct: type[Any],
    *,
    hides: frozenset[str] = frozenset(),
    bases: list[str] | None = None,
    says: bool = True,
) -> str:
    lines = [title, ""]
    if says:
        lines += [_flat(inspect.getdoc(struct) or ""), ""]
    if bases:
        lines += [f"Beside these it has those of: {', '.join(bases)}.", ""]
    names = [name for name in vars(struct).get("__annotations__", {}) if name not in hides]
    if names:
        lines += _table(struct, names)
    for inner in _inner(struct, names):
        lines += [_section(f"#### Table `{inner.__name__}`", inner)]
    return "\n".join(lines)


def _title(base: type[Any]) -> str:
    """Return what the kinds that share these fields are called."""
    return f"{base.__name__.removesuffix('Profile')} kinds"


def _table(struct: type[Any], names: list[str]) -> list[str]:
    hints, meanings = get_type_hints(struct), _meanings(struct)
    fields = {field.name: field for field in msgspec.structs.fields(struct)}
    lines = ["| field | type | default | meaning |", "| --- | --- | --- | --- |"]
    for name in names:
        cells = (f"`{name}`", _type(hints[name]), _default(fields[name]), meanings.get(name, ""))
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return [*lines, ""]


def _meanings(struct: type[Any]) -> dict[str, str]:
    """Return the docstrings below the fields."""
    [definition] = ast.parse(textwrap.dedent(inspect.getsource(struct))).body
    assert isinstance(definition, ast.ClassDef)
    found = {}
    for field, below in zip(definition.body, definition.body[1:], strict=False):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(below, ast.Expr)
            and isinstance(below.value, ast.Constant)
        ):
            found[field.target.id] = _flat(str(below.value.value))
    return found


def _type(hint: Any) -> str:
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return f"table `{hint.__name__}`"
    if hint in _WORDS:
        return _WORDS[hint]
    arguments = get_args(hint)
    said = {
        Literal: lambda: " or ".join(f"`{json.dumps(each)}`" for each in arguments),
        tuple: lambda: f"list of: {_type(arguments[0])}",
        dict: lambda: f"table of: {_type(arguments[1])}",
        types.UnionType: lambda: " or ".join(filter(None, map(_type, arguments))),
    }
    return said.get(get_origin(hint), lambda: f"`{hint}`")()


def _default(field: msgspec.structs.FieldInfo) -> str:
    if field.required:
        return "must be given"
    value = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
    if value is None or value in ("", (), {}):
        return ""
    return f"`{json.dumps(value)}`"


def _inner(struct: type[Any], names: list[str]) -> list[type[Any]]:
    """Return the tables inside, in order."""
    hints = get_type_hints(struct)
    found: list[type[Any]] = []
    waiting = [hints[name] for name in names]
    while waiting:
        hint = waiting.pop(0)
        if isinstance(hint, type) and issubclass(hint, msgspec.Struct) and hint not in found:
            found.append(hint)
        waiting += [each for each in get_args(hint) if not isinstance(each, str)]
    return found


def _flat(words: str) -> str:
    return " ".join(words.split())


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
