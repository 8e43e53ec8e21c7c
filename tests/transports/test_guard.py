from __future__ import annotations

import asyncio
import ipaddress
import json
import random
import string
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from nodes.errors import Away
from nodes.memory_tickets import MemoryTickets
from support.guarded import KEY, LOCAL, App, request_bytes, serving
from terminal_service.policy import Identity
from terminal_service.tickets import Tickets
from terminal_service.values import ApiKey
from transports import peers
from transports.guard import Guard

if TYPE_CHECKING:
    from pathlib import Path


async def test_any_bytes_in_the_heads_that_are_read_are_answered() -> None:
    source = random.Random(7)
    guard = Guard(App(), keys=[ApiKey.of("alice", KEY)], trusted_proxies=[ipaddress.ip_network("127.0.0.0/8")])
    names = (
        b"host origin sec-fetch-site authorization x-api-key content-type content-length x-forwarded-for "
        b"x-forwarded-proto transfer-encoding"
    ).split()
    statuses = set()

    async def send(message: Any) -> None:
        if message["type"].endswith("response.start"):
            statuses.add(message["status"])

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    for _ in range(3000):
        headers = [(b"host", b"localhost")] if source.random() < 0.5 else []
        headers += [
            (source.choice(names), source.randbytes(source.randint(0, 30))) for _ in range(source.randint(0, 4))
        ]
        scope: dict[str, Any] = {
            "type": source.choice(["http", "websocket"]),
            "method": source.choice(["GET", "POST", "OPTIONS"]),
            "scheme": "http",
            "path": source.choice(["/", "", "*", "/x", "//x"]),
            "query_string": source.randbytes(source.randint(0, 20)),
            "headers": headers,
            "client": source.choice([None, ("127.0.0.1", 1), ("x", 0)]),
            "server": ("127.0.0.1", 2),
            "extensions": {"websocket.http.response": {}},
        }
        await guard(scope, receive, send)
    assert statuses <= {200, 400, 401, 403, 415, 421}


@pytest.mark.parametrize(
    "kind",
    [
        None,
        "",
        "text/plain",
        "text/plain; application/json",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/jsonp",
        "text/json",
    ],
)
async def test_a_body_must_say_that_it_is_json(kind: str | None) -> None:
    async with serving() as service:
        headers = [] if kind is None else [("Content-Type", kind)]
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            answer = await service.ask(headers, method=method, body=b'{"shell":"bash"}')
            assert (answer.status, answer.problem["code"]) == (415, "content_type_not_supported")
        chunked = [("Host", service.host), *headers, ("Transfer-Encoding", "chunked")]
        assert (await service.raw(request_bytes("POST", "/", chunked) + b"0\r\n\r\n")).status == 415
        assert not service.app.seen


async def test_json_and_empty_bodies_are_let_in() -> None:
    async with serving() as service:
        for kind in ("application/json", "Application/JSON; charset=utf-8", "application/octet-stream"):
            assert (await service.ask([("Content-Type", kind)], method="POST", body=b"{}")).status == 200
        assert (await service.ask([], method="POST", body=b"")).status == 200
        assert (await service.ask([], method="DELETE")).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        [("Authorization", f"Bearer {KEY}")],
        [("authorization", f"bearer  {KEY} ")],
        [("X-API-Key", KEY)],
    ],
)
async def test_a_key_says_who_asks(headers: list[tuple[str, str]]) -> None:
    keys = [ApiKey.of("bob", "another-key-of-bob"), ApiKey.of("alice", KEY)]
    async with serving(keys=keys) as service:
        assert (await service.ask(headers)).status == 200
        assert (await service.shake(headers)).status == 101
        assert [scope["state"]["identity"] for scope in service.app.seen] == [Identity("alice", "api_key")] * 2


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ([], 401, "credentials_missing"),
        ([("Authorization", "Bearer")], 401, "credentials_malformed"),
        ([("Authorization", f"Basic {KEY}")], 401, "credentials_malformed"),
        ([("Authorization", KEY)], 401, "credentials_malformed"),
        ([("Authorization", f"Bearer {KEY}x")], 401, "credentials_wrong"),
        ([("Authorization", f"Bearer {KEY[:-1]}")], 401, "credentials_wrong"),
        ([("X-API-Key", "")], 401, "credentials_wrong"),
        ([("X-API-Key", b"\xff\xfe")], 401, "credentials_wrong"),
        ([("Cookie", f"token={KEY}")], 401, "credentials_missing"),
        ([("X-API-Key", KEY), ("Authorization", f"Bearer {KEY}")], 400, "credentials_ambiguous"),
        ([("X-API-Key", KEY), ("X-API-Key", KEY)], 400, "header_repeated"),
    ],
)
async def test_with_keys_even_the_local_user_needs_one(
    headers: list[tuple[str, str | bytes]], status: int, code: str
) -> None:
    async with serving(keys=[ApiKey.of("alice", KEY)]) as service:
        for answer in (await service.ask(headers), await service.shake(headers)):
            assert (answer.status, answer.problem["code"]) == (status, code)
            assert ("www-authenticate" in answer.headers) == (status == 401)
            assert KEY[:-1].encode() not in answer.body
        assert not service.app.seen


