"""The tar format, as pieces in and entries out, and the reverse: no input or output, and no trust in what is read.

Read are ustar, the old and the GNU format, and PAX, in pieces of any size. What tools disagree about (two names for
one entry, sizes of things that have no content, something behind the end) is refused instead of guessed: that is
how archives show one thing to who checks them and another to who unpacks them (CVE-2025-62518, for one).
Written is the GNU format, because BusyBox knows its long names and sizes, and not those of PAX.

Errors::

    BackendError
    └── TarError
        ├── BrokenTar    it is no tar archive, or it is damaged, or a part of it is missing
        └── RefusedTar   it has something that is not wanted here
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from backends.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

BLOCK = 512
END = bytes(2 * BLOCK)
"""What an archive ends with."""

_MAX_EXTENSION_BYTES = 64 * 1024
"""Of a long name, or of an entry's PAX records; a system's longest path has 4 KiB."""

_MAX_SIZE = (1 << 63) - 1


@dataclass(eq=False)
class TarError(BackendError):
    """An archive cannot be read."""

    entry: str
    """Its name, or as much as is known of it."""
    reason: str

    def __str__(self) -> str:
        """Name the entry and what is wrong with it."""
        name = self.entry.encode("utf-8", "backslashreplace").decode()
        return f"tar archive: {name!r}: {self.reason}" if self.entry else f"tar archive: {self.reason}"


class BrokenTar(TarError):
    """It is no tar archive, or it is damaged, or it ends too early."""


class RefusedTar(TarError):
    """It has something that is not wanted here."""


class EntryKind(enum.Enum):
    """What an entry is, by its flag in the header."""

    FILE = b"0"
    HARD_LINK = b"1"
    LINK = b"2"
    CHARACTER_DEVICE = b"3"
    BLOCK_DEVICE = b"4"
    DIRECTORY = b"5"
    PIPE = b"6"


@dataclass(frozen=True)
class Entry:
    """What a header says. Bytes that are not UTF-8 are in names as `surrogateescape` has them."""

    name: str
    kind: EntryKind = EntryKind.FILE
    size: int = 0
    """Of its content, in bytes; only files have one."""
    mode: int = 0o644
    modified_at: float = 0.0
    """Wall-clock seconds."""
    target: str = ""
    """Where a link points; of a hard link: the name of the entry that is the same file."""
    uid: int = 0
    gid: int = 0


@dataclass(frozen=True)
class Limits:
    """How much is taken from an archive before it is refused."""

    total_bytes: int = 16 << 30
    """Of all files together."""
    entries: int = 1_000_000


def encode(entry: Entry) -> bytes:
    """Return the header of an entry; its content and `padding` follow. Raises RefusedTar: it cannot be expressed."""
    name, target = _encode_name(entry, entry.name), _encode_name(entry, entry.target)
    if entry.kind is EntryKind.DIRECTORY and not name.endswith(b"/"):
        name += b"/"
    if entry.size and entry.kind is not EntryKind.FILE:
        raise RefusedTar(entry.name, f"a {_word(entry.kind)} has no content")
    return b"".join(
        (
            _encode_long(b"K", target) if len(target) > _TARGET_BYTES else b"",
            _encode_long(b"L", name) if len(name) > _NAME_BYTES else b"",
            _encode_header(name, entry, target),
        )
    )


def padding(size: int) -> bytes:
    """Return what follows the content of a file of this size."""
    return bytes(-size % BLOCK)


class Decoder:
    """Takes an archive in pieces of any size, and holds no more than a header with its long names."""

    def __init__(self, limits: Limits | None = None) -> None:
        """Begin at the beginning of an archive."""
        self._limits = limits or Limits()
        self._held = bytearray()
        self._extension: tuple[bytes, int] | None = None
        """The flag of the long name or the records that are read now, and how long they are."""
        self._said: dict[str, bytes] = {}
        """What is known of the next entry before its header, by its PAX keyword."""
        self._content = 0
        self._padding = 0
        self._zeros = 0
        self._entries = 0
        self._total = 0
        self._name = ""

    def feed(self, data: bytes) -> Iterator[Entry | bytes]:
        """Yield entries, and behind an entry of a file its content in pieces. Raises TarError.

        Must be read to its end before the next call.
        """
        view = memoryview(data)
        while view:
            if self._content:
                piece = bytes(view[: self._content])
                self._content -= len(piece)
                view = view[len(piece) :]
                yield piece
            elif self._padding:
                skipped = min(self._padding, len(view))
                self._padding -= skipped
                view = view[skipped:]
            else:
                missing = self._wanted() - len(self._held)
                self._held += view[:missing]
                view = view[missing:]
                if len(self._held) == self._wanted() and (entry := self._take()):
                    yield entry

    def close(self) -> None:
        """Say that this was all. Raises BrokenTar: it was not."""
        if self._zeros * BLOCK < len(END) or self._held.strip(b"\0"):
            raise BrokenTar(self._name, "the archive ends too early, the rest is missing")

    def _wanted(self) -> int:
        return self._extension[1] + -self._extension[1] % BLOCK if self._extension else BLOCK

    def _take(self) -> Entry | None:
        block = bytes(self._held)
        self._held.clear()
        if self._extension:
            flag, size = self._extension
            self._extension = None
            self._remember(flag, block[:size])
            return None
        if not block.strip(b"\0"):
            if self._said:
                raise BrokenTar(self._name, "the archive ends where an entry should be")
            self._zeros += 1
            return None
        if self._zeros:
            raise RefusedTar(self._name, "something follows the end of the archive")
        return self._take_header(block)

    def _take_header(self, block: bytes) -> Entry | None:
        _check_sum(block, self._name)
        flag = block[_FLAG]
        if flag in _EXTENSIONS:
            size = _number(block[_SIZE], "size", self._name)
            if not 0 <= size <= _MAX_EXTENSION_BYTES:
                raise RefusedTar(self._name, f"{size} bytes of names or attributes")
            if size:
                self._extension = flag, size
            return None
        said, self._said = self._said, {}
        entry = _entry_of(block, said)
        self._name = entry.name
        self._count(entry)
        self._content = entry.size
        self._padding = -entry.size % BLOCK
        return entry

    def _count(self, entry: Entry) -> None:
        self._entries += 1
        if self._entries > self._limits.entries:
            raise RefusedTar(entry.name, f"more than {self._limits.entries} entries")
        if entry.size > self._limits.total_bytes - self._total:
            raise RefusedTar(entry.name, f"more than {self._limits.total_bytes} bytes in all files")
        self._total += entry.size

    def _remember(self, flag: bytes, data: bytes) -> None:
        if flag == b"g":
            if _OF_ONE_ENTRY & _records(data, self._name).keys():
                raise RefusedTar(self._name, "one name or size for all entries")
            return
        said = _records(data, self._name) if flag == b"x" else {_EXTENSIONS[flag]: data.split(b"\0", 1)[0]}
        if said.keys() & self._said.keys():
            raise RefusedTar(self._name, f"the entry behind it has two of {', '.join(said.keys() & self._said.keys())}")
        self._said |= said


# Where the fields of a header are: POSIX.1-2017, pax, "ustar Interchange Format".
_NAME_BYTES = _TARGET_BYTES = 100
_NAME = slice(0, 100)
_MODE = slice(100, 108)
_UID = slice(108, 116)
_GID = slice(116, 124)
_SIZE = slice(124, 136)
_MODIFIED = slice(136, 148)
_SUM = slice(148, 156)
_FLAG = slice(156, 157)
_TARGET = slice(157, 257)
_MAGIC = slice(257, 263)
_PREFIX = slice(345, 500)

_POSIX_MAGIC = b"ustar\0"
_GNU_MAGIC = b"ustar  \0"
_EXTENSIONS = {b"L": "path", b"K": "linkpath", b"x": "", b"g": ""}
_OF_ONE_ENTRY = {"path", "linkpath", "size"}
_LENGTH = re.compile(rb"([1-9][0-9]{0,5}) ")
_OCTAL = re.compile(rb"[0-7]*")
_DECIMAL = re.compile(rb"[0-9]{1,19}")
_SECONDS = re.compile(rb"-?[0-9]{1,15}(\.[0-9]*)?")
_WITHOUT_SLASH = {b"\0": EntryKind.FILE, b"7": EntryKind.FILE} | {kind.value: kind for kind in EntryKind}


def _word(kind: EntryKind) -> str:
    return kind.name.lower().replace("_", " ")


def _entry_of(block: bytes, said: Mapping[str, bytes]) -> Entry:
    """Read a header; what was said before it stands above it."""
    short = _text(block[_NAME])
    if block[_MAGIC] == _POSIX_MAGIC and (prefix := _text(block[_PREFIX])):
        short = prefix + b"/" + short
    name = _name(said.get("path") or short)
    flag = block[_FLAG]
    kind = _WITHOUT_SLASH.get(flag)
    if not name:
        raise BrokenTar("", "an entry without a name")
    if kind is None or any(key.startswith("GNU.sparse.") for key in said):
        raise RefusedTar(name, f"a kind of entry that is not known here: {flag!r}, {', '.join(said) or 'plain'}")
    if kind is EntryKind.FILE and name.endswith("/"):
        kind = EntryKind.DIRECTORY  # as the oldest format has them
    return Entry(
        name=name,
        kind=kind,
        size=_size(block, said, name, kind),
        mode=_number(block[_MODE], "mode", name) & 0o7777,
        modified_at=_modified(block, said, name),
        target=_name(said.get("linkpath") or _text(block[_TARGET])),
        uid=_number(block[_UID], "uid", name),
        gid=_number(block[_GID], "gid", name),
    )


def _size(block: bytes, said: Mapping[str, bytes], name: str, kind: EntryKind) -> int:
    size = _number(block[_SIZE], "size", name)
    if text := said.get("size"):
        if not _DECIMAL.fullmatch(text):
            raise BrokenTar(name, f"its size is {text[:40]!r}")
        size = int(text)
    if not 0 <= size <= _MAX_SIZE:
        raise RefusedTar(name, f"its size is {size}")
    if size and kind is not EntryKind.FILE:
        raise RefusedTar(name, f"a {_word(kind)} with a content")
    return size


def _modified(block: bytes, said: Mapping[str, bytes], name: str) -> float:
    text = said.get("mtime")
    if not text:
        return float(_number(block[_MODIFIED], "time", name))
    if not _SECONDS.fullmatch(text):
        raise BrokenTar(name, f"its time is {text[:40]!r}")
    return float(text)


def _text(field: bytes) -> bytes:
    return field.split(b"\0", 1)[0]


def _name(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _number(field: bytes, what: str, name: str) -> int:
    """Read octal digits, or a number in base 256 as GNU has it."""
    if field[0] & 0x80:
        bits = 8 * len(field) - 1
        value = int.from_bytes(field, "big") & ((1 << bits) - 1)
        return value - (1 << bits) if value >> (bits - 1) else value
    text = field.strip(b" \0")
    if not _OCTAL.fullmatch(text):
        raise BrokenTar(name, f"its {what} is {field!r}")
    return int(text or b"0", 8)


def _check_sum(block: bytes, name: str) -> None:
    blank = block[: _SUM.start] + b" " * 8 + block[_SUM.stop :]
    unsigned = sum(blank)
    signed = unsigned - 256 * sum(byte > 127 for byte in blank)  # noqa: PLR2004 - as some old tools summed
    if _number(block[_SUM], "checksum", name) not in (unsigned, signed):
        raise BrokenTar(name, "the header behind it is damaged, or this is no tar archive")


def _records(data: bytes, name: str) -> dict[str, bytes]:
    """Read PAX records, `LENGTH KEYWORD=VALUE` and a newline each."""
    records: dict[str, bytes] = {}
    at = 0
    while at < len(data):
        length = _LENGTH.match(data, at)
        record = data[at : at + int(length[1])] if length else b""
        if not length or len(record) != int(length[1]) or not record.endswith(b"\n"):
            raise BrokenTar(name, "the attributes of the entry behind it are damaged")
        key, equals, value = record[length.end() - at : -1].partition(b"=")
        keyword = key.decode("utf-8", "replace")
        if not equals or keyword in records or (keyword in _OF_ONE_ENTRY and b"\0" in value):
            raise RefusedTar(name, f"the attribute {keyword!r} of the entry behind it is there twice, or unfit")
        records[keyword] = value
        at += len(record)
    return records


def _encode_name(entry: Entry, name: str) -> bytes:
    data = name.encode("utf-8", "surrogateescape")
    if b"\0" in data or len(data) >= _MAX_EXTENSION_BYTES:
        raise RefusedTar(entry.name, "a name with a NUL byte, or too long")
    return data


def _encode_long(flag: bytes, name: bytes) -> bytes:
    header = _seal(b"././@LongLink", flag, mode=0o644, size=len(name) + 1)
    return header + name + bytes(1) + padding(len(name) + 1)


def _encode_header(name: bytes, entry: Entry, target: bytes) -> bytes:
    return _seal(
        name[:_NAME_BYTES],
        entry.kind.value,
        mode=entry.mode & 0o7777,
        size=entry.size,
        modified=int(entry.modified_at),
        target=target[:_TARGET_BYTES],
        ids=(entry.uid, entry.gid),
    )


def _seal(
    name: bytes,
    flag: bytes,
    *,
    mode: int,
    size: int,
    modified: int = 0,
    target: bytes = b"",
    ids: tuple[int, int] = (0, 0),
) -> bytes:
    block = bytearray(BLOCK)
    block[: len(name)] = name
    numbers = ((_MODE, mode), (_UID, ids[0]), (_GID, ids[1]), (_SIZE, size), (_MODIFIED, modified))
    for where, number in numbers:
        block[where] = _encode_number(number, where.stop - where.start)
    block[_FLAG] = flag
    block[_TARGET.start : _TARGET.start + len(target)] = target
    block[_MAGIC.start : _MAGIC.start + len(_GNU_MAGIC)] = _GNU_MAGIC
    block[_SUM] = b" " * 8
    block[_SUM] = b"%06o\0 " % sum(block)
    return bytes(block)


def _encode_number(number: int, length: int) -> bytes:
    if 0 <= number < 8 ** (length - 1):
        return b"%0*o\0" % (length - 1, number)
    return (number & ((1 << (8 * length)) - 1) | 1 << (8 * length - 1)).to_bytes(length, "big")
