"""Mail comes once and in order, or both sides are told, whatever becomes of what is written to an inbox.

Done, done unheard, not done, done in part, done late, twice, forgotten; either process killed, or given up alive.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from nodes.channel import PACKET_BYTES, WINDOW_BYTES, Channel
from nodes.letter import Letter, What
from nodes.message import NOTHING, Message
from support.size import size

if TYPE_CHECKING:
    from collections.abc import Sequence

DEAD_SECONDS = 30.0
SETTLE_ROUNDS = 200
NODES = ("a", "b")
SENDERS = st.sampled_from(NODES)
SIZES = st.one_of(st.just(0), st.integers(0, 2000), st.integers(100_000, 600_000))
numbers = itertools.count(1)


@dataclass
class Side:
    """A node of which the processes come and go; what it has put, was told, and has got."""

    node_id: str
    channel: Channel = field(init=False)
    inbox: list[bytes] = field(default_factory=list)
    late: list[bytes] = field(default_factory=list)
    era: int = 0
    """One more with each process, and each loss told."""
    put: list[int] = field(default_factory=list)
    """The era of each note, which is named by its place here."""
    got: list[tuple[int, int]] = field(default_factory=list)
    """(note, how many processes and resets of this side were before it)."""
    tells: int = 0
    life: int = 0

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        self.channel = Channel(self.node_id, dead_seconds=DEAD_SECONDS, draw=lambda: next(numbers))

    def told(self, *, loses: bool) -> None:
        self.tells += 1
        self.life += 1
        self.era += loses


class MailMachine(RuleBasedStateMachine):
    """Two nodes and their inboxes."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.sides = {node_id: Side(node_id) for node_id in NODES}
        self.causes = 0

    def other(self, side: Side) -> Side:
        return self.sides["b" if side.node_id == "a" else "a"]

    # -- what nodes do

    @initialize()
    def meet(self) -> None:
        """Faults before the two know each other are a small part of all; `kill` brings them back."""
        self.put("a", 0)
        self.go_on(6)

    @rule(rounds=st.integers(1, 6))
    def go_on(self, rounds: int) -> None:
        """Nothing goes wrong for a while."""
        for _ in range(rounds):
            self.settle()

    @rule(sender=SENDERS, count=st.integers(2, 6), length=SIZES)
    def put_in_turn(self, sender: str, count: int, length: int) -> None:
        """Several messages, one after the other."""
        for _ in range(count):
            self.put(sender, length)
            self.write(sender)

    @rule(sender=SENDERS, length=SIZES)
    def put(self, sender: str, length: int) -> None:
        side = self.sides[sender]
        body = len(side.put).to_bytes(8) + bytes(length)
        side.channel.put(Letter(What.NOTE, "n", 0, body), self.now)
        side.put.append(side.era)

    def take(self, side: Side) -> Sequence[bytes]:
        if side.channel.expire(self.now):
            self.causes += 1
            side.told(loses=True)
        messages = [msgspec.msgpack.encode(message) for message in side.channel.take(self.now)]
        assert all(len(message) <= 256 * 1024 for message in messages)
        return messages

    @rule(sender=SENDERS)
    def write(self, sender: str) -> None:
        side = self.sides[sender]
        messages = self.take(side)
        if messages:
            self.other(side).inbox += messages
            side.channel.done(self.now)

    @rule(sender=SENDERS, written=st.integers(0, 6), are_late=st.booleans())
    def fail_to_write(self, sender: str, written: int, *, are_late: bool) -> None:
        side = self.sides[sender]
        messages = self.take(side)
        if messages:
            self.other(side).inbox += messages[:written]
            if are_late:
                self.other(side).late += messages[written:]
            side.channel.failed(self.now)

    @rule(node_id=SENDERS, entries=st.integers(1, 8))
    def read(self, node_id: str, entries: int) -> None:
        side = self.sides[node_id]
        data, side.inbox = side.inbox[:entries], side.inbox[entries:]
        for message in data:
            self.hear(side, message)

    def hear(self, side: Side, data: bytes) -> None:
        arrival = side.channel.receive(msgspec.msgpack.decode(data, type=Message), self.now)
        if arrival.is_reset:
            side.told(loses=arrival.is_loss)
        for letter in arrival.letters:
            self.judge(side, int.from_bytes(letter.body[:8]))
            side.got.append((int.from_bytes(letter.body[:8]), side.life))

    def judge(self, side: Side, note: int) -> None:
        put = self.other(side).put
        if not side.got:
            last, life = -1, -1
        else:
            last, life = side.got[-1]
        assert note > last, "in order, and never twice"
        for skipped in range(last + 1, note):
            assert put[skipped] < put[note], "the sender was told that some are lost"
            assert life < side.life or not side.got, "so was the receiver"

    @rule(seconds=st.sampled_from([0.01, 0.06, 0.5, 1.1, 5.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    # -- what becomes of them

    @rule(node_id=SENDERS)
    def arrive_late(self, node_id: str) -> None:
        side = self.sides[node_id]
        late, side.late = side.late, []
        side.inbox += late

    @rule(node_id=SENDERS, at=st.integers(0, 5))
    def read_twice(self, node_id: str, at: int) -> None:
        """Redis has not removed what was read."""
        side = self.sides[node_id]
        for message in side.inbox[at : at + 1]:
            self.hear(side, message)

    @rule(node_id=SENDERS)
    def forget(self, node_id: str) -> None:
        self.sides[node_id].inbox.clear()

    @rule(node_id=SENDERS)
    def doubt(self, node_id: str) -> None:
        self.sides[node_id].channel.doubt(self.now)

    @rule(node_id=SENDERS)
    @precondition(lambda self: self.causes < 5)
    def kill(self, node_id: str) -> None:
        side = self.sides[node_id]
        side.start()
        side.era += 1
        side.life += 1
        self.causes += 1

    @rule(node_id=SENDERS)
    @precondition(lambda self: self.causes < 5)
    def give_up(self, node_id: str) -> None:
        self.sides[node_id].channel.reset()
        self.sides[node_id].told(loses=True)
        self.causes += 1

    # -- in the end

    def teardown(self) -> None:
        for _ in range(SETTLE_ROUNDS):
            if not self.settle():
                break
        for side in self.sides.values():
            assert not side.channel.backlog_bytes, "all is acknowledged"
            assert side.channel.due() is None, "nothing is left to do"
            got = {note for note, _ in self.other(side).got}
            last = [note for note, era in enumerate(side.put) if era == side.era]
            assert got.issuperset(last), "what was sent since the last loss was told has come"
            assert side.tells <= self.causes, "told once"

    def settle(self) -> bool:
        """Let both do what is due, with a Redis that works; return whether anything is left."""
        for side in self.sides.values():
            self.write(side.node_id)
        for side in self.sides.values():
            self.read(side.node_id, len(side.inbox))
        due = [at for at in (side.channel.due() for side in self.sides.values()) if at is not None]
        if not due:
            return any(side.inbox for side in self.sides.values())
        self.now = max(self.now, min(due))
        return True


TestMail = MailMachine.TestCase
TestMail.settings = settings(max_examples=size(100, 20_000), stateful_step_count=50, deadline=None)


def test_no_more_than_the_window_is_in_an_inbox_that_is_not_read() -> None:
    one, other = (Channel(name, dead_seconds=600) for name in NODES)
    inbox: list[Message] = []
    one.put(Letter(What.NOTE, "n", 0, b"first"), 0.0)
    for sender, receiver in ((one, other), (other, one), (one, other)):
        for message in sender.take(0.0):
            receiver.receive(message, 0.0)
    for _ in range(200):
        one.put(Letter(What.NOTE, "n", 0, bytes(100_000)), 0.0)
    for second in range(300):
        inbox += one.take(float(second))
        one.done(float(second))
    weight = sum(len(msgspec.msgpack.encode(message)) for message in inbox)
    assert WINDOW_BYTES - 2 * PACKET_BYTES < weight <= WINDOW_BYTES + 64 * 100
    assert one.backlog_bytes > 200 * 100_000


def test_a_letter_taken_back_in_time_is_not_sent() -> None:
    one = Channel("a", dead_seconds=600)
    queued = one.put(Letter(What.CALL, "c", 1, b"x"), 0.0)
    assert one.due() == 0.0
    one.take_back(queued)
    one.take_back(queued)
    assert one.backlog_bytes == 0
    assert one.due() is None
    assert one.take(10.0) == []


def test_what_an_earlier_process_wrote_changes_nothing_when_it_comes_late() -> None:
    one, other, heir = Channel("a", dead_seconds=600), Channel("b", dead_seconds=600), Channel("b", dead_seconds=600)

    def note(channel: Channel, body: bytes) -> None:
        channel.put(Letter(What.NOTE, "n", 0, body), 0.0)

    def go_on(left: Channel, right: Channel) -> list[tuple[bool, list[bytes]]]:
        """Let both say all they have; return what came of it on the left side."""
        arrivals = []
        for _ in range(6):
            arrivals += [left.receive(message, 0.0) for message in right.take(0.0)]
            for message in left.take(0.0):
                right.receive(message, 0.0)
        return [(each.is_reset, [letter.body for letter in each.letters]) for each in arrivals if each is not NOTHING]

    note(other, b"1")
    assert go_on(one, other) == [(False, [b"1"])]
    note(other, b"2")
    late = other.take(0.0)
    note(heir, b"3")
    came = go_on(one, heir)
    assert [is_reset for is_reset, _ in came].count(True) == 1
    assert [body for _, bodies in came for body in bodies] == [b"3"]
    for message in late:
        assert one.receive(message, 0.0) is NOTHING
    note(heir, b"4")
    assert go_on(one, heir) == [(False, [b"4"])]
