"""What a browser comes in by: the console at "/" and its files, the element for other pages; what programs get."""

from __future__ import annotations

import gzip
import re
from typing import TYPE_CHECKING

import httpx
import pytest

from support.http_service import serve
from transports.accepted import takes_gzip
from transports.bundle import LIMIT_BYTES, Asset, Bundle, BundleTooLarge

if TYPE_CHECKING:
    from pathlib import Path

BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
INDEX = b'<!doctype html><script type="module" src="./assets/main-4f3a.js"></script>' + b" " * 1000
SCRIPT = b"export const answer = 42;\n" * 100
BUNDLE = Bundle(
    {
        "index.html": Asset(INDEX, "text/html; charset=utf-8"),
        "assets/main-4f3a.js": Asset(SCRIPT, "text/javascript; charset=utf-8"),
        "assets/tiny-1b2c.js": Asset(b";", "text/javascript; charset=utf-8"),
        "assets/mono-9e8d.woff2": Asset(b"font" * 100, "font/woff2"),
        "embed/terminal-session.js": Asset(b"import './webgl-77aa.js';" * 10, "text/javascript; charset=utf-8"),
        "embed/webgl-77aa.js": Asset(SCRIPT, "text/javascript; charset=utf-8"),
    }
)
FILES = ["/", *(f"/{path}" for path in BUNDLE.files if path != "index.html")]


async def test_a_browser_gets_the_console_and_a_program_gets_json() -> None:
    async with serve(bundle=BUNDLE) as service:
        page = await service.http.get("/", headers=BROWSER)
        assert page.content == INDEX
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        front = (await service.http.get("/")).json()
        assert set(front) == {"service", "version", "status", "active_sessions", "nodes", "endpoints"}
        for name in ("health", "metrics", "docs", "openapi"):
            assert (await service.http.get(front["endpoints"][name])).status_code == 200
        for accept in ("application/json, text/html", "*/*", "", "garbage;;,,"):
            answer = await service.http.get("/", headers={"Accept": accept})
            assert answer.headers["content-type"] == "application/json"
            assert answer.headers["vary"] == "Accept"


async def test_the_policy_of_the_console_lets_in_nothing_inline_and_nothing_from_elsewhere() -> None:
    async with serve(bundle=BUNDLE) as service:
        headers = (await service.http.get("/", headers=BROWSER)).headers
    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
    assert policy.pop("default-src") == "'none'"
    assert {policy.pop(name) for name in ("base-uri", "form-action", "frame-ancestors")} == {"'none'"}
    assert policy.pop("img-src") == "'self' data: blob:"  # pictures in terminals
    assert (policy.pop("require-trusted-types-for"), policy.pop("trusted-types")) == ("'script'", "lit-html")
    assert policy.pop("script-src") == "'self' 'wasm-unsafe-eval'"
    assert set(policy.values()) == {"'self'"}
    assert "clipboard-write=(self)" in headers["permissions-policy"]
    assert "camera=()" in headers["permissions-policy"]
    for name, value in {
        "x-content-type-options": "nosniff",
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
        "referrer-policy": "no-referrer",
    }.items():
        assert headers[name] == value


async def test_files_with_a_hash_in_their_name_are_kept_forever_the_others_asked_for_again() -> None:
    async with serve(bundle=BUNDLE) as service:
        for path in FILES:
            answer = await service.http.get(path, headers=BROWSER)
            hashed = re.search(r"-[0-9a-f]{4}\.", path)
            expected = "public, max-age=31536000, immutable" if hashed else "no-cache"
            assert (path, answer.headers["cache-control"]) == (path, expected)
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["etag"]
        assert (await service.http.get("/assets/mono-9e8d.woff2")).headers["content-type"] == "font/woff2"


@pytest.mark.parametrize("path", FILES)
async def test_a_browser_that_has_a_file_is_told_so_and_gets_no_body(path: str) -> None:
    async with serve(bundle=BUNDLE) as service:
        first = await service.http.get(path, headers=BROWSER)
        for tags in (first.headers["etag"], f'"x", W/{first.headers["etag"]}', "*"):
            again = await service.http.get(path, headers={**BROWSER, "If-None-Match": tags})
            assert (again.status_code, again.content) == (304, b"")
            assert {again.headers[name] == first.headers[name] for name in ("etag", "cache-control", "vary")} == {True}
        for tags in ('"x"', first.headers["etag"].strip('"'), '"'):
            assert (await service.http.get(path, headers={**BROWSER, "If-None-Match": tags})).status_code == 200
        head = await service.http.head(path, headers=BROWSER)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-length"] == first.headers["content-length"]


async def test_content_is_packed_for_who_takes_it_and_where_it_gains_something() -> None:
    async with serve(bundle=BUNDLE) as service:
        plain = await service.http.get("/assets/main-4f3a.js", headers={"Accept-Encoding": "identity"})
        assert "content-encoding" not in plain.headers
        assert plain.content == SCRIPT
        packed = await service.http.get("/assets/main-4f3a.js", headers={"Accept-Encoding": "br, gzip;q=0.5"})
        assert packed.headers["content-encoding"] == "gzip"
        assert int(packed.headers["content-length"]) < len(SCRIPT) / 10
        assert packed.content == SCRIPT
        assert packed.headers["etag"] != plain.headers["etag"]
        assert packed.headers["vary"] == plain.headers["vary"] == "Accept-Encoding"
        for path in ("/assets/tiny-1b2c.js", "/assets/mono-9e8d.woff2"):
            answer = await service.http.get(path, headers={"Accept-Encoding": "gzip"})
            assert "content-encoding" not in answer.headers