async def test_health_is_for_everybody_but_not_for_every_page() -> None:
    async with serving(keys=[ApiKey.of("alice", KEY)]) as service:
        for target in (
            "/health",
            "/api/v1/health",
            "/health/live",
            "/api/v1/health/ready",
            "/health?verbose=1",
        ):
            assert (await service.ask(target=target)).status == 200
        assert {scope["state"]["identity"] for scope in service.app.seen} == {None}
        seen = len(service.app.seen)
        for target in ("/health/", "/healthy", "/health/../api/v1/sessions", "/api/v1/health/other"):
            assert (await service.ask(target=target)).status == 401
        assert (await service.ask(target="/health", method="POST")).status == 401
        assert (await service.shake(target="/health")).status == 401
        assert (await service.ask(target="/health", host="evil.example")).status == 421
        assert (await service.ask([("Origin", "https://evil.example")], target="/health")).status == 403
        assert len(service.app.seen) == seen


@pytest.mark.parametrize(
    "query",
    [
        "token=x",
        "a=1&api_key=x",
        "access_token=x",
        "Key=x",
        "AUTHORIZATION=x",
        "%74oken=x",
        "a;token=x",
        "token",
        "+token=x",
    ],
)
async def test_credentials_in_the_query_are_refused(query: str) -> None:
    async with serving(keys=[ApiKey.of("alice", KEY)]) as service:
        for ask in (service.ask, service.shake):
            answer = await ask([("X-API-Key", KEY)], target=f"/?{query}")
            assert (answer.status, answer.problem["code"]) == (400, "credentials_in_query")
        assert not service.app.seen
        assert (await service.ask([("X-API-Key", KEY)], target="/?tokens=1&a=token&ticket=x")).status == 200


@pytest.mark.parametrize(
    "header",
    [
        "X-Forwarded-For",
        "X-Forwarded-Proto",
        "X-Forwarded-Host",
        "X-Forwarded-Anything",
        "Forwarded",
        "X-Real-IP",
        "Via",
    ],
)
async def test_without_keys_nobody_comes_through_a_proxy(header: str) -> None:
    async with serving() as service:
        for answer in (await service.ask([(header, "x")]), await service.shake([(header, "x")])):
            assert (answer.status, answer.problem["code"]) == (403, "proxied")
        assert not service.app.seen


AS_NOBODY = """
import encodings.idna, os, socket, sys
os.setgroups([]); os.setgid(65534); os.setuid(65534)
link = socket.socket(getattr(socket, sys.argv[1]))
link.connect(sys.argv[2] if sys.argv[1] == "AF_UNIX" else ("127.0.0.1", int(sys.argv[2])))
link.sendall(sys.stdin.buffer.read())
while data := link.recv(65536):
    sys.stdout.buffer.write(data)
"""


