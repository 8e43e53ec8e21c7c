"""The rights that docs/redis.md lists for nodes are what they need of Redis: all of them, and no more."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nodes.errors import Full
from nodes.memory_assignments import REQUESTS_LIMIT
from nodes.memory_tickets import MemoryTickets
from nodes.redis_assignments import RedisAssignments
from nodes.redis_directory import RedisDirectory
from nodes.redis_mail import RedisMail
from nodes.redis_tickets import RedisTickets
from replay.redis_address import RedisAddress
from support.entries import make_entry
from support.redis_keys import assert_all_end
from support.redis_server import FLAVOURS, RedisServer
from support.registries import Member, members
from support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Sequence

DOCS = Path(__file__).parent.parent.parent / "docs" / "redis.md"


def rights(text: str) -> set[str]:
    return {word for line in re.findall(r"(?m)^    ([~+].*)$", text) for word in re.split(r" {2,}", line)[0].split()}


def documented() -> tuple[set[str], set[str]]:
    """Return what the nodes need besides, and what the logs need."""
    text = DOCS.read_text(encoding="utf-8")
    _, _, nodes = text.partition("With a limited user (below) nodes ask besides")
    _, _, logs = text.partition("### What its user may do")
    return rights(nodes.partition("\n## ")[0]), rights(logs)


async def live(members_: Sequence[Member], tickets: RedisTickets, directory: RedisDirectory) -> None:
    """Do everything nodes do."""
    one, two = members_
    await one.directory.claim("a", "ann", limit_all=9, limit_user=9)
    await one.directory.save([make_entry("a")])
    await two.directory.save([make_entry(f"t{number}", node_id="two") for number in range(3)])
    with pytest.raises(Full):
        await directory.claim("b", "ann", limit_all=9, limit_user=4)
    assert len(await directory.page(after=(1.0, "a"), user="ann", limit=2)) == 2
    assert await directory.find("a")
    assert await tickets.put(b"a", b"x", seconds=30, user="ann", limit=1)
    assert await tickets.take(b"a") == b"x"
    two.reaper.stop()
    await two.registry.leave(0)
    await wait_until(lambda: one.reaper.reaped == 3, description="what it left to be ended")
    await wait_until(lambda: not one.reaper._dead, description="the reaping to be done")
    await one.directory.forget("a", "ann")


async def write(address: RedisAddress) -> None:
    """Have two nodes write to each other, and agree on who does what."""
    mails = [RedisMail(address, name) for name in ("left", "right")]
    mails[1].on_call("ask", _answer)
    async with asyncio.TaskGroup() as tasks:
        for mail in mails:
            tasks.create_task(mail.run())
        assert await mails[0].call("right", "ask", b"why", seconds=10) == b"why?"
        for mail in mails:
            mail.stop()
    assignments = RedisAssignments(address)
    for number in range(REQUESTS_LIMIT + 1):
        assert await assignments.assign("ann", str(number).encode(), "left") == "left"
    await assignments.close()


async def _answer(_: str, body: bytes) -> bytes:
    return body + b"?"


@pytest.mark.parametrize("flavour", FLAVOURS)
async def test_the_rights_suffice_and_none_is_left_over(flavour: str, tmp_path: Path) -> None:
    besides, logs = documented()
    with RedisServer(tmp_path, flavour=flavour) as server:
        allowed = sorted(besides | logs)
        if flavour == "redis-6.2":  # it knows no sharded channels
            allowed = [re.sub(r"^\+s((un)?subscribe|publish)$", r"+\1", right) for right in allowed]
        server.call("ACL", "SETUSER", "app", "reset", "resetchannels", "on", ">secret", *allowed)
        url = server.url.replace("//", "//app:secret@")
        address = RedisAddress.parse(url)
        tickets, directory = RedisTickets(address, spare=MemoryTickets()), RedisDirectory(address, "one")
        async with members(url, "one", "two") as made:
            await live(made, tickets, directory)
        await write(address)
        await tickets.close()
        await directory.close()
        assert server.call("ACL", "LOG") == []
        used = {name.removeprefix("cmdstat_") for name in server.call("INFO", "commandstats")}
        assert {right[1:] for right in besides} <= used
        assert_all_end(server)
