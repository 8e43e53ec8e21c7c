"""What the scripts print of files (`scripts`), read."""

from __future__ import annotations

import re
import stat
from datetime import UTC, datetime, timedelta

from backends.abilities import FileInfo, FileKind

_STAT = re.compile(rb"([0-9a-f]+) ([0-9]+) (-?[0-9]+) (.*?)//\n", re.DOTALL)
_LS = re.compile(
    rb"ls ([a-zA-Z-])([a-zA-Z-]{9})[^ ]* ([0-9]+) ([A-Z][a-z]{2}) ([0-9]{1,2}) ([0-9:]{4,5}) (.*?)//\n", re.DOTALL
)
_LINK = re.compile(rb"link (.*?)//(.*?)\n?\0", re.DOTALL)

_KINDS = {stat.S_IFREG: FileKind.FILE, stat.S_IFDIR: FileKind.DIRECTORY, stat.S_IFLNK: FileKind.LINK}
_LETTERS = {b"-": FileKind.FILE, b"d": FileKind.DIRECTORY, b"l": FileKind.LINK}
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def read_records(data: bytes, now: datetime | None = None) -> list[FileInfo]:
    """Read all records; paths are as the script names them. Raises ValueError: these are none."""
    infos: list[FileInfo] = []
    targets: dict[str, str] = {}
    at = 0
    while at < len(data):
        if found := _LINK.match(data, at):
            targets[_text(found[1])] = _text(found[2])
        elif found := _STAT.match(data, at):
            infos.append(_of_stat(found))
        elif found := _LS.match(data, at):
            infos.append(_of_ls(found, now or datetime.now(UTC)))
        else:
            raise ValueError(f"not what the script prints: {data[at : at + 100]!r}")
        at = found.end()
    return [_with_target(info, targets) for info in infos]


def _with_target(info: FileInfo, targets: dict[str, str]) -> FileInfo:
    target = targets.get(info.path, "") if info.kind is FileKind.LINK else ""
    return FileInfo(info.path, info.kind, info.size, info.mode, info.modified_at, target)


def _of_stat(found: re.Match[bytes]) -> FileInfo:
    mode = int(found[1], 16)
    kind = _KINDS.get(stat.S_IFMT(mode), FileKind.OTHER)
    return FileInfo(_text(found[4]), kind, int(found[2]), stat.S_IMODE(mode), float(found[3]))


def _of_ls(found: re.Match[bytes], now: datetime) -> FileInfo:
    kind = _LETTERS.get(found[1], FileKind.OTHER)
    modified = _time(found[4].decode(), int(found[5]), found[6].decode(), now)
    return FileInfo(_text(found[7]), kind, int(found[3]), _mode(found[2].decode()), modified.timestamp())


def _mode(letters: str) -> int:
    """Read `rwxr-s--T`: a set user, group or sticky bit is in place of the x, in capitals where there is no x."""
    mode = 0
    for place, letter in enumerate(letters):
        bit = 1 << (8 - place)
        mode |= bit if letter not in "-ST" else 0
        mode |= (0o4000 >> (place // 3)) if letter in "sStT" else 0
    return mode


def _time(month: str, day: int, rest: str, now: datetime) -> datetime:
    """Read a time as ls has it: to the minute if it was in the last half year, to the day before."""
    number = _MONTHS.index(month) + 1
    if ":" not in rest:
        return datetime(int(rest), number, day, tzinfo=UTC)
    hour, _, minute = rest.partition(":")
    for year in (now.year + 1, now.year, now.year - 1):
        try:
            time = datetime(year, number, day, int(hour), int(minute), tzinfo=UTC)
        except ValueError:  # the 29th of February
            continue
        if time <= now + timedelta(days=1):
            return time
    raise ValueError(f"no such day: {month} {day}")


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")
