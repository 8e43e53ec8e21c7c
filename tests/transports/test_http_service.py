"""Health, metrics, documentation; and what every request meets: bounds, refusals, faults."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from backends.echo import EchoBackend
from replay.memory import MemoryStore
from support.http_service import serve
from transports.bodies import LIMIT_BYTES

if TYPE_CHECKING:
    from pathlib import Path

    from backends.base import Order

SESSIONS = "/api/v1/sessions"
JSON = {"Content-Type": "application/json"}


# -- health, metrics


@pytest.mark.parametrize("path", ["/health", "/api/v1/health", "/health/ready", "/api/v1/health/ready"])
async def test_health_is_what_the_first_clients_know(path: str) -> None:
    async with serve(keys=True) as service:  # and needs no key
        answer = await service.http.get(path)
        health = answer.json()
        assert answer.status_code == 200
        assert (health["status"], health["active_sessions"]) == ("healthy", 0)
        assert isinstance(health["timestamp"], float)
        assert {check["status"] for check in health["checks"].values()} == {"ok"}
        assert (await service.http.head(path)).status_code == 200


async def test_a_stopping_service_is_alive_but_not_ready() -> None:
    async with serve() as service:
        await service.create()
        assert (await service.http.get("/health")).json()["active_sessions"] == 1
        service.sessions.stop()
        for path in ("/health", "/health/ready"):
            answer = await service.http.get(path)
            assert (answer.status_code, answer.json()["status"]) == (503, "unhealthy")
            assert answer.json()["checks"]["sessions"]["status"] == "failed"
        assert (await service.http.get("/health/live")).json() == {"status": "alive"}


async def test_a_full_service_is_healthy_and_says_that_it_is_full() -> None:
    async with serve(max_sessions=1) as service:
        await service.create()
        health = (await service.http.get("/health")).json()
        assert (health["status"], health["checks"]["sessions"]["status"]) == ("healthy", "degraded")


async def test_metrics_are_text() -> None:
    async with serve() as service:
        await service.create()
        answer = await service.http.get("/metrics")
        assert "terminal_sessions_created_total 1.0" in answer.text
        assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"


# -- documentation


async def test_the_documentation_loads_nothing_from_elsewhere_and_nothing_inline() -> None:
    async with serve() as service:
        page = await service.http.get("/docs")
        policy = page.headers["content-security-policy"]
        assert "script-src 'self';" in policy
        assert not re.search(r"<script(?![^>]*\bsrc=)|\son\w+=|https?:", page.text)
        assets = re.findall(r'(?:src|href)="(docs/[^"]+)"', page.text)
        assert len(assets) == 3
        for asset in assets:
            answer = await service.http.get("/" + asset)
            assert answer.status_code == 200
            assert answer.content
            assert answer.headers["content-type"].partition(";")[0] in {"text/css", "text/javascript"}
        assert (await service.http.get("/docs/..%2f__init__.py")).status_code == 404
        assert (await service.http.get("/docs/core.py")).status_code == 422


async def test_with_keys_a_browser_gets_the_page_that_asks_for_one_and_nothing_that_it_documents() -> None:
    async with serve(keys=True) as service:
        page = await service.http.get("/docs")
        assert page.status_code == 200
        assert 'type="password"' in page.text
        said = page.text
        for asset in re.findall(r'(?:src|href)="(docs/[^"]+)"', page.text):
            answer = await service.http.get("/" + asset)
            assert answer.status_code == 200
            said += answer.text if asset.endswith("start.js") else ""  # the others are Swagger UI's
        assert "sessions" not in said
        assert (await service.http.get("/openapi.json")).status_code == 401
        assert (await service.http.post("/docs")).status_code == 401
        async with service.client("ann") as ann:
            assert (await ann.get("/openapi.json")).json()["security"] == [{"bearer": []}, {"key": []}]


# -- what every request meets


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing", 404, "not_found"),
        ("GET", "/api/v1/sessions/", 404, "not_found"),
        ("GET", "/api/v1/sessions/x/nothing", 404, "not_found"),
        ("GET", "/api/v1/sessions/x", 404, "unknown_session"),
        ("DELETE", "/api/v1/sessions", 405, "method_not_allowed"),
        ("POST", "/health", 405, "method_not_allowed"),
        ("TRACE", "/", 405, "method_not_allowed"),
    ],
)
async def test_every_refusal_is_a_problem(method: str, path: str, status: int, code: str) -> None:
    async with serve() as service:
        answer = await service.http.request(method, path)
        assert answer.headers["content-type"] == "application/problem+json"
        problem = answer.json()
        assert (answer.status_code, problem["status"], problem["code"]) == (status, status, code)
        assert problem["title"]
        assert problem["detail"]


async def test_method_not_allowed_names_all_that_are() -> None:
    async with serve() as service:
        answer = await service.http.put(SESSIONS + "/x")
        assert answer.headers["allow"] == "DELETE, GET, PATCH"


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{", 400, "invalid_json"),
        (b'{"rows": 1', 400, "invalid_json"),
        (b"\xff", 400, "bad_request"),
        (b"[" * 100_000, 400, "bad_request"),
        (b'{"rows": ' + b"1" * 10_000 + b"}", 400, "bad_request"),
        (b"", 422, "invalid_request"),
        (b"null", 422, "invalid_request"),
        (b"[]", 422, "invalid_request"),
        (b'"x"', 422, "invalid_request"),
        (b'{"rows": NaN}', 422, "invalid_request"),
        (b'{"ttl_seconds": Infinity}', 422, "invalid_request"),
    ],
)
async def test_a_body_that_is_not_what_it_should_be(body: bytes, status: int, code: str) -> None:
    async with serve() as service:
        answer = await service.http.post(SESSIONS, content=body, headers=JSON)
        assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text


async def test_wrong_json_is_told_with_its_place() -> None:
    async with serve() as service:
        answer = await service.http.post(SESSIONS, content=b'{"rows": 24,}', headers=JSON)
        assert re.search(r"at character 1[12]$", answer.json()["detail"])  # Python 3.13 points at the comma


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "application/octet-stream"])
async def test_json_must_be_declared(kind: str) -> None:
    async with serve() as service:
        answer = await service.http.post(SESSIONS, content=b"{}", headers={"Content-Type": kind})
        assert (answer.status_code, answer.json()["code"]) == (415, "content_type_not_supported")


async def test_a_thousand_wrong_fields_are_told_in_few_words() -> None:
    async with serve() as service:
        answer = await service.http.post(SESSIONS, json={f"{n}-{'x' * 500}": 1 for n in range(1000)})
        assert answer.status_code == 422
        assert len(answer.json()["errors"]) == 20
        assert len(answer.content) < 10_000


async def test_a_body_too_large_is_refused_before_it_is_read() -> None:
    async with serve() as service:
        url = httpx.URL(service.url)
        reader, writer = await asyncio.open_connection(url.host, url.port)
        length = LIMIT_BYTES + 1
        head = f"POST {SESSIONS} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        writer.write(f"{head}Content-Length: {length}\r\n\r\n".encode())
        assert (await reader.readline()).startswith(b"HTTP/1.1 413")  # of the body nothing was sent
        writer.close()
        await writer.wait_closed()


async def test_a_body_of_unknown_length_is_cut_off_at_the_bound() -> None:
    async def endless() -> Any:
        for _ in range(LIMIT_BYTES // 65536 + 2):
            yield b" " * 65536

    async with serve() as service:
        answer = await service.http.post(SESSIONS, content=endless(), headers=JSON)
        assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
        assert (await service.http.get("/health")).status_code == 200


async def test_a_client_that_leaves_in_the_middle_of_a_body_harms_nobody() -> None:
    async with serve() as service:
        url = httpx.URL(service.url)
        _, writer = await asyncio.open_connection(url.host, url.port)
        head = f"POST {SESSIONS} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        writer.write(f'{head}Content-Length: 100\r\n\r\n{{"rows":'.encode())
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        assert (await service.http.get(SESSIONS)).json() == []


class BrokenBackend(EchoBackend):
    """A backend with a fault of ours in it."""

    async def open(self, order: Order) -> Any:
        raise RuntimeError(f"canary {order.session_id}")


async def test_a_fault_of_ours_is_500_without_insides_and_is_logged(capsys: pytest.CaptureFixture[str]) -> None:
    async with serve(backends={"echo": EchoBackend(), "broken": BrokenBackend()}) as service:
        answer = await service.http.post(SESSIONS, json={"backend": "broken"})
        assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
        assert "canary" not in answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        assert not list(service.sessions.all())
        await service.create()
    logged = capsys.readouterr().out
    assert "request failed" in logged
    assert "canary" in logged


class FullStore(MemoryStore):
    """A store whose disk is full: it keeps logs in memory and says so."""

    def create(self, name: str, retention_bytes: int) -> Any:
        from replay.errors import StorageFull  # noqa: PLC0415 - only here

        log = super().create(name, retention_bytes)
        log.degraded = StorageFull("no space left on device")
        return log


async def test_output_kept_in_memory_only_is_told_and_is_no_failure(tmp_path: Path) -> None:
    del tmp_path
    async with serve(store=FullStore()) as service:
        view = await service.create()
        assert view["storage"]["durable"] is False
        assert "no space left" in view["storage"]["reason"]
        health = (await service.http.get("/health")).json()
        assert (health["status"], health["checks"]["storage"]["status"]) == ("healthy", "degraded")


async def test_a_recovered_session_whose_output_is_gone_is_shown_and_says_so() -> None:
    from terminal_service.records import MemoryRecords  # noqa: PLC0415 - only here

    records = MemoryRecords()
    records.save("left-over", {"owner": "somebody", "shell": "bash"})
    async with serve(records=records) as service:
        shown = (await service.http.get(SESSIONS + "/left-over")).json()
        assert (shown["state"], shown["seq"], shown["storage"]["durable"]) == ("lost", None, False)
        answer = await service.http.get(SESSIONS + "/left-over/output")
        assert (answer.status_code, answer.json()["code"]) == (410, "output_lost")
