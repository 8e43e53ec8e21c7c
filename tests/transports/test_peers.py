from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from transports import peers
from transports.peers import Endpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Lookup = Callable[[Endpoint, Endpoint], int | None]

linux = pytest.mark.platform("linux")  # netlink and /proc/net
posix = pytest.mark.platform("linux", "darwin")  # uids and Unix sockets

# Becomes another user only after the interpreter has been loaded, which that user may not be able to read.
AS_NOBODY = """
import encodings.idna, os, socket, sys
os.setgroups([]); os.setgid(65534); os.setuid(65534)
link = socket.create_connection((sys.argv[1], int(sys.argv[2])))
link.recv(1)
"""


@contextlib.contextmanager
def connected(
    listen: str = "127.0.0.1", connect: str | None = None, family: socket.AddressFamily = socket.AF_INET
) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Give both ends of a connection: (client, server)."""
    with socket.socket(socket.AF_INET6 if ":" in listen else socket.AF_INET) as listener:
        if ":" in listen:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind((listen, 0))
        listener.listen()
        client = socket.socket(family, socket.SOCK_STREAM)
        client.settimeout(10)
        client.connect((connect or listen, listener.getsockname()[1]))
        server, _ = listener.accept()
        with client, server:
            yield client, server


def ends(server: socket.socket) -> tuple[Endpoint, Endpoint]:
    peer, local = (Endpoint.parse(*name[:2]) for name in (server.getpeername(), server.getsockname()))
    assert peer
    assert local
    return peer, local


def netlink(peer: Endpoint, local: Endpoint) -> int | None:
    with contextlib.suppress(OSError):  # "no such socket"
        return peers.netlink_uid(peer, local)
    return None


LOOKUPS = [
    pytest.param(netlink, id="netlink", marks=linux),
    pytest.param(peers.proc_uid, id="proc", marks=linux),
    pytest.param(peers.psutil_uid, id="psutil"),
    pytest.param(lambda peer, local: asyncio.run(peers.tcp_uid(peer, local)), id="chosen"),
]


@pytest.mark.parametrize("lookup", LOOKUPS)
@pytest.mark.parametrize(
    ("listen", "connect", "family"),
    [
        ("127.0.0.1", "127.0.0.1", socket.AF_INET),
        ("::1", "::1", socket.AF_INET6),
        ("127.0.0.1", "::ffff:127.0.0.1", socket.AF_INET6),
        ("::ffff:127.0.0.1", "127.0.0.1", socket.AF_INET),
    ],
)
def test_our_own_connection_is_ours(lookup: Lookup, listen: str, connect: str, family: socket.AddressFamily) -> None:
    with connected(listen, connect, family) as (_, server):
        assert lookup(*ends(server)) == peers.own_uid()


@pytest.mark.parametrize("lookup", LOOKUPS)
def test_an_end_nobody_has_is_nobodys(lookup: Lookup) -> None:
    with connected() as (_, server):
        peer, local = ends(server)
        # The port of a listener, which the kernel would offer instead of a connection:
        assert lookup(Endpoint(local.address, local.port), Endpoint(local.address, 9)) is None
        assert lookup(Endpoint(peer.address, peer.port), Endpoint(local.address, 9)) is None


@pytest.mark.parametrize("lookup", LOOKUPS)
def test_a_connection_its_process_has_closed_is_nobodys(lookup: Lookup) -> None:
    with connected() as (client, server):
        peer, local = ends(server)
        client.close()
        assert server.recv(1) == b""
        assert lookup(peer, local) is None  # the kernel shows uid 0 for it


@posix
@pytest.mark.skipif(peers.own_uid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("lookup", LOOKUPS[:2] + LOOKUPS[3:])
def test_the_connection_of_another_user_is_theirs(lookup: Lookup) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(20)
        address = [str(part) for part in listener.getsockname()]
        with subprocess.Popen([sys.executable, "-c", AS_NOBODY, *address]) as helper:
            server, _ = listener.accept()
            with server:
                found = lookup(*ends(server)), peers.psutil_uid(*ends(server))
        assert helper.returncode == 0
    assert found == (65534, None)


async def test_only_loopback_is_asked_about() -> None:
    near, far = Endpoint.parse("127.0.0.1", 1), Endpoint.parse("192.0.2.1", 1)
    assert near
    assert far
    assert await peers.tcp_uid(far, near) is None
    assert await peers.tcp_uid(near, far) is None


async def test_asking_does_not_block_the_event_loop() -> None:
    with connected() as (_, server):
        assert await peers.tcp_uid(*ends(server)) == peers.own_uid()


@posix
def test_the_peer_of_a_unix_socket_is_known() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with ours, theirs:
        assert peers.unix_uid(ours) == peers.own_uid()
    assert peers.unix_uid(ours) is None


def test_names_that_are_no_addresses_are_no_endpoints() -> None:
    assert Endpoint.parse("testclient", 1) is None
    assert Endpoint.parse("::ffff:127.0.0.1", 1) == Endpoint.parse("127.0.0.1", 1)


def test_our_own_name_is_not_empty() -> None:
    assert peers.own_name()
