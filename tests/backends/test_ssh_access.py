"""Who is let in over SSH, by what, and which hosts are believed to be themselves."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import asyncssh
import pytest

from backends.abilities import Command
from backends.base import Notice, Order
from backends.errors import AccessRefused, Unreachable, UserRefused
from backends.profile import Site
from backends.ssh.backend import SshBackend
from backends.ssh.profile import Hop, SshProfile
from support.sshd import Sshd, make_key, public_of, reached, running_sshd
from support.terminals import is_alive
from support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@asynccontextmanager
async def backend_of(profile: SshProfile, directory: Path) -> AsyncIterator[SshBackend]:
    backend = SshBackend(profile, Site("node", directory / "site"))
    try:
        yield backend
    finally:
        await backend.close()


async def refusal(profile: SshProfile, directory: Path) -> str:
    """Return why a host refuses us, or we it."""
    async with backend_of(profile, directory) as backend:
        with pytest.raises(AccessRefused) as caught:
            await backend.check()
    return str(caught.value)


async def lets_in(profile: SshProfile, directory: Path) -> None:
    async with backend_of(profile, directory) as backend:
        await backend.check()


async def test_another_key_is_refused_with_the_user_s_name(sshd: Sshd, tmp_path: Path) -> None:
    other = make_key(tmp_path / "other")
    message = await refusal(sshd.profile(keys=(str(other),)), tmp_path)
    assert message == f"127.0.0.1:{sshd.port} does not let user {sshd.user!r} in with what this profile has"


async def test_a_refused_attempt_is_not_repeated_at_once(sshd: Sshd, tmp_path: Path) -> None:
    other = make_key(tmp_path / "other")
    async with backend_of(sshd.profile(keys=(str(other),)), tmp_path) as backend:
        for _ in range(20):
            with pytest.raises(AccessRefused):
                await backend.check()
    assert sshd.log.read_text().count(public_of(other).split()[1][:8]) <= 1


async def test_nothing_of_the_service_s_own_is_offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    (home / ".ssh").mkdir(parents=True)
    own = make_key(home / ".ssh" / "id_ed25519")
    loaded = make_key(tmp_path / "loaded")
    shown = make_key(tmp_path / "shown")
    (home / ".ssh" / "config").write_text(f"Host *\n  User somebody\n  IdentityFile {own}\n  ProxyCommand false\n")
    agent = await asyncio.to_thread(_start_agent, tmp_path / "agent", loaded)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "agent"))
    offered: list[tuple[str, str]] = []

    class Recorder(asyncssh.SSHServer):
        def begin_auth(self, username: str) -> bool:  # noqa: ARG002
            return True

        def public_key_auth_supported(self) -> bool:
            return True

        def password_auth_supported(self) -> bool:
            return True

        def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
            offered.append((username, key.get_fingerprint()))
            return False

        def validate_password(self, username: str, password: str) -> bool:
            offered.append((username, password))
            return False

    host_key = make_key(tmp_path / "host")
    try:
        async with await asyncssh.listen(
            "127.0.0.1", 0, server_host_keys=[str(host_key)], server_factory=Recorder
        ) as server:
            fields: dict[str, Any] = {
                "host": "127.0.0.1",
                "port": server.get_port(),
                "user": "ann",
                "host_keys": (public_of(host_key),),
            }
            await refusal(SshProfile(**fields), tmp_path)
            assert offered == []
            await refusal(SshProfile(**fields, keys=(str(shown),)), tmp_path)
            assert offered == [("ann", asyncssh.read_public_key(f"{shown}.pub").get_fingerprint())]
            offered.clear()
            await refusal(SshProfile(**fields, agent=str(tmp_path / "agent")), tmp_path)
            assert offered == [("ann", asyncssh.read_public_key(f"{loaded}.pub").get_fingerprint())]
    finally:
        agent.kill()
        await asyncio.to_thread(agent.wait)


def _start_agent(path: Path, key: Path) -> subprocess.Popen[bytes]:
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", str(path)], stdout=subprocess.DEVNULL)
    environment = {**os.environ, "SSH_AUTH_SOCK": str(path)}
    while subprocess.run(["ssh-add", "-q", str(key)], env=environment, check=False, capture_output=True).returncode:
        assert agent.poll() is None
    return agent


async def test_a_certificate_lets_in_without_the_key_being_known(tmp_path: Path) -> None:
    authority, key = make_key(tmp_path / "authority"), make_key(tmp_path / "key")
    (tmp_path / "authority.pub").rename(tmp_path / "sshd-authority.pub")
    (tmp_path / "authority.pub").write_text((tmp_path / "sshd-authority.pub").read_text())
    async with running_sshd(tmp_path / "sshd", f"TrustedUserCAKeys {tmp_path / 'sshd-authority.pub'}") as server:
        await refusal(server.profile(keys=(str(key),)), tmp_path)
        sign = ["ssh-keygen", "-q", "-s", str(authority), "-I", "test", "-n", server.user, f"{key}.pub"]
        await asyncio.to_thread(subprocess.run, sign, check=True)
        await lets_in(server.profile(keys=(str(key),)), tmp_path)
        certificate = (tmp_path / "key-cert.pub").rename(tmp_path / "elsewhere.pub")
        await lets_in(server.profile(keys=(str(key),), certificates=(str(certificate),)), tmp_path)


async def test_a_host_s_certificate_is_believed_by_its_authority(tmp_path: Path) -> None:
    authority = make_key(tmp_path / "authority")
    certificate = tmp_path / "sshd" / "host_key-cert.pub"
    async with running_sshd(tmp_path / "sshd", f"HostCertificate {certificate}", starts=False) as server:
        sign = [
            "ssh-keygen",
            "-q",
            "-s",
            str(authority),
            "-I",
            "host",
            "-h",
            "-n",
            server.host,
            f"{server.host_key}.pub",
        ]
        await asyncio.to_thread(subprocess.run, sign, check=True)
        await asyncio.to_thread(server.start)
        server.known_hosts.write_text(f"@cert-authority * {public_of(authority)}\n")
        await lets_in(server.profile(), tmp_path)
        server.known_hosts.write_text(f"@cert-authority * {public_of(make_key(tmp_path / 'other'))}\n")
        assert "is not the one on record" in await refusal(server.profile(), tmp_path)


async def test_a_password_lets_in_and_is_never_told(place: Path, tmp_path: Path) -> None:
    password, wrong = tmp_path / "password", tmp_path / "wrong"
    for path, text in ((password, "correct horse\n"), (wrong, "battery staple\n")):
        path.write_text(text)
        path.chmod(0o600)
    options = ("PasswordAuthentication yes", "PubkeyAuthentication no")
    async with running_sshd(place / "sshd", *options, passwords={"guest": "correct horse"}) as server:
        profile = server.profile(user="guest", keys=(), password_file=str(password))
        async with reached(server, tmp_path, user="guest", keys=(), password_file=str(password)) as host:
            terminal = await host.terminals.sh("id -un")
            await terminal.wait()
            assert terminal.output == b"guest\r\n"
        assert "battery" not in await refusal(server.profile(user="guest", keys=(), password_file=str(wrong)), tmp_path)
        password.chmod(0o644)
        assert str(password) in await refusal(profile, tmp_path)


async def test_the_owner_of_a_session_decides_who_it_is_there(place: Path, tmp_path: Path) -> None:
    async with running_sshd(place / "sshd", passwords={"ann": "x", "bob": "y"}) as server:
        profile = server.profile(user="", user_of={"alice@example.org": "ann", "robert": "bob"})
        async with backend_of(profile, tmp_path) as backend:
            for owner, user in profile.user_of.items():
                environment = await backend.open(Order("session-1", owner=owner))
                execution = await environment.execute(Command(["id", "-un"]))
                assert [data async for _, data in execution] == [f"{user}\n".encode()]
                await environment.close()
            with pytest.raises(UserRefused, match="eve"):
                await backend.open(Order("session-2", owner="eve"))


async def test_a_host_that_is_not_on_record_is_refused(sshd: Sshd, tmp_path: Path) -> None:
    record = tmp_path / "known_hosts"
    record.write_text("")
    message = await refusal(sshd.profile(known_hosts=str(record)), tmp_path)
    assert "is not known" in message
    assert asyncssh.read_public_key(f"{sshd.host_key}.pub").get_fingerprint() in message
    assert str(record) in message
    assert record.read_text() == ""
    assert str(tmp_path / "site" / "known_hosts") in await refusal(sshd.profile(known_hosts=""), tmp_path)


async def test_records_with_hashed_names_are_read_and_revoked_keys_refused(sshd: Sshd, tmp_path: Path) -> None:
    record = tmp_path / "known_hosts"
    record.write_text(f"[{sshd.host}]:{sshd.port} {sshd.public_key}\n")
    await asyncio.to_thread(subprocess.run, ["ssh-keygen", "-q", "-H", "-f", str(record)], check=True)
    assert sshd.host not in record.read_text()
    await lets_in(sshd.profile(known_hosts=str(record)), tmp_path)
    with record.open("a") as file:
        file.write(f"@revoked * {sshd.public_key}\n")
    assert "revoked" in await refusal(sshd.profile(known_hosts=str(record)), tmp_path)


async def test_a_changed_host_key_is_refused_under_every_policy(sshd: Sshd, tmp_path: Path) -> None:
    for kind in ("ed25519", "ecdsa"):
        other = make_key(tmp_path / kind, kind=kind)
        record = tmp_path / "known_hosts"
        record.write_text(f"[{sshd.host}]:{sshd.port} {public_of(other)}\n")
        for fields in (
            {"known_hosts": str(record)},
            {"known_hosts": str(record), "trust": "first_use"},
            {"known_hosts": "", "host_keys": (public_of(other),)},
        ):
            message = await refusal(sshd.profile(**fields), tmp_path)
            assert f"the host key of 127.0.0.1:{sshd.port} is not the one on record" in message
            assert "the operator must look" in message


async def test_the_first_key_is_believed_once_only_if_that_is_the_policy(tmp_path: Path) -> None:
    kept = tmp_path / "site" / "known_hosts"
    async with running_sshd(tmp_path / "sshd") as server:
        profile = server.profile(known_hosts="", trust="first_use")
        await asyncio.gather(*(lets_in(profile, tmp_path) for _ in range(3)))
        assert f"[{server.host}]:{server.port} {' '.join(server.public_key.split()[:2])}" in kept.read_text()
        assert kept.stat().st_mode & 0o777 == 0o600
        before = kept.read_text()
        await lets_in(server.profile(known_hosts=""), tmp_path)
        await asyncio.to_thread(server.stop)
        make_key(server.directory / "new")
        (server.directory / "new").rename(server.host_key)
        (server.directory / "new.pub").rename(f"{server.host_key}.pub")
        await asyncio.to_thread(server.start)
        assert "is not the one on record" in await refusal(profile, tmp_path)
        assert kept.read_text() == before


async def test_a_host_behind_others_is_reached_by_way_of_them(sshd: Sshd, tmp_path: Path) -> None:
    async with running_sshd(tmp_path / "jump") as jump:
        own: dict[str, Any] = {
            "host": jump.host,
            "port": jump.port,
            "user": jump.user,
            "known_hosts": str(jump.known_hosts),
        }
        hop = Hop(**own, keys=(str(jump.client_key),))
        notices: list[Notice] = []
        async with backend_of(sshd.profile(jump=(hop, hop)), tmp_path) as backend:
            await backend.open(Order("session-1", tell=notices.append))
            await backend.check()
            assert len(jump.sessions()) == 2
        assert [notice.fields["port"] for notice in notices] == [jump.port, jump.port, sshd.port]
        await wait_until(lambda: not jump.sessions(), description="nobody is on the way any more")
        async with backend_of(sshd.profile(jump=(hop,)), tmp_path) as backend:
            await backend.check()
            (pid,) = jump.sessions()
            (end,) = sshd.sessions()
            os.kill(end, signal.SIGKILL)
            await wait_until(lambda: not jump.sessions(), description="the way there is given up too")
        assert not is_alive(pid)
        wrong = Hop(**own, keys=(str(sshd.client_key),))
        assert f":{jump.port} does not let user" in await refusal(sshd.profile(jump=(hop, wrong)), tmp_path)
        async with backend_of(sshd.profile(jump=(hop,), port=1, host_keys=(sshd.public_key,)), tmp_path) as backend:
            with pytest.raises(Unreachable, match="from the host before it"):
                await backend.check()


@pytest.mark.parametrize(
    "fields",
    [
        {"host": "-oProxyCommand=x"},
        {"host": "a b"},
        {"host": "a\nb"},
        {"host": "a\x1b[2J"},
        {"host": ""},
        {"host": "user@host"},
        {"port": 0},
        {"port": 65536},
        {"user": "-l"},
        {"user": "a\nb"},
        {"user": ""},
        {"connect_seconds": 0},
        {"keepalive_count": 0},
        {"term": "x\ny"},
    ],
    ids=str,
)
def test_a_profile_that_cannot_be_meant_names_the_field(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=rf"^{next(iter(fields))}: "):
        SshProfile(**{"host": "build1", "user": "ann", **fields})


def test_a_profile_takes_names_and_addresses() -> None:
    for host in ("build1", "build1.example.org", "192.0.2.1", "::1", "fe80::1%eth0", "xn--bcher-kva.example"):
        assert SshProfile(host=host, user="ann").host == host
