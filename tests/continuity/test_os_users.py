"""Sessions as users of their own: a service without any right of root's, a holder that root runs, two owners."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from support.other_users import (
    ANN,
    BOB,
    FORBIDDEN,
    SERVICE,
    guarded_holder,
    need_root,
    open_directory,
    prefix_of,
    private_directory,
    private_file,
    uid_of,
)
from support.service import Service
from support.terminals import is_alive
from support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    import httpx

pytestmark = pytest.mark.platform("linux")

KEYS = {name: f"{name}-0123456789abcdef" for name in ("ann", "bob", "carol", "mallory")}
SETTINGS = {
    "API_KEYS": ",".join(f"{name}:{key}" for name, key in KEYS.items()),
    "OS_USERS": f"ann={ANN}, bob={BOB}, mallory={FORBIDDEN}",
    "STOP_GRACE_SECONDS": "0.3",
}


def key_of(owner: str) -> dict[str, str]:
    return {"X-API-Key": KEYS[owner]}


@pytest.fixture
def place() -> Iterator[Path]:
    need_root()
    with open_directory() as path:
        private_directory(path / "ann", ANN)
        private_directory(path / "bob", BOB)
        yield path


@pytest.fixture
async def holder(place: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    async with guarded_holder(place / "holder") as process:
        yield process


@pytest.fixture
def unprivileged(holder: asyncio.subprocess.Process, place: Path) -> Service:
    """Give a service, not started, that runs as a user of its own."""
    assert holder.returncode is None
    directory = private_directory(place / "service", SERVICE)
    private_directory(directory / "state", SERVICE)
    settings = {**SETTINGS, "HOLDER": str(place / "holder")}
    return Service(directory, prefix=prefix_of(SERVICE, place / "shown"), headers=key_of("ann"), **settings)


@pytest.fixture
async def service(unprivileged: Service) -> AsyncIterator[Service]:
    async with unprivileged as service:
        yield service


class Shell:
    """A session of an owner, used over HTTP."""

    def __init__(self, service: Service, owner: str, view: dict[str, Any]) -> None:
        self.service = service
        self.headers = key_of(owner)
        self.pid: int = view["pid"]
        self.id: str = view["session_id"]

    @classmethod
    async def open(cls, service: Service, owner: str, *command: str, **fields: Any) -> Shell:
        answer = await create(service, owner, command=command or ("sh", "-i"), **{"env": {"PS1": ""}, **fields})
        assert answer.status_code == 201, answer.text
        return cls(service, owner, answer.json())

    async def ask(self, method: str, path: str = "", **options: Any) -> httpx.Response:
        answer = await self.service.http.request(
            method, f"/api/v1/sessions/{self.id}{path}", headers=self.headers, **options
        )
        assert answer.is_success, answer.text
        return answer

    async def output(self) -> str:
        return (await self.ask("GET", "/output", params={"from": 0})).text

    async def run(self, line: str) -> str:
        """Type a line; return what it printed."""
        before = len(await self.output())
        await self.ask("POST", "/input", json={"text": f"{line}; echo over''$?\n"})
        said = await self.until(r"over\d+\r\n", before)
        return said[said.index("\n") + 1 : said.rindex("over")].strip()

    async def until(self, pattern: str, start: int = 0) -> str:
        async def found() -> str | None:
            said = (await self.output())[start:]
            return said if re.search(pattern, said) else None

        said: str | None = await wait_until(found, description=pattern)
        assert said is not None
        return said


async def create(service: Service, owner: str, **fields: Any) -> httpx.Response:
    return await service.http.post("/api/v1/sessions", json=fields, headers=key_of(owner))


async def as_user(user: str, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command as the service's user runs: with no right of root's."""
    words = prefix_of(user, None)
    return await asyncio.to_thread(subprocess.run, [*words, *command], capture_output=True, text=True, check=False)


async def test_owners_are_users_of_their_own_and_cannot_reach_each_other(
    service: Service, holder: asyncio.subprocess.Process, place: Path
) -> None:
    private_file(place / "ann" / "secret", ANN, "hers\n")
    ann = await Shell.open(service, "ann", cwd=str(place / "ann"))
    bob = await Shell.open(service, "bob", cwd=str(place / "bob"))
    assert service.psutil.uids().real == uid_of(SERVICE)
    assert await ann.run("id -un; pwd; cat secret") == f"{ANN}\r\n{place / 'ann'}\r\nhers"
    assert await bob.run("id -un; umask; ls -ln $(tty) | cut -d' ' -f3") == f"{BOB}\r\n0022\r\n{uid_of(BOB)}"
    assert "Permission denied" in await bob.run(f"cat {place / 'ann' / 'secret'}")
    for pid in (service.pid, holder.pid, ann.pid):
        assert "not permitted" in (await bob.run(f"kill -9 {pid}")).lower()
    assert "Permission denied" in await bob.run(f"ls {service.state}")
    assert "Permission denied" in await bob.run(f"echo stolen > {await ann.run('tty')}")


