"""The first key of a host is believed only if the host has it, and only one of them ever (`trust = "first_use"`)."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import asyncssh
import pytest

from backends.base import Order
from backends.errors import AccessRefused, BackendError
from backends.profile import Site
from backends.ssh.backend import SshBackend
from backends.ssh.profile import SshProfile
from backends.ssh.trust import RecordedKeys
from support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


def make_key() -> asyncssh.SSHKey:
    return asyncssh.generate_private_key("ssh-ed25519")


class Everybody(asyncssh.SSHServer):
    """Lets everybody in."""

    def begin_auth(self, username: str) -> bool:  # noqa: ARG002 - asyncssh's shape
        return False


@asynccontextmanager
async def listening(pair: asyncssh.SSHKeyPair) -> AsyncIterator[tuple[int, list[asyncssh.SSHServerConnection]]]:
    """Run a server with this host key; yields its port, and the connections it has."""
    connections: list[asyncssh.SSHServerConnection] = []

    class Server(Everybody):
        def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
            connections.append(conn)

    server = await asyncssh.listen("127.0.0.1", 0, server_factory=Server, server_host_keys=[pair])
    try:
        yield server.sockets[0].getsockname()[1], connections
    finally:
        server.close()
        await server.wait_closed()


async def refusal(port: int, directory: Path) -> BackendError:
    """Return why a session is refused."""
    profile = SshProfile(name="host", host="127.0.0.1", port=port, user="ann", trust="first_use")
    backend = SshBackend(profile, Site("node", directory))
    try:
        with pytest.raises(BackendError) as caught:
            await backend.open(Order("session-1"))
    finally:
        await backend.close()
    return caught.value


async def test_a_key_that_the_host_cannot_sign_with_is_not_kept(tmp_path: Path) -> None:
    (pair,) = asyncssh.load_keypairs(make_key())
    pair.public_data = make_key().public_data
    async with listening(pair) as (port, _):
        await refusal(port, tmp_path / "site")
    assert not (tmp_path / "site" / "known_hosts").exists()


async def test_a_key_that_cannot_be_kept_leaves_no_connection(tmp_path: Path) -> None:
    (tmp_path / "site").symlink_to("/no/such/directory")
    (pair,) = asyncssh.load_keypairs(make_key())
    async with listening(pair) as (port, connections):
        assert "cannot be written" in str(await refusal(port, tmp_path / "site"))
        assert connections
        await wait_until(lambda: all(each.is_closed() for each in connections), description="it is closed")


def test_of_two_first_keys_at_once_only_one_is_believed(tmp_path: Path) -> None:
    trust = RecordedKeys(tmp_path / "known_hosts", believes_first=True)
    first, second = make_key().convert_to_public(), make_key().convert_to_public()
    trust.keep("host", 2222, first)
    trust.keep("host", 2222, first)
    with pytest.raises(AccessRefused, match="another one"):
        trust.keep("host", 2222, second)
    assert trust.known("host", 2222).keys == [first]
    assert len((tmp_path / "known_hosts").read_text().splitlines()) == 1
