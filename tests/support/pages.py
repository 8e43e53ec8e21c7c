"""Pages of somebody else's site: a small HTTP server of static files on loopback, in a thread of its own.

Its origin is not the service's; what its pages may do is what the service allows other sites (ALLOWED_ORIGINS).
"""

from __future__ import annotations

import contextlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

TYPES = {".html": "text/html; charset=utf-8", ".js": "text/javascript", ".css": "text/css"}


class Pages(ThreadingHTTPServer):
    """Serve `files` by their names; nothing else exists. `policies`: the Content-Security-Policy of a file."""

    def __init__(self, files: Mapping[str, Path]) -> None:
        self.files = dict(files)
        self.policies: dict[str, str] = {}
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def origin(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Pages

    def do_GET(self) -> None:
        name = urlsplit(self.path).path
        if name == "/favicon.ico":
            self._answer(204, b"", ".html")
        elif name in self.server.files:
            path = self.server.files[name]
            self._answer(200, path.read_bytes(), path.suffix)
        else:
            self._answer(404, b"no such file", ".html")

    def _answer(self, status: int, body: bytes, suffix: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", TYPES[suffix])
        self.send_header("Content-Length", str(len(body)))
        policy = self.server.policies.get(urlsplit(self.path).path)
        if policy:
            self.send_header("Content-Security-Policy", policy)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the base class names it
        """Say nothing."""


@contextlib.contextmanager
def serving(files: Mapping[str, Path]) -> Iterator[Pages]:
    """Run the server."""
    with Pages(files) as pages:
        thread = threading.Thread(target=pages.serve_forever, kwargs={"poll_interval": 0.05}, name="pages")
        thread.start()
        try:
            yield pages
        finally:
            pages.shutdown()
            thread.join()
