"""Tar archives as they pass by: entry after entry, and never more than a piece in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backends.files.tar import END, Decoder, Entry, EntryKind, Limits, RefusedTar, encode, padding

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Iterator


class TarReader:
    """Reads an archive: `async for entry in reader`, and of each file `await reader.read()` until b"".

    What was not read of a file is skipped. Every call raises TarError, and what the pieces' source raises.
    """

    def __init__(self, pieces: AsyncIterable[bytes], limits: Limits | None = None) -> None:
        """Take the archive's bytes as pieces of any size. Whoever made them closes them."""
        self._pieces = aiter(pieces)
        self._decoder = Decoder(limits)
        self._events: Iterator[Entry | bytes] = iter(())
        self._left = 0

    def __aiter__(self) -> AsyncIterator[Entry]:
        """Iterate over the entries."""
        return self

    async def __anext__(self) -> Entry:
        """Return the next entry; at the end it is certain that the archive was complete."""
        while await self.read():
            pass
        entry = await self._next()
        if entry is None:
            raise StopAsyncIteration
        if isinstance(entry, bytes):
            raise AssertionError("content without an entry")  # noqa: TRY004 - it is impossible
        self._left = entry.size
        return entry

    async def read(self) -> bytes:
        """Return more of the content of the entry that came last; b"": that was all."""
        if not self._left:
            return b""
        piece = await self._next()
        if not isinstance(piece, bytes):
            raise AssertionError("an entry inside another one's content")  # noqa: TRY004 - likewise
        self._left -= len(piece)
        return piece

    async def _next(self) -> Entry | bytes | None:
        while True:
            for event in self._events:
                return event
            try:
                self._events = self._decoder.feed(await anext(self._pieces))
            except StopAsyncIteration:
                self._decoder.close()
                return None


async def write_tar(members: AsyncIterable[tuple[Entry, AsyncIterable[bytes] | None]]) -> AsyncIterator[bytes]:
    """Yield an archive of these entries; each file comes with its content (None: it is empty).

    Raises RefusedTar: a content has not the size that was announced; and what a content's source raises.
    """
    async for entry, content in members:
        yield encode(entry)
        left = entry.size
        if content is not None:
            async for piece in content:
                left -= len(piece)
                if left < 0:
                    break
                yield piece
        if left:
            raise RefusedTar(entry.name, f"its content is not the {entry.size} bytes it was to be")
        yield padding(entry.size)
    yield END


async def tar_of_file(entry: Entry, content: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """Yield an archive of one file. Raises RefusedTar: the content has not the entry's size."""
    if entry.kind is not EntryKind.FILE:
        raise AssertionError(f"{entry} is no file")

    async def member() -> AsyncIterator[tuple[Entry, AsyncIterable[bytes]]]:
        yield entry, content

    async for piece in write_tar(member()):
        yield piece