@pytest.mark.parametrize(
    ("codings", "takes"),
    [
        (["gzip"], True),
        (["GZIP ; q=1"], True),
        (["*"], True),
        (["br", "*;q=0.1"], True),
        (["gzip;q=0", "*"], False),
        (["gzip;q=0.000"], False),
        (["gzip;q=no"], False),
        (["gzip;q"], False),
        (["identity"], False),
        ([], False),
    ],
)
def test_accept_encoding_is_understood(codings: list[str], *, takes: bool) -> None:
    assert takes_gzip(codings) is takes


@pytest.mark.parametrize(
    "path",
    [
        "/assets/",
        "/assets/nothing.js",
        "/assets/index.html",
        "/assets/../index.html",
        "/assets/..%2findex.html",
        "/assets/..%2f..%2fpolicy.py",
        "/assets/%2e%2e/%2e%2e/policy.py",
        "/assets//etc/passwd",
        "/assets/%2fetc%2fpasswd",
        "/assets/main-4f3a.js/",
        "/assets/main-4f3a.js%00",
        "/assets/..\\index.html",
        "/embed/main-4f3a.js",
        "/embed/..%2fassets%2fmain-4f3a.js",
        "/index.html",
    ],
)
async def test_there_are_no_files_but_those_that_were_built(path: str) -> None:
    async with serve(bundle=BUNDLE) as service:
        # httpx would tidy the path up.
        target = httpx.URL(service.url).copy_with(raw_path=path.encode())
        answer = await service.http.get(target, headers=BROWSER)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


async def test_with_keys_the_console_is_for_everybody_and_nothing_that_it_shows() -> None:
    async with serve(keys=True, bundle=BUNDLE) as service:
        for path in FILES:
            assert (await service.http.get(path, headers=BROWSER)).status_code == 200
            assert (await service.http.head(path, headers=BROWSER)).status_code == 200
            assert (await service.http.post(path, headers=BROWSER)).status_code == 401
        for path in ("/", "/metrics", "/openapi.json", "/api/v1/sessions"):
            assert (await service.http.get(path)).status_code == 401
        for accept in ("*/*", "application/json, text/html"):
            assert (await service.http.get("/", headers={"Accept": accept})).status_code == 401
        for path in ("/assets/a/b", "/assets/", "/embed/x/../../api/v1/sessions", "/embed"):
            target = httpx.URL(service.url).copy_with(raw_path=path.encode())
            assert (await service.http.get(target, headers=BROWSER)).status_code == 401
        async with service.client("ann") as ann:
            assert (await ann.get("/")).json()["service"] == "Terminal Service"


async def test_without_a_bundle_the_front_says_how_to_get_it_and_how_to_begin() -> None:
    async with serve() as service:
        page = await service.http.get("/", headers=BROWSER)
        assert page.headers["content-type"].startswith("text/html")
        assert "<script" not in page.text
        assert "script-src" not in page.headers["content-security-policy"]
        assert "make web" in page.text
        assert f"curl {service.url}/api/v1/sessions" in page.text
        links = re.findall(r'href="([^"]+)"', page.text)
        assert links
        for link in links:
            assert (await service.http.get("/" + link)).status_code == 200
        assert (await service.http.get("/assets/main-4f3a.js")).status_code == 404
        assert (await service.http.get("/embed/terminal-session.js")).status_code == 404
    async with serve(keys=True) as service:
        said = (await service.http.get("/", headers=BROWSER)).text
        assert "make web" in said
        assert "ersion" not in said  # everybody may read it, so it says nothing of this service


# -- what a bundle is


def test_a_bundle_is_what_lies_in_its_directory_and_is_of_a_known_type(tmp_path: Path) -> None:
    (tmp_path / "assets").mkdir()
    (tmp_path / "index.html").write_bytes(INDEX)
    (tmp_path / "assets" / "main-4f3a.js").write_bytes(SCRIPT)
    (tmp_path / "assets" / "main-4f3a.js.map").write_bytes(b"{}")
    (tmp_path / "assets" / ".hidden").write_bytes(b"")
    bundle = Bundle.read(tmp_path)
    assert set(bundle.files) == {"index.html", "assets/main-4f3a.js"}
    assert bundle.index == BUNDLE.index
    assert Bundle.read(tmp_path / "nothing") == Bundle({})
    assert Bundle({}).index is None


def test_a_directory_too_large_for_a_bundle_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "large.js").open("wb") as file:
        file.truncate(LIMIT_BYTES + 1)
    with pytest.raises(BundleTooLarge, match=re.escape(str(tmp_path))):
        Bundle.read(tmp_path)


async def test_a_file_is_packed_the_same_way_each_time() -> None:
    one, other = Asset(SCRIPT, "text/javascript"), Asset(SCRIPT, "text/javascript")
    packed = await one.packed()
    assert packed is not None
    assert packed == await one.packed() == await other.packed()
    assert gzip.decompress(packed) == SCRIPT
