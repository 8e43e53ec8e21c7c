"""The file in which an operator says where else sessions can run: TOML, or YAML by its suffix. docs/backends.md.

One error::

    BackendsFileError   the file cannot be read, or something in it is wrong: one line that names where
"""

from __future__ import annotations

import dataclasses
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from backends.base import Capabilities
from terminal_service.choosing import ANY, AUTO, DEFAULT, DEFAULT_RULES, Rule

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from backends.profile import Profile

_T = TypeVar("_T")

LIMIT_BYTES = 1024 * 1024
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}", re.ASCII)
_RESERVED = frozenset({AUTO, DEFAULT})
_PLACE = re.compile(r" - at `\$?\.?(?P<path>.*)`$", re.DOTALL)
_UNKNOWN = re.compile(r"Object contains unknown field `(?P<field>.*)`", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(?P<field>.*)`", re.DOTALL)


class BackendsFileError(ValueError):
    """The file of backends cannot be used; the message is one line for its author."""


@dataclass(frozen=True)
class BackendsFile:
    """What is in it."""

    profiles: Sequence[Profile] = ()
    default: str = ""
    """What sessions use that name none; empty: not said."""
    rules: Sequence[Rule] = DEFAULT_RULES


def read_backends_file(
    path: Path, kinds: Iterable[str], find: Callable[[str], type[Profile]], *, always: Iterable[str]
) -> BackendsFile:
    """Read and check it. `find` returns the class of a kind; `always` are the names that need no table.

    Blocks for the file. Raises BackendsFileError.
    """
    try:
        tables = _parse(path)
        profiles = _read_profiles(tables.get("backends", {}), tuple(kinds), find)
        names = [*always, *(profile.name for profile in profiles)]
        return BackendsFile(profiles, _read_default(tables, names), _read_rules(tables, names, kinds))
    except BackendsFileError as error:
        raise BackendsFileError(f"BACKENDS_FILE {path}: {error}") from error


def _parse(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            content = file.read(LIMIT_BYTES + 1)
    except OSError as error:
        raise BackendsFileError(f"cannot be read: {error.strerror or error}") from error
    if len(content) > LIMIT_BYTES:
        raise BackendsFileError(f"is larger than {LIMIT_BYTES} bytes")
    try:
        tables = _parse_yaml(content) if path.suffix.lower() in {".yaml", ".yml"} else tomllib.loads(content.decode())
    except (ValueError, RecursionError) as error:  # a UnicodeDecodeError too
        raise BackendsFileError(" ".join(str(error).split())) from error
    if tables is None:
        return {}
    if not isinstance(tables, dict) or not all(isinstance(name, str) for name in tables):
        raise BackendsFileError("it must be a table of backends and rules")
    unknown = tables.keys() - {"backends", "rules", "default"}
    if unknown:
        raise BackendsFileError(f"{min(unknown)!r} is not known; there are [backends.NAME], [[rules]] and default")
    return tables


def _parse_yaml(content: bytes) -> Any:
    """Return what is in it. Raises ValueError."""
    import yaml  # noqa: PLC0415 - for those who write YAML

    try:
        return yaml.safe_load(content)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error


def _read_profiles(tables: object, kinds: Sequence[str], find: Callable[[str], type[Profile]]) -> Sequence[Profile]:
    if not isinstance(tables, dict):
        raise BackendsFileError("[backends]: expected a table for each backend, [backends.NAME]")
    return [_read_profile(str(name), table, kinds, find) for name, table in tables.items()]


def _read_profile(name: str, table: object, kinds: Sequence[str], find: Callable[[str], type[Profile]]) -> Profile:
    where = f"[backends.{name}]"
    if not _NAME.fullmatch(name) or name in _RESERVED:
        raise BackendsFileError(
            f"{where}: a name has 1 to 63 of a-z 0-9 . _ -, begins with a letter or digit, and is none of: "
            + ", ".join(sorted(_RESERVED))
        )
    if not isinstance(table, dict):
        raise BackendsFileError(f"{where}: expected a table")
    kind = table.get("kind")
    if kind not in kinds:
        said = "is missing" if kind is None else f"{kind!r} is wrong"
        raise BackendsFileError(f"{where} kind: {said}; allowed: {', '.join(kinds)}")
    if "name" in table:
        raise BackendsFileError(f"{where} name: it is the table's name")
    if kind == "local" and name != "local":
        raise BackendsFileError(f"{where} kind: there is one machine of this kind, and its name is local")
    if kind != name and name in ("local", "echo"):
        raise BackendsFileError(f"{where} kind: a backend of this name is of the kind {name}")
    return _convert({**table, "name": name}, find(str(kind)), where)


def _read_default(tables: Mapping[str, Any], names: Sequence[str]) -> str:
    default = tables.get("default", "")
    if default and default not in (*names, AUTO):
        raise BackendsFileError(f"default: {default!r} is wrong; allowed: {', '.join(dict.fromkeys(names))}, {AUTO}")
    return str(default)


def _read_rules(tables: Mapping[str, Any], names: Sequence[str], kinds: Iterable[str]) -> Sequence[Rule]:
    if "rules" not in tables:
        return DEFAULT_RULES
    if not isinstance(tables["rules"], list):
        raise BackendsFileError("[[rules]]: expected a list of tables")
    usable = {*names, *kinds, DEFAULT, ANY}
    abilities = {each.name for each in dataclasses.fields(Capabilities)}
    rules = []
    for number, table in enumerate(tables["rules"], 1):
        where = f"[[rules]] {number}"
        rule = _convert(table, Rule, where)
        for name, values, allowed in (("use", rule.use, usable), ("having", rule.having, abilities)):
            for value in values:
                if value not in allowed:
                    raise BackendsFileError(
                        f"{where} {name}: {value!r} is wrong; allowed: {', '.join(sorted(allowed))}"
                    )
        rules.append(rule)
    return rules


def _convert(table: object, kind: type[_T], where: str) -> _T:
    try:
        return msgspec.convert(table, kind, dec_hook=_read_path)
    except msgspec.ValidationError as error:
        text = " ".join(str(error).split())
        found = _PLACE.search(text)
        path = [found["path"]] if found and found["path"] else []
        text = _PLACE.sub("", text)
        for pattern, meaning in ((_UNKNOWN, "there is no such field"), (_MISSING, "is missing")):
            if named := pattern.fullmatch(text):
                path, text = [*path, named["field"]], meaning
        said = ".".join(path)
        raise BackendsFileError(f"{where}{' ' if said else ''}{said}: {text}") from error


def _read_path(kind: type[Any], value: object) -> Any:
    """Read what a profile may have and a file cannot say: a path."""
    if kind is Path and isinstance(value, str):
        return Path(value).expanduser()
    raise msgspec.ValidationError(f"Expected `{kind.__name__}`, got {value!r}")
