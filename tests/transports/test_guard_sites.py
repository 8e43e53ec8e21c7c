from __future__ import annotations

import random
import re

import pytest

from support.guarded import ALLOWED, KEY, LOCAL, request_bytes, serving
from terminal_service.values import ApiKey


def hostile_origins(port: int) -> list[str | bytes]:
    """Origins that are not http://127.0.0.1:port and not the allowed one, however much they look like it."""
    return [
        "null",
        "",
        "http://evil.example",
        "https://evil.example",
        f"http://evil.example:{port}",
        f"http://localhost.evil.example:{port}",
        f"http://127.0.0.1.evil.example:{port}",
        f"http://127.0.0.1:{port}.evil.example",
        f"http://127.0.0.1:{port}@evil.example",
        f"http://evil.example@127.0.0.1:{port}",
        f"http://127.0.0.1:{port}#@evil.example",
        f"https://127.0.0.1:{port}",
        f"ws://127.0.0.1:{port}",
        f"http://127.0.0.1:{port - 1}",
        f"http://127.0.0.1:0{port}",
        "http://127.0.0.1",
        f"http://localhost:{port}",
        f"http://[::1]:{port}",
        f"http://[::ffff:127.0.0.1]:{port}",
        f"http://127.0.0.1.:{port}",
        f"HTTP://127.0.0.1:{port}",
        f"http://127.0.0.1:{port}/",
        f"http://127.0.0.1:{port}?",
        f"http://127.0.0.1:{port} http://evil.example",
        f"http://evil.example, http://127.0.0.1:{port}",
        f"http://2130706433:{port}",
        f"http://0x7f000001:{port}",
        f"http://127.1:{port}",
        f"http://0.0.0.0:{port}",
        f"http://127.0.0.1%3a{port}",
        f"http:\\\\127.0.0.1:{port}",
        f"//127.0.0.1:{port}",
        f"127.0.0.1:{port}",
        "file://",
        "about:blank",
        "chrome-extension://aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        "http://app.example.com",
        "https://app.example.com.evil.example",
        "https://evilapp.example.com",
        "https://sub.app.example.com",
        "https://example.com",
        "https://app.example.com:443",
        "https://app.example.com:8443",
        "https://app.example.com.",
        "https://APP.example.com",
        "https://user:pw@app.example.com",
        "https://\u0430pp.example.com",  # a Cyrillic letter
        "https://xn--pp-6kc.example.com",
        "https://app\u3002example.com",  # an ideographic full stop
        b"https://app.example.com\xff",
        "https://" + "a" * 4000,
    ]


@pytest.mark.parametrize("kind", ["GET", "POST", "websocket"])
async def test_a_page_of_another_origin_reaches_nothing(kind: str) -> None:
    async with serving(origins=[ALLOWED]) as service:
        assert len(hostile_origins(service.port)) >= 30
        for origin in hostile_origins(service.port):
            headers: list[tuple[str, str | bytes]] = [
                ("Origin", origin),
                ("Content-Type", "application/json"),
            ]
            if kind == "websocket":
                answer = await service.shake(headers)
            else:
                answer = await service.ask(headers, method=kind, body=b"{}" if kind == "POST" else None)
            assert (answer.status, origin) == (403, origin)
            assert answer.problem["code"] == "origin_not_allowed"
            assert "access-control-allow-origin" not in answer.headers
        assert not service.app.seen
        assert set(service.refusals) == {"origin_not_allowed"}


async def test_our_own_and_allowed_origins_may_come_in() -> None:
    async with serving(origins=[ALLOWED], hosts=["term.example.com"]) as service:
        own = f"http://{service.host}"
        for headers, host in (
            ([("Origin", own), ("Sec-Fetch-Site", "same-origin")], ""),
            ([("Origin", f"http://localhost:{service.port}")], f"LOCALHOST:{service.port}"),
            ([("Origin", "http://[::1]:9999")], "[0:0::1]:9999"),  # a tunnel may have another port
            ([("Origin", "http://term.example.com")], "term.example.com"),
            ([("Origin", "http://term.example.com")], "term.example.com:80"),
            ([("Origin", ALLOWED), ("Sec-Fetch-Site", "cross-site")], ""),
            ([], ""),
            ([("Sec-Fetch-Site", "none")], ""),
        ):
            assert (await service.ask(headers, host=host)).status == 200
            assert (await service.shake(headers, host=host)).status == 101
        assert all(scope["state"]["identity"] == LOCAL for scope in service.app.seen)


async def test_a_repeated_or_missing_head_is_refused() -> None:
    async with serving() as service:
        own = f"http://{service.host}"
        for ask in (service.ask, service.shake):
            assert (await ask([("Origin", own), ("Origin", own)])).status == 400
            assert (await ask([("Host", service.host)])).status == 400
            assert (await ask([("Sec-Fetch-Site", "none"), ("Sec-Fetch-Site", "cross-site")])).status == 400
            assert (await ask(host=None)).status == 400
        assert not service.app.seen


@pytest.mark.parametrize("site", ["cross-site", "same-site", "CROSS-SITE", "anything"])
async def test_requests_of_other_sites_are_refused_on_every_route(site: str) -> None:
    async with serving() as service:
        for target in ("/", "/docs", "/health", "/metrics", "/api/v1/sessions", "/unknown"):
            answer = await service.ask([("Sec-Fetch-Site", site), ("Sec-Fetch-Mode", "navigate")], target=target)
            assert (answer.status, answer.problem["code"]) == (403, "cross_site")
        assert (await service.shake([("Sec-Fetch-Site", site)])).status == 403
        assert not service.app.seen