@pytest.mark.platform("linux", "darwin")
@pytest.mark.skipif(peers.own_uid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("family", ["AF_INET", "AF_UNIX"])
async def test_without_keys_no_other_user_of_the_machine_comes_in(family: str, tmp_path: Path) -> None:
    for parent in (tmp_path, *tmp_path.parents[:3]):  # one more where tests run side by side
        parent.chmod(0o755)
    path = tmp_path / "http.sock" if family == "AF_UNIX" else None
    async with serving(path) as service:
        request = request_bytes("GET", "/", [("Host", "localhost"), ("Connection", "close")])
        helper = await asyncio.create_subprocess_exec(
            sys.executable, "-c", AS_NOBODY, family, service.path or str(service.port),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        output, _ = await helper.communicate(request)
        assert output.startswith(b"HTTP/1.1 403 ")
        assert b"not_local_user" in output
        assert not service.app.seen


@pytest.mark.platform("linux", "darwin")
@pytest.mark.asyncio(loop_factories=["uvloop", "asyncio"])
async def test_the_same_user_comes_in_by_a_unix_socket(tmp_path: Path) -> None:
    async with serving(tmp_path / "http.sock") as service:
        assert (await service.ask(host="localhost")).status == 200
        assert (await service.shake(host="localhost")).status == 101
        assert (await service.ask(host="evil.example")).status == 421
        assert {scope["state"]["identity"] for scope in service.app.seen} == {LOCAL}


async def test_whose_peer_is_not_known_is_refused() -> None:
    statuses = []

    async def send(message: Any) -> None:
        statuses.append(message.get("status"))

    async def receive() -> Any:
        raise AssertionError("the body of a refused request is not read")

    for client in (None, ("testclient", 1), ("127.0.0.1", 1), ("192.0.2.1", 1)):
        scope = {"type": "http", "method": "GET", "path": "/", "headers": [(b"host", b"localhost")]}
        await Guard(App())({**scope, "client": client, "server": ("127.0.0.1", 1)}, receive, send)
    assert statuses == [403, None] * 4


async def test_a_trusted_proxy_tells_client_and_scheme() -> None:
    networks = [ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("10.0.0.0/8")]
    key = ("X-API-Key", KEY)
    async with serving(keys=[ApiKey.of("alice", KEY)], trusted_proxies=networks, hosts=["t.example"]) as service:
        forwarded = [("X-Forwarded-For", "6.6.6.6, 192.0.2.7"), ("X-Forwarded-For", "10.0.0.2")]
        own = ("Origin", "https://t.example")
        proto = ("X-Forwarded-Proto", "https")
        assert (await service.ask([key, own, proto, *forwarded], host="t.example")).status == 200
        assert (await service.shake([key, own, proto, *forwarded], host="t.example")).status == 101
        assert (await service.ask([key, own], host="t.example")).status == 403
        assert (await service.ask([key, ("X-Forwarded-For", "nonsense")])).status == 200
        seen = [(scope["client"][0], scope["scheme"]) for scope in service.app.seen]
        assert seen == [("192.0.2.7", "https"), ("192.0.2.7", "wss"), ("127.0.0.1", "http")]


async def test_an_unlisted_proxy_is_not_believed() -> None:
    networks = [ipaddress.ip_network("10.0.0.0/8")]
    async with serving(keys=[ApiKey.of("alice", KEY)], trusted_proxies=networks) as service:
        forwarded = [("X-API-Key", KEY), ("X-Forwarded-For", "192.0.2.7"), ("X-Forwarded-Proto", "https")]
        assert (await service.ask(forwarded)).status == 200
        assert (service.app.seen[0]["client"][0], service.app.seen[0]["scheme"]) == ("127.0.0.1", "http")


async def test_every_response_has_the_security_headers_and_the_app_may_set_its_own() -> None:
    async with serving() as service:
        for answer in (await service.ask(), await service.ask(host="evil.example")):
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["referrer-policy"] == "no-referrer"
            assert answer.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
        answer = await service.ask(target="/docs")
        assert answer.headers["content-security-policy"] == "default-src 'self'"


async def test_a_path_without_a_slash_is_refused() -> None:
    async with serving() as service:
        assert (await service.ask(target="*", method="OPTIONS")).status == 400
        assert not service.app.seen


async def test_a_real_client_is_let_in_or_told_why_not() -> None:
    async with serving() as service:
        async with connect(f"ws://{service.host}/ws", compression=None) as link:
            assert await link.recv() == LOCAL.user
        with pytest.raises(InvalidStatus) as refused:
            await connect(f"ws://{service.host}/ws", origin="http://evil.example")  # type: ignore[arg-type]
        assert refused.value.response.status_code == 403
        assert json.loads(refused.value.response.body)["code"] == "origin_not_allowed"


async def test_a_server_that_cannot_deny_with_a_response_is_told_to_close() -> None:
    sent = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    scope = {"type": "websocket", "path": "/ws", "headers": [(b"host", b"evil.example")]}
    await Guard(App())(scope, receive, send)
    assert sent == [{"type": "websocket.close", "code": 4403}]


async def test_refusals_are_logged_without_headers_and_queries(capfd: pytest.CaptureFixture[str]) -> None:
    canary = "".join(random.Random(1).choices(string.ascii_lowercase, k=20))
    async with serving(keys=[ApiKey.of("alice", KEY)]) as service:
        for headers in ([("Origin", f"http://{canary}")], [("X-API-Key", canary)], [("Cookie", canary)]):
            await service.ask(headers, target=f"/?token={canary}")
            await service.ask(headers, target=f"/{canary}?a={canary}")
            await service.shake(headers, target=f"/?a={canary}")
        await service.ask(host=f"{canary}.example")
    output = "".join(capfd.readouterr())
    assert "request refused" in output
    assert canary not in output


class AwayStore(MemoryTickets):
    """Where tickets are kept that any node may be shown, when it does not answer."""

    async def take(self, digest: bytes) -> bytes | None:
        raise Away(f"no answer about {digest.hex()[:4]}")


async def test_a_ticket_that_nobody_can_judge_now_is_to_be_shown_again() -> None:
    async with serving(keys=[ApiKey.of("alice", KEY)], tickets=Tickets(AwayStore())) as service:
        answer = await service.shake(target="/ws/terminal/a-session?ticket=x")
        assert (answer.status, answer.problem["code"]) == (503, "unavailable")
        assert answer.headers["retry-after"] == "1"
        assert not service.app.seen
