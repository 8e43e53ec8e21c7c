"""Any order of steps leaves a viewer with every byte, once, in order."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from support.manual import CollectingOutlet, Stage, of
from terminal_service import wire
from terminal_service.sizes import Size

KIB = 1024


STEPS = st.one_of(
    st.tuples(st.just("print"), st.integers(1, 90_000)),
    st.tuples(st.just("room"), st.one_of(st.none(), st.integers(0, 60_000))),
    st.tuples(st.just("ack"), st.integers(0, 100)),
    st.tuples(st.just("ack_bytes"), st.integers(0, 20_000)),
    st.tuples(st.just("mode"), st.sampled_from(["exact", "live", "frozen"])),
    st.tuples(st.just("window"), st.integers(4_096, 200_000)),
    st.tuples(st.just("resize"), st.integers(1, 100)),
    st.tuples(st.just("again"), st.none()),
)


class Follower:
    """What a viewer may conclude from all that it was sent."""

    def __init__(self, stage: Stage, outlet: CollectingOutlet) -> None:
        attached = outlet.last(wire.Attached)
        self.stage = stage
        self.position = attached.seq
        self.rows = attached.rows

    def follow(self, messages: list[wire.ServerMessage]) -> None:
        for message in messages:
            match message:
                case wire.Output(data=data, seq=seq):
                    assert bytes(data) == self.stage.everything[self.position : seq]
                    assert seq == self.position + len(data)
                    self.position = seq
                case wire.Gap(first=first, last=last, lost_bytes=lost):
                    assert (first, last - first) == (self.position, lost)
                    assert lost > 0
                    self.position = last
                case wire.Resized(rows=rows):
                    self.rows = rows


@settings(max_examples=60)
@given(steps=st.lists(STEPS, max_size=40))
def test_whatever_happens_no_byte_is_lost_doubled_or_stuck(
    steps: list[tuple[str, object]],
) -> None:
    stage = Stage(retention_bytes=256 * KIB).start()
    try:
        viewer = stage.attach(client_id="c", window=20_000, recover_from=0)
        follower = Follower(stage, viewer)
        for kind, value in steps:
            if kind == "again":
                viewer = stage.attach(client_id="c", recover_from="last_sequence", mode=of(viewer).mode)
                follower = Follower(stage, viewer)
            play(stage, viewer, kind, value)
            follower.follow(viewer.take())
            assert follower.position == of(viewer).position
        viewer.room = None
        of(viewer).set_mode("exact")
        while follower.position < stage.log.head:
            before = follower.position
            of(viewer).acknowledge(follower.position)
            stage.time.run()
            follower.follow(viewer.take())
            assert follower.position > before, "delivery is stuck"
        of(viewer).acknowledge(follower.position)
        follower.follow(viewer.take())
        assert follower.rows == stage.terminal.size.rows
    finally:
        stage.close()


def play(stage: Stage, viewer: CollectingOutlet, kind: str, value: object) -> None:
    attachment = of(viewer)
    number = value if isinstance(value, int) else 0
    match kind:
        case "print":
            stage.print(bytes(number % 251 for _ in range(1)) * number)
        case "room":
            viewer.room = None if value is None else number
            attachment.pump()
        case "ack":
            attachment.acknowledge(attachment.position * number // 100)
        case "ack_bytes":
            attachment.acknowledge_bytes(number, attachment._start)
        case "mode":
            attachment.set_mode(str(value))
        case "window":
            attachment.set_window(number)
        case "resize":
            stage.terminal.resize(Size(number, 80))
    stage.time.run()
