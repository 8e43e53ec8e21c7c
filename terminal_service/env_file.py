r"""The reader of `.env` files.

A parser of its own, not python-dotenv: that one expands `${OTHER}` inside values and writes to `os.environ`,
where every child of the service could read the keys. Here a value is what stands in the file.

Grammar, one variable a line::

    # comment
    NAME=plain value        # a comment after white space
    export NAME="double \"quoted\", \n and \\"
    NAME='single quoted, taken as it is'
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_LINE = re.compile(
    r"""\s*(?:export\s+)?(?P<name>[A-Za-z_][A-Za-z0-9_]*)\s*=\s*
    (?:"(?P<double>(?:[^"\\]|\\.)*)"|'(?P<single>[^']*)'|(?P<plain>(?!["']).*?))
    (?:\s+\#.*)?\s*""",
    re.VERBOSE,
)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}
_LIMIT_BYTES = 1 << 20


class EnvFileError(ValueError):
    """The file cannot be read; the message is one line and never quotes the file, which may hold secrets."""


def read_env_file(path: Path) -> dict[str, str]:
    """Return the variables of a file, names as written, the last of equal names; {} if there is no file."""
    try:
        with path.open("rb") as file:
            data = file.read(_LIMIT_BYTES + 1)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise EnvFileError(f"cannot read {path}: {error.strerror}") from error
    if len(data) > _LIMIT_BYTES:
        raise EnvFileError(f"{path} is larger than 1 MiB")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise EnvFileError(f"{path} is not UTF-8 text") from error
    return _variables(text, path)


def _variables(text: str, path: Path) -> dict[str, str]:
    variables = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        matched = _LINE.fullmatch(line)
        if matched is None:
            raise EnvFileError(f"{path}, line {number}: expected NAME=value")
        variables[matched["name"]] = _value(matched)
    return variables


def _value(matched: re.Match[str]) -> str:
    if matched["double"] is not None:
        return re.sub(r"\\(.)", lambda escape: _ESCAPES.get(escape[1], escape[1]), matched["double"])
    if matched["single"] is not None:
        return str(matched["single"])
    # `NAME= # comment`: the white space before the comment was taken as that before the value.
    return "" if matched["plain"].startswith("#") else str(matched["plain"])
