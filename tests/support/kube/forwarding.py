"""Port-forwarding over WebSocket."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from support.kube.channels import Stream
    from support.kube.descriptors import Descriptor

    Dial = Callable[[int], Awaitable[Descriptor]]

TUNNEL = "SPDY/3.1+portforward.k8s.io"


async def serve(stream: Stream, dial: Dial) -> None:
    raise NotImplementedError
