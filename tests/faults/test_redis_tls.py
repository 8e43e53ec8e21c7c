"""Redis over TLS: whom it is not, is told; whom it does not know, is not let in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from replay.redis_address import RedisAddress
from support.certificate import ANOTHER, write_certificate
from support.redis_node import RedisNode, assert_same
from support.redis_server import RedisServer
from support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Secured:
    """A server that speaks TLS only, and where its certificate and key are. The packages of the others have no TLS."""

    def __init__(self, directory: Path) -> None:
        files = write_certificate(directory)
        self.certificate, self.key = files["ssl_certfile"], files["ssl_keyfile"]
        self.another = directory / "another.pem"
        self.another.write_text(ANOTHER)
        self.server = RedisServer(
            directory,
            *("--tls-cert-file", self.certificate, "--tls-key-file", self.key, "--tls-ca-cert-file", self.certificate),
            *("--tls-auth-clients", "no", "--bind", "127.0.0.1", "127.0.0.2"),
            *("--unixsocket", str(directory / "operator")),
            login={"unix_socket_path": str(directory / "operator")},
        )
        self.server.tls_only()

    def url(self, *options: str, host: str = "127.0.0.1", authority: str = "") -> str:
        query = "&".join((f"ssl_ca_certs={authority or self.certificate}", *options))
        return f"rediss://{host}:{self.server.port}?{query}"


@pytest.fixture
def secured(tmp_path: Path) -> Iterator[Secured]:
    made = Secured(tmp_path)
    with made.server:
        yield made


async def test_output_goes_over_tls(secured: Secured, tmp_path: Path) -> None:
    for number, url in enumerate((secured.url(), secured.url(host="localhost"))):
        async with RedisNode(url, tmp_path / f"logs{number}") as node:
            log = await node.create(f"session{number}/main")
            log.append(b"x" * 100_000)
            await node.settle()
            await assert_same(url, log, f"session{number}/main")


async def test_another_server_than_the_right_one_is_given_nothing(secured: Secured, tmp_path: Path) -> None:
    for number, (url, reason) in enumerate(
        (
            (secured.url(authority=str(secured.another)), "self-signed certificate"),
            (secured.url(host="127.0.0.2"), "IP address mismatch"),
            (secured.url(authority=str(tmp_path / "missing.pem")), "No such file"),
            (secured.url().replace("rediss", "redis").partition("?")[0], "onnection"),
        )
    ):
        assert reason.casefold() in (await trouble(url, tmp_path / f"logs{number}")).casefold()
    assert secured.server.call("DBSIZE") == 0


async def trouble(url: str, directory: Path) -> str:
    """Return what is told of a Redis that cannot be used."""
    async with RedisNode(url, directory) as node:
        log = await node.create()
        log.append(b"secret")
        await wait_until(lambda: node.persister.trouble, description="trouble")
        return str(node.persister.trouble)


async def test_a_name_that_is_not_in_the_certificate_can_be_allowed(secured: Secured, tmp_path: Path) -> None:
    url = secured.url("ssl_check_hostname=false", host="127.0.0.2")
    async with RedisNode(url, tmp_path / "logs") as node:
        log = await node.create()
        log.append(b"x")
        await node.settle()


async def test_a_server_that_knows_its_clients_by_certificates_lets_ours_in(secured: Secured, tmp_path: Path) -> None:
    secured.server.call("CONFIG", "SET", "tls-auth-clients", "yes")
    own = f"ssl_certfile={secured.certificate}", f"ssl_keyfile={secured.key}"
    assert await trouble(secured.url(), tmp_path / "stranger")
    async with RedisNode(secured.url(*own), tmp_path / "logs") as node:
        log = await node.create()
        log.append(b"x")
        await node.settle()
        await assert_same(secured.url(*own), log)


@pytest.mark.parametrize("url", ["redis://host?ssl_ca_certs=/ca.pem", "unix:///path?ssl_certfile=/c.pem"])
def test_options_of_tls_without_tls_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match="rediss"):
        RedisAddress.parse(url)
