"""The built web client as it is kept and given out: every file of it, read once, packed when first asked for."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

INDEX = "index.html"
LIMIT_BYTES = 32 * 1024 * 1024
"""What a client may have in all: it is kept in memory. Several times what is built now, source maps not included."""

_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".ico": "image/x-icon",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".wasm": "application/wasm",
    ".webmanifest": "application/manifest+json",
    ".woff2": "font/woff2",
}
_PACKED_ALREADY = frozenset({"image/png", "font/woff2"})


class BundleTooLarge(Exception):
    """The directory holds more than a web client; carries it."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.directory = directory

    def __str__(self) -> str:
        """Say so."""
        return f"{self.directory} holds more than {LIMIT_BYTES} bytes"


@dataclass
class Asset:
    """One file: its bytes, what they are, and a name for exactly these bytes."""

    content: bytes
    media_type: str
    digest: str = ""
    _packed: bytes | None = field(default=None, repr=False, compare=False)
    _packing: asyncio.Lock = field(default_factory=asyncio.Lock, repr=False, compare=False)

    def __post_init__(self) -> None:
        self.digest = hashlib.sha256(self.content).hexdigest()[:32]

    async def packed(self) -> bytes | None:
        """Return the content packed with gzip, None where that would gain nothing. Done once, in a thread."""
        if self.media_type in _PACKED_ALREADY:
            return None
        async with self._packing:
            if self._packed is None:
                self._packed = await asyncio.to_thread(gzip.compress, self.content, 9, mtime=0)
        return self._packed if len(self._packed) < len(self.content) else None


@dataclass(frozen=True)
class Bundle:
    """The files of a built client by their path, as `assets/main-4f3a.js`. Empty: none has been built."""

    files: Mapping[str, Asset] = field(default_factory=dict)

    @classmethod
    def read(cls, directory: Path) -> Bundle:
        """Read a directory, missing or not; what is not of a known type is left out. Blocks.

        Raises OSError, BundleTooLarge.
        """
        files: dict[str, Asset] = {}
        left = LIMIT_BYTES
        for path in sorted(directory.rglob("*")):
            media_type = _TYPES.get(path.suffix)
            if media_type is None or not path.is_file():
                continue
            left -= path.stat().st_size
            if left < 0:
                raise BundleTooLarge(directory)
            files[path.relative_to(directory).as_posix()] = Asset(path.read_bytes(), media_type)
        return cls(files)

    @property
    def index(self) -> Asset | None:
        """The page of the console."""
        return self.files.get(INDEX)
