"""nginx with deploy/nginx.conf in front of real nodes: terminals pass as they are, and no node is one client's own."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from support.nginx import Nginx
from support.service import Service

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.platform("linux")

KEY = "0123456789abcdef"
HEADERS = {"Authorization": f"Bearer {KEY}"}
CLIENT, FAR = "127.0.0.9", "203.0.113.7"
SILENT_SECONDS = 3.0
"""Three times as long as nginx waits in the test."""


def node(directory: Path, **settings: str) -> Service:
    directory.mkdir()
    own = {"API_KEYS": f"ann:{KEY}", "TRUSTED_PROXIES": "127.0.0.1"}
    return Service(directory, headers=HEADERS, **{**own, **settings})


async def ask(nginx: Nginx, method: str, path: str, **options: Any) -> httpx.Response:
    """Ask as somebody who is not at the address of nginx."""
    transport = httpx.AsyncHTTPTransport(local_address=CLIENT)
    async with httpx.AsyncClient(base_url=nginx.url, headers=HEADERS, transport=transport, timeout=30) as http:
        return await http.request(method, path, **options)


async def test_nginx_takes_the_configuration_and_terminals_pass_it_as_they_are(tmp_path: Path) -> None:
    async with node(tmp_path / "one", WEBSOCKET_PING_INTERVAL="0.3") as service:
        # Both places are the same node. nginx waits a second: without signs of life it would cut what is silent.
        times = {"proxy_read_timeout": "1s", "proxy_send_timeout": "1s"}
        with Nginx(tmp_path, [service.address, service.address], **times) as nginx:
            assert "test is successful" in await asyncio.to_thread(nginx.check)
            script = "head -c 3000000 /dev/zero | tr '\\0' x; echo END; cat"
            made = await ask(nginx, "POST", "/api/v1/sessions", json={"command": ["sh", "-c", script]})
            assert made.status_code == 201, made.text
            session = made.json()["session_id"]
            async with service.client(session, via=nginx.address, recover_from=0) as client:
                await client.wait_for_output(b"END\r\n")
                direct = await service.output(session)
                assert hashlib.sha256(client.data).digest() == hashlib.sha256(direct).digest()
                await asyncio.sleep(SILENT_SECONDS)  # no condition: that nothing happens is what is to be seen
                client.send_line("still here")
                await client.wait_for_output(b"still here\r\nstill here")
                assert client.attaches == 1, "it was cut"
            cut = nginx.log()
            assert "timed out" not in cut, cut


async def test_the_service_knows_who_is_behind_nginx(tmp_path: Path) -> None:
    async with node(tmp_path / "one", ALLOWED_HOSTS="terminal.example.com") as service:
        with Nginx(tmp_path, [service.address, service.address]) as nginx:
            wrong = {"Authorization": "Bearer wrong-wrong-wrong", "X-Forwarded-For": FAR}
            assert (await ask(nginx, "GET", "/api/v1/sessions", headers=wrong)).status_code == 401
            assert f'"client": "{CLIENT}"' in service.log()
            assert FAR not in service.log(), "the client itself may have written that"
            named = {"Host": "terminal.example.com", "Origin": "http://terminal.example.com"}
            assert (await ask(nginx, "GET", "/api/v1/sessions", headers=named)).status_code == 200
            other = await ask(nginx, "GET", "/api/v1/sessions", headers={"Host": "evil.example"})
            assert other.status_code == 421, "the name the client used comes through"


async def test_what_is_followed_comes_as_it_is_printed(tmp_path: Path) -> None:
    async with node(tmp_path / "one") as service:
        with Nginx(tmp_path, [service.address, service.address]) as nginx:
            session = (await service.create_session(command=["cat"]))["session_id"]
            path = f"/api/v1/sessions/{session}/output?from=0&follow=true"
            async with (
                httpx.AsyncClient(base_url=nginx.url, headers=HEADERS, trust_env=False, timeout=30) as http,
                http.stream("GET", path) as stream,
            ):
                pieces = stream.aiter_raw()
                for text in ("one", "two"):
                    asked = await http.post(f"/api/v1/sessions/{session}/input", json={"text": text + "\n"})
                    assert asked.is_success, asked.text
                    seen = b""
                    while seen.count(text.encode()) < 2:  # the echo, and cat
                        seen += await anext(pieces)
            await service.delete(session)
