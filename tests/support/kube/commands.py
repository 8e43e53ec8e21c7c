"""Exec, attach, port-forward and logs: the requests that reach into containers."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from aiohttp import web

from support.kube import forwarding
from support.kube.attaching import attach
from support.kube.channels import V4, V5, Cut, Session, Stream, not_started, send_status
from support.kube.containers import Command, NotStarted
from support.kube.statuses import bad_request, internal_error

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterator

    from support.kube.cluster import Cluster
    from support.kube.descriptors import Descriptor
    from support.kube.kubelet import Life
    from support.kube.paths import Asked

MOST_MESSAGE_BYTES = 1 << 25


class Commands:
    """The streams into a cluster's containers, and what tests do to them."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.streams: set[Stream] = set()
        self.v4_only = False

    # What tests do

    def drop(self) -> None:
        """Cut all streams: 1006 for the clients; the programs live."""
        for stream in [*self.streams]:
            stream.abort()

    def freeze(self) -> None:
        """Make all streams half-open."""
        for stream in self.streams:
            stream.freeze()

    def thaw(self) -> None:
        for stream in self.streams:
            stream.thaw()

    def restart_containerd(self) -> None:
        """End all execs with `Success`, though their programs live, as a real node does."""
        for stream in self.streams:
            stream.false_success.set()

    def stop_kubelet(self) -> None:
        """Cut all streams, and let no new one be opened."""
        self._cluster.is_kubelet_stopped = True
        self.drop()

    def start_kubelet(self) -> None:
        self._cluster.is_kubelet_stopped = False

    # What clients ask

    async def run(self, request: web.Request, asked: Asked) -> web.StreamResponse:
        """Serve a stream; raise Refused."""
        life = self._cluster.life(asked.namespace, asked.name, request.query.get("container", ""))
        pod = self._cluster.store.get("pods", asked.namespace, asked.name)
        phase = pod["status"]["phase"]
        if phase in ("Succeeded", "Failed") and asked.sub != "portforward":
            raise bad_request(f"cannot exec into a container in a completed pod; current phase is {phase}")
        if not pod["spec"].get("nodeName"):
            raise bad_request(f"pod {asked.name} does not have a host assigned")
        if request.headers.get("Upgrade", "").lower() != "websocket":
            raise bad_request("Upgrade request required: only WebSockets are served here")
        if asked.sub == "portforward":
            return await self._forward(request, asked)
        socket = await self._shake_hands(request, (V4,) if self.v4_only else (V5, V4))
        if socket is None:
            return web.Response(status=403)
        with self._streaming(request, socket) as stream:
            try:
                await self._serve(stream, asked, life)
            except Cut:
                stream.abort()
        return socket

    async def _shake_hands(self, request: web.Request, protocols: tuple[str, ...]) -> web.WebSocketResponse | None:
        """Accept a WebSocket if a protocol fits."""
        offered = {each.strip() for each in request.headers.get("Sec-WebSocket-Protocol", "").split(",")}
        if not offered.intersection(protocols):
            return None
        socket = web.WebSocketResponse(protocols=protocols, compress=False, max_msg_size=MOST_MESSAGE_BYTES, timeout=1)
        await socket.prepare(request)
        return socket

    @contextmanager
    def _streaming(self, request: web.Request, socket: web.WebSocketResponse) -> Iterator[Stream]:
        stream = Stream(request, socket)
        self.streams.add(stream)
        try:
            yield stream
        finally:
            self.streams.discard(stream)

    async def _serve(self, stream: Stream, asked: Asked, life: Life) -> None:
        if problem := self._unreachable(life):
            await send_status(stream, internal_error(problem).body)
        elif asked.sub == "attach":
            await attach(stream, life)
        else:
            await self._exec(stream, life)

    def _unreachable(self, life: Life) -> str:
        if self._cluster.is_kubelet_stopped:
            return "error dialing backend: dial tcp 10.0.0.11:10250: connect: connection refused"
        if life.running is None:
            return f'unable to upgrade connection: container not found ("{life.form["name"]}")'
        return ""

    async def _exec(self, stream: Stream, life: Life) -> None:
        query = stream.request.query
        assert life.command is not None
        wants = {name: query.get(name) in ("1", "true") for name in ("stdin", "stdout", "stderr", "tty")}
        environment = dict(life.command.env) | ({"TERM": "xterm"} if wants["tty"] else {})
        command = Command(
            argv=query.getall("command", []),
            env=environment,
            cwd=life.command.cwd,
            user=life.command.user,
            tty=wants["tty"],
            stdin=wants["stdin"],
        )
        if not command.argv:
            await send_status(stream, bad_request("you must specify at least 1 command for the container").body)
            return
        try:
            running = await self._cluster.runtime.exec(life.identity, command)
        except NotStarted as error:
            await send_status(stream, not_started(str(error)))
            return
        except ProcessLookupError:
            await send_status(stream, not_started("cannot exec in a stopped container: unknown"))
            return
        is_over = False
        try:
            is_over = await Session(stream, running, wants).run()
        finally:
            if is_over:
                running.close()
            else:
                self._cluster.keep_unread(life, running)

    async def _forward(self, request: web.Request, asked: Asked) -> web.StreamResponse:
        pod = self._cluster.store.get("pods", asked.namespace, asked.name)
        if pod["status"]["phase"] != "Running":
            raise bad_request(
                f"unable to forward port because pod is not running. Current status={pod['status']['phase']}"
            )
        if self._cluster.is_kubelet_stopped:
            raise internal_error("error dialing backend: dial tcp 10.0.0.11:10250: connect: connection refused")
        if forwarding.TUNNEL not in request.headers.get("Sec-WebSocket-Protocol", ""):
            forwarding.check_ports(request.query.getall("ports", []))
        socket = await self._shake_hands(request, (forwarding.TUNNEL, V4))
        if socket is None:
            return web.Response(status=403)

        def dial(port: int) -> Awaitable[Descriptor]:
            return self._cluster.runtime.dial(pod["metadata"]["uid"], port)

        with self._streaming(request, socket) as stream:
            await forwarding.serve(stream, dial)
        return socket

    async def log(self, request: web.Request, asked: Asked) -> web.StreamResponse:
        """Stream what a container has written; raise Refused."""
        query = request.query
        life = self._cluster.life(asked.namespace, asked.name, query.get("container", ""))
        log = life.log
        if query.get("previous") in ("1", "true"):
            if life.previous is None:
                name = life.form["name"]
                raise bad_request(f'previous terminated container "{name}" in pod "{asked.name}" not found')
            log = life.previous
        elif not life.identity:
            reason = life.state.get("waiting", {}).get("reason", "")
            name = life.form["name"]
            raise bad_request(f'container "{name}" in pod "{asked.name}" is waiting to start: {reason}')
        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        await response.prepare(request)
        seconds = query.get("sinceSeconds")
        lines = log.read(
            follow=query.get("follow") in ("1", "true"),
            tail=int(query["tailLines"]) if "tailLines" in query else None,
            since=datetime.now(UTC) - timedelta(seconds=int(seconds)) if seconds else None,
            timestamps=query.get("timestamps") in ("1", "true"),
        )
        left = int(query.get("limitBytes", 1 << 40))
        async for line in lines:
            await response.write(line[:left])
            left -= len(line)
            if left <= 0:
                break
        await response.write_eof()
        return response
