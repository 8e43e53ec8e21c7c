"""Makes tar archives of every kind, unfit ones too, and takes them apart."""

from __future__ import annotations

import io
import tarfile
from typing import TYPE_CHECKING

from backends.files.tar import END, Decoder, Entry, Limits, encode, padding

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator

PIECE = 8192


def archive(*members: tuple[Entry, bytes] | Entry) -> bytes:
    """Make an archive of entries, each with its content."""
    made = []
    for member in members:
        entry, content = (member, b"") if isinstance(member, Entry) else member
        made += [encode(entry), content, padding(len(content))]
    return b"".join(made) + END


def file(name: str, content: bytes = b"", *, mode: int = 0o644, modified_at: float = 1e9) -> tuple[Entry, bytes]:
    return Entry(name, size=len(content), mode=mode, modified_at=modified_at), content


def decode(data: bytes, sizes: Iterable[int] = (), limits: Limits | None = None) -> list[tuple[Entry, bytes]]:
    """Take an archive apart, given in pieces of these sizes, and the rest at once."""
    decoder = Decoder(limits)
    found: list[tuple[Entry, bytes]] = []
    for piece in cut(data, sizes):
        for event in decoder.feed(piece):
            if isinstance(event, Entry):
                found.append((event, b""))
            else:
                found[-1] = found[-1][0], found[-1][1] + event
    decoder.close()
    return found


def cut(data: bytes, sizes: Iterable[int]) -> Iterator[bytes]:
    for size in sizes:
        piece, data = data[:size], data[size:]
        if piece:
            yield piece
    if data:
        yield data


async def trickle(data: bytes, size: int = PIECE) -> AsyncIterator[bytes]:
    """Yield bytes in pieces."""
    for at in range(0, len(data), size):
        yield data[at : at + size]


def by_tarfile(
    *members: tuple[tarfile.TarInfo, bytes], form: int = tarfile.PAX_FORMAT, attributes: dict[str, str] | None = None
) -> bytes:
    """Make an archive as Python's own module does."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=form, pax_headers=attributes or {}) as tar:
        for info, content in members:
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return made.getvalue()


def info(name: str, flag: bytes = tarfile.REGTYPE, target: str = "", **attributes: str) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type = flag
    made.linkname = target
    made.pax_headers = attributes
    return made


def sealed(header: bytes | bytearray) -> bytes:
    """Put the right checksum into a header that was changed."""
    block = bytearray(header)
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def record(key: str, value: bytes) -> bytes:
    """Make one PAX record."""
    rest = f" {key}=".encode() + value + b"\n"
    length = len(rest) + 1
    while length != len(rest) + len(str(length)):
        length = len(rest) + len(str(length))
    return str(length).encode() + rest


def said(flag: bytes, data: bytes) -> bytes:
    """Make an entry that says something of the next one: PAX records, a long name."""
    header = bytearray(encode(Entry("said", size=len(data))))
    header[156:157] = flag
    return sealed(header) + data + padding(len(data))