async def test_a_link_of_another_site_leads_to_the_console_and_nowhere_else() -> None:
    visit = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    page = {"Accept": "text/html,*/*;q=0.8"}
    async with serving() as service:
        assert (await service.ask([*visit.items(), *page.items()])).status == 200
        assert [scope["state"]["identity"] for scope in service.app.seen] == [None]
        for target, method, headers in (
            ("/", "GET", {**visit, "Accept": "*/*"}),
            ("/", "POST", {**visit, **page}),
            ("/", "GET", {**visit, **page, "Sec-Fetch-Dest": "iframe"}),
            ("/", "GET", {**visit, **page, "Sec-Fetch-Mode": "no-cors"}),
            ("/", "GET", {**visit, **page, "Origin": "https://evil.example"}),
            ("/docs", "GET", {**visit, **page}),
            ("/assets/main.js", "GET", {**visit, **page}),
            ("/api/v1/sessions", "GET", {**visit, **page}),
        ):
            answer = await service.ask(list(headers.items()), target=target, method=method)
            assert (answer.status, target, method) == (403, target, method)
        assert (await service.shake([*visit.items(), *page.items()])).status == 403
        assert len(service.app.seen) == 1


async def test_a_name_that_was_rebound_to_loopback_is_refused() -> None:
    async with serving(hosts=["term.example.com"]) as service:
        for host, status in {
            "evil.example": 421,
            f"evil.example:{service.port}": 421,
            "term.example.com.evil.example": 421,
            "evil-term.example.com": 421,
            "sub.term.example.com": 421,
            "localhost.localdomain": 421,
            "0.0.0.0": 421,
            "127.1": 421,
            "2130706433": 421,
            "127.0.0.2": 421,
            "[::]": 421,
            "[::ffff:127.0.0.1]": 421,
            "localhost.": 400,
            "localhost:": 400,
            "localhost:0": 400,
            "localhost:65536": 400,
            "localhost:080": 400,
            "localhost@evil.example": 400,
            "localhost/": 400,
            "localhost, evil.example": 400,
            "::1": 400,
            "[::1": 400,
            "[::1%lo]": 400,
            "[localhost]": 400,
            "loc%61lhost": 400,
            "l\u00f6calhost": 400,
            "*": 400,
        }.items():
            headers = [("Origin", f"http://{host}")]
            assert ((await service.ask(headers, host=host)).status, host) == (status, host)
            assert ((await service.shake(host=host)).status, host) == (status, host)
        assert not service.app.seen


PIECES = b"localhost 127.0.0.1 [::1] : 8081 . [ ] % @ , - \xff \xc3\xa9".split()
ANY = b"\t" + bytes(range(32, 127)) + bytes(range(128, 256))


def noise(source: random.Random) -> bytes:
    """Return what may be a Host header: fragments of good ones, or bytes of every kind HTTP lets in."""
    if source.random() < 0.7:
        return b"".join(source.choices(PIECES, k=source.randint(0, 6)))
    return bytes(source.choices(ANY, k=source.randint(0, 40)))


async def test_no_host_makes_the_server_fail() -> None:
    source = random.Random(20250827)
    async with serving() as service, service.kept_open() as ask:
        for _ in range(3000):
            host = noise(source)
            answer = await ask(request_bytes("GET", "/", [("Host", host)]))
            assert answer.status in {200, 400, 421}
            if answer.status == 200:
                assert re.fullmatch(rb"(localhost|127\.0\.0\.1|\[::1\])(:\d+)?", host.strip(), re.IGNORECASE)


async def test_a_page_of_another_site_cannot_post_without_being_asked() -> None:
    async with serving() as service:
        # What browsers send for fetch(..., {mode: "no-cors", method: "POST"}), and old ones for a form.
        for headers in (
            [
                ("Origin", "http://evil.example"),
                ("Sec-Fetch-Site", "cross-site"),
                ("Content-Type", "text/plain"),
            ],
            [("Origin", "null"), ("Content-Type", "text/plain")],
            [("Content-Type", "application/x-www-form-urlencoded")],
        ):
            answer = await service.ask(headers, method="POST", target="/api/v1/sessions", body=b'{"shell":"sh"}')
            assert answer.status in {403, 415}
        assert not service.app.seen


async def test_a_preflight_is_answered_for_allowed_origins_only_and_needs_no_key() -> None:
    asks = ("Access-Control-Request-Method", "POST")
    async with serving(origins=[ALLOWED], keys=[ApiKey.of("alice", KEY)]) as service:
        answer = await service.ask([("Origin", ALLOWED), asks], method="OPTIONS")
        assert answer.status == 204
        assert answer.headers["access-control-allow-origin"] == ALLOWED
        assert "access-control-allow-credentials" not in answer.headers
        assert (await service.ask([("Origin", "https://evil.example"), asks], method="OPTIONS")).status == 403
        assert (await service.ask([("Origin", ALLOWED)])).headers["access-control-allow-origin"] == ALLOWED
        assert not service.app.seen
        answer = await service.ask([("Origin", ALLOWED), ("X-API-Key", KEY)])
        assert (answer.status, answer.headers["access-control-allow-origin"]) == (200, ALLOWED)
