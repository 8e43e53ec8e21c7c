"""The ring of a remote holder against a model: a bytes object and two numbers."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.holder.ring import Ring
from backends.holder.timers import Clock, Steps
from support.size import size

SIZE = 4096


@settings(max_examples=size(200, 5000))
@given(st.lists(st.tuples(st.sampled_from("arf"), st.integers(0, SIZE * 2), st.integers(0, SIZE)), max_size=60))
def test_a_ring_has_what_was_not_forgotten(steps: list[tuple[str, int, int]]) -> None:
    ring, model = Ring(SIZE), b""
    for step, much, where in steps:
        if step == "a":
            space = ring.space()
            assert len(space) <= ring.free
            count = min(much, len(space))
            data = bytes((len(model) + index) * 7 % 251 for index in range(count))
            space[:count] = data
            ring.add(count)
            model += data
        elif step == "f":
            ring.forget(ring.first + min(much, ring.head - ring.first))
        else:
            position = ring.first + min(where, ring.head - ring.first)
            data = ring.read(position, much)
            assert data == model[position : position + len(data)]
            assert data or not much or position == ring.head
        assert ring.head == len(model)
        assert ring.free == SIZE - (ring.head - ring.first)
    kept = b""
    while len(kept) < ring.head - ring.first:
        kept += ring.read(ring.first + len(kept), SIZE)
    assert kept == model[ring.first :]


def test_what_a_ring_does_not_have_it_does_not_give() -> None:
    ring = Ring(SIZE)
    ring.space()[:3] = b"abc"
    ring.add(3)
    ring.forget(2)
    with pytest.raises(ValueError, match="not in"):
        ring.read(1, 1)
    with pytest.raises(ValueError, match="not in"):
        ring.read(4, 1)
    with pytest.raises(ValueError, match="behind"):
        ring.forget(4)


def test_work_in_steps_waits_and_is_woken_and_ends() -> None:
    clock, done = Clock(), []

    def work() -> object:
        done.append("begun")
        yield None
        done.append("woken")
        yield 1000.0
        done.append("never")

    steps = Steps(clock, work())  # type: ignore[arg-type]
    assert clock.pause() == 0
    clock.run()
    assert (done, clock.pause()) == (["begun"], None)
    steps.wake()
    clock.run()
    assert done == ["begun", "woken"]
    assert 900 < (clock.pause() or 0) <= 1000
    steps.cancel()
    assert clock.pause() is None
    steps.wake()
    assert clock.pause() is None