async def test_input_size_signals_and_exit_work(service: Service) -> None:
    ann = await Shell.open(service, "ann")
    await ann.ask("PUT", "/resize", json={"rows": 33, "cols": 99})
    assert await ann.run("stty size") == "33 99"
    other = await Shell.open(
        service, "ann", "sh", "-c", "trap 'echo told; exit 7' USR1; echo ready; while :; do sleep 0.1; done"
    )
    await other.until("ready")
    await other.ask("POST", "/signal", json={"name": "USR1"})
    await other.until("told")

    async def exit_code() -> int | None:
        code: int | None = (await other.ask("GET")).json()["exit_code"]
        return code

    assert await wait_until(exit_code, description="its end") == 7
    stubborn = await Shell.open(service, "ann", "sh", "-c", "trap '' TERM; echo ready; sleep 600")
    await stubborn.until("ready")
    await stubborn.ask("POST", "/signal", json={"name": "INT"})
    await wait_until(lambda: not is_alive(stubborn.pid), description="its end")


@pytest.mark.parametrize("how", ["delete", "exit", "stop of the service"])
async def test_the_whole_tree_ends(service: Service, place: Path, how: str) -> None:
    ann = await Shell.open(service, "ann", cwd=str(place / "ann"))
    script = "trap '' HUP TERM; echo $$ >> pids; exec sleep 600"
    (place / "ann" / "stubborn").write_text(script)
    await ann.run("chmod +x . ; setsid sh stubborn < /dev/null > /dev/null 2>&1 & sh stubborn & true")
    await ann.run("until [ $(wc -l < pids) = 2 ]; do sleep 0.05; done")
    pids = [ann.pid, *map(int, (place / "ann" / "pids").read_text().split())]
    assert all(map(is_alive, pids))
    assert {psutil.Process(pid).uids().real for pid in pids} == {uid_of(ANN)}
    assert len({os.getsid(pid) for pid in pids}) == 2, "one has left its session"
    if how == "delete":
        await ann.ask("DELETE")
    elif how == "exit":
        await ann.ask("POST", "/input", json={"text": "exit\n"})
    else:
        assert await service.stop() == 0
    await wait_until(lambda: not any(map(is_alive, pids)), description="the end of all")


@pytest.mark.parametrize(
    ("owner", "reason"),
    [("carol", "OS_USERS names no user"), ("mallory", f"cannot run as user '{FORBIDDEN}'")],
)
async def test_who_has_no_user_gets_no_session(service: Service, owner: str, reason: str) -> None:
    answer = await create(service, owner, command=["id"])
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert reason in answer.json()["detail"]
    assert (await service.http.get("/api/v1/sessions", headers=key_of(owner))).json() == []


async def test_who_has_no_user_is_offered_no_shell(service: Service) -> None:
    for owner, has_shells in (("carol", False), ("ann", True)):
        options = (await service.http.get("/api/v1/options", headers=key_of(owner))).json()
        assert [(each["name"], bool(each["shells"])) for each in options["backends"][:1]] == [("local", has_shells)]


async def test_a_killed_service_comes_back_to_the_sessions_of_all_users(unprivileged: Service, place: Path) -> None:
    async with unprivileged as service:
        ann = await Shell.open(service, "ann", cwd=str(place / "ann"))
        bob = await Shell.open(service, "bob", cwd=str(place / "bob"))
        assert await ann.run("word=kept; setsid sleep 600 & echo $!") != ""
        escaped = int((await ann.run("echo $!")).strip())
        await service.kill()
        await service.start()
        assert [await ann.run("echo $word $$"), await bob.run("id -un")] == [f"kept {ann.pid}", BOB]
        await ann.ask("POST", "/signal", json={"name": "INT"})
        await ann.ask("DELETE")
        await wait_until(lambda: not is_alive(ann.pid) and not is_alive(escaped), description="the end of all")
        assert is_alive(bob.pid)


async def test_what_a_service_left_can_be_ended_without_it(unprivileged: Service, place: Path) -> None:
    async with unprivileged as service:
        ann = await Shell.open(service, "ann", cwd=str(place / "ann"))
        bob = await Shell.open(service, "bob", "sh", "-c", "trap '' HUP TERM; sleep 600")
        await service.kill()
        stop = await service.start_command("-m", "terminal_service", "stop", "--all")
        said, _ = await stop.communicate()
        assert b"Sessions ended: 2" in said
        assert not is_alive(ann.pid)
        assert not is_alive(bob.pid)


async def test_the_service_can_do_none_of_it_alone(service: Service, place: Path) -> None:
    private_file(place / "ann" / "secret", ANN, "hers\n")
    ann = await Shell.open(service, "ann")
    for command in (
        ["kill", "-9", str(ann.pid)],
        ["cat", str(place / "ann" / "secret")],
        ["cat", f"/proc/{ann.pid}/environ"],
        ["setpriv", f"--reuid={uid_of(ANN)}", "true"],
    ):
        done = await as_user(SERVICE, *command)
        assert done.returncode != 0, command
        assert re.search("not permitted|Permission denied", done.stderr), done.stderr
    assert is_alive(ann.pid)
    capabilities = re.findall(r"^Cap(?:Prm|Eff|Amb|Bnd):\s+(\d+)$", status_of(service.pid), re.MULTILINE)
    assert [int(each, 16) for each in capabilities] == [0] * 4


def status_of(pid: int) -> str:
    with open(f"/proc/{pid}/status") as status:  # noqa: PTH123 - as short as it is
        return status.read()
