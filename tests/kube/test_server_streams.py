"""What a plain client sees of the test API server: the protocol as a real cluster was measured to speak it."""

from __future__ import annotations

import base64
import json
import ssl
import struct
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from support.kube.access import BEARER_PROTOCOL, Rule
from support.kube.authority import authority
from support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp import ClientWebSocketResponse

    from support.kube.server import KubeServer

pytestmark = pytest.mark.platform("linux")

V4, V5 = "v4.channel.k8s.io", "v5.channel.k8s.io"
SUCCESS = {"metadata": {}, "status": "Success"}


@pytest.fixture
async def pod(server: KubeServer) -> str:
    return await server.run_pod()


@pytest.fixture
async def client(server: KubeServer) -> AsyncIterator[aiohttp.ClientSession]:
    """Give a client with all rights."""
    async with aiohttp.ClientSession(
        server.url + "/api/v1/namespaces/default/",
        headers={"Authorization": f"Bearer {server.access.add('admin')}"},
        connector=_connector(),
    ) as session:
        yield session


def _connector() -> aiohttp.TCPConnector:
    return aiohttp.TCPConnector(ssl=ssl.create_default_context(cadata=authority().pem.decode()))


class Exec:
    """A client of an exec."""

    def __init__(self, socket: ClientWebSocketResponse) -> None:
        self.socket = socket
        self.output = {1: b"", 2: b""}
        self.largest = 0

    async def send(self, channel: int, data: bytes) -> None:
        await self.socket.send_bytes(bytes([channel]) + data)

    async def until(self, text: bytes) -> None:
        """Read until a text has come."""
        while text not in self.output[1] + self.output[2]:
            assert await self.read() is None

    async def read(self) -> Any:
        """Read a message; return the status if it is that."""
        message = await self.socket.receive_bytes(timeout=10)
        self.largest = max(self.largest, len(message) - 1)
        if message[0] == 3:
            return json.loads(message[1:])
        self.output[message[0]] += message[1:]
        return None

    async def status(self) -> Any:
        while (found := await self.read()) is None:
            pass
        assert (await self.socket.receive(timeout=10)).type is aiohttp.WSMsgType.CLOSE
        assert self.socket.close_code == 1000
        return found

    async def end(self) -> int | None:
        """Read to the end; return the close code."""
        while not self.socket.closed:
            await self.socket.receive(timeout=10)
        return self.socket.close_code


@asynccontextmanager
async def executed(
    client: aiohttp.ClientSession, script: str, *, protocols: tuple[str, ...] = (V5, V4), tty: bool = False, **more: Any
) -> AsyncIterator[Exec]:
    query = [("command", word) for word in ("sh", "-c", script)]
    query += [(name, "true") for name in ("stdin", "stdout", "tty" if tty else "stderr")]
    async with client.ws_connect("pods/box/exec", params=query, protocols=protocols, max_msg_size=0, **more) as socket:
        yield Exec(socket)


@pytest.mark.usefixtures("pod")
async def test_the_first_frame_is_an_empty_one_of_stdout_and_the_newest_protocol_is_chosen(
    client: aiohttp.ClientSession,
) -> None:
    async with executed(client, "exit 7", protocols=(V5, V4)) as run:
        assert run.socket.protocol == V5
        assert await run.socket.receive_bytes() == b"\x01"
        cause = {"reason": "ExitCode", "message": "7"}
        assert await run.status() == {
            "metadata": {},
            "status": "Failure",
            "reason": "NonZeroExitCode",
            "details": {"causes": [cause]},
        }


@pytest.mark.usefixtures("pod")
async def test_payloads_have_32_kibibytes_at_most(client: aiohttp.ClientSession) -> None:
    async with executed(client, "head -c 1000000 /dev/zero; echo no >&2") as run:
        assert await run.status() == SUCCESS
        assert run.output == {1: bytes(1_000_000), 2: b"no\n"}
        assert run.largest <= 32_768


@pytest.mark.usefixtures("pod")
async def test_stdin_is_closed_by_itself_in_v5_only(server: KubeServer, client: aiohttp.ClientSession) -> None:
    async with executed(client, "cat; echo end") as run:
        await run.send(0, b"text ")
        await run.send(255, b"\x00")
        assert await run.status() == SUCCESS
        assert run.output[1] == b"text end\n"
    server.commands.v4_only = True
    async with executed(client, "read line; echo $line; read line || echo end") as run:
        assert run.socket.protocol == V4
        await run.send(255, b"\x00")
        await run.send(0, b"still open\n")
        await run.until(b"still open\n")


@pytest.mark.usefixtures("pod")
async def test_without_a_protocol_a_stream_is_refused(client: aiohttp.ClientSession) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        async with executed(client, "true", protocols=()):
            pass

    assert refused.value.status == 403


@pytest.mark.usefixtures("pod")
async def test_a_token_can_be_a_protocol_beside_a_real_one(server: KubeServer) -> None:
    token = base64.urlsafe_b64encode(server.access.add("ann").encode()).decode().rstrip("=")
    base = server.url + "/api/v1/namespaces/default/"
    async with aiohttp.ClientSession(base, connector=_connector()) as stranger:
        async with executed(stranger, "exit 0", protocols=(BEARER_PROTOCOL + token, V5)) as run:
            assert run.socket.protocol == V5
            assert await run.status() == SUCCESS
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            async with executed(stranger, "true"):
                pass
    assert refused.value.status == 401


@pytest.mark.usefixtures("pod")
async def test_exec_needs_the_right_to_create(server: KubeServer) -> None:
    token = server.access.add("ann", [Rule(["get"], ["pods", "pods/exec"])])
    base = server.url + "/api/v1/namespaces/default/"
    headers = {"Authorization": f"Bearer {token}"}
    async with aiohttp.ClientSession(base, connector=_connector(), headers=headers) as narrow:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            async with executed(narrow, "true"):
                pass
    assert refused.value.status == 403


@pytest.mark.usefixtures("pod")
async def test_a_terminal_that_is_cut_gets_no_end_and_no_signal_and_blocks_unread(
    client: aiohttp.ClientSession,
) -> None:
    script = "trap 'echo hup > /tmp/signal' HUP; echo $$; read line; while :; do echo much; echo . >> /tmp/count; done"
    async with executed(client, script, tty=True) as run:
        await run.until(b"\r\n")
        pid = run.output[1].split()[0].decode()
        await run.send(0, b"go\n")
        await run.until(b"much")
        run.socket._response.connection.transport.abort()  # type: ignore[union-attr]

    async def stands() -> bool:
        script = "wc -c < /tmp/count; sleep 0.1; wc -c < /tmp/count"
        async with executed(client, script) as asked:
            await asked.status()
            before, after = asked.output[1].split()
        return before == after

    await wait_until(stands, description="the writer to be blocked")
    async with executed(client, f"kill -0 {pid} && [ ! -e /tmp/signal ] && echo alive") as asked:
        assert await asked.status() == SUCCESS
        assert asked.output[1] == b"alive\n"


@pytest.mark.usefixtures("pod")
async def test_a_pipe_that_is_cut_gets_its_end(client: aiohttp.ClientSession) -> None:
    async with executed(client, "echo up; cat; touch /tmp/ended") as run:
        await run.until(b"up")

    async with executed(client, "until [ -e /tmp/ended ]; do sleep 0.02; done") as asked:
        assert await asked.status() == SUCCESS


@pytest.mark.usefixtures("pod")
@pytest.mark.parametrize("protocol", [V4, V5])
async def test_a_restarted_containerd_says_success_of_a_living_program(
    server: KubeServer, client: aiohttp.ClientSession, protocol: str
) -> None:
    async with executed(client, "echo $$; sleep 1000", protocols=(protocol,), tty=True) as run:
        await run.until(b"\n")
        server.commands.restart_containerd()
        assert await run.status() == SUCCESS

    async with executed(client, f"kill -0 {run.output[1].decode().strip()}") as asked:
        assert await asked.status() == SUCCESS


async def test_attach_reports_success_whatever_the_exit_code_is(
    server: KubeServer, client: aiohttp.ClientSession
) -> None:
    await server.run_pod("box", "sh", "-c", "read line; echo $line; exit 4", stdin=True)
    query = {"stdin": "true", "stdout": "true"}
    async with client.ws_connect("pods/box/attach", params=query, protocols=(V5, V4)) as socket:
        attached = Exec(socket)
        await attached.send(0, b"hello\n")
        assert await attached.status() == SUCCESS
        assert attached.output[1] == b"hello\n"

    def ended() -> Any:
        status = server.cluster.store.get("pods", "default", "box")["status"]["containerStatuses"][0]
        return (status["lastState"] or status["state"]).get("terminated")

    assert (await wait_until(ended, description="the end in the status"))["exitCode"] == 4


async def test_a_restarted_api_server_cuts_streams_and_pods_live(
    server: KubeServer, client: aiohttp.ClientSession, pod: str
) -> None:
    async with executed(client, "echo up; sleep 1000") as run:
        await run.until(b"up")
        await server.restart()
        assert await run.end() == 1006

    async with client.get(f"pods/{pod}") as response:
        assert (await response.json())["status"]["phase"] == "Running"


@pytest.mark.usefixtures("pod")
async def test_a_stopped_kubelet_cuts_streams_and_opens_none(server: KubeServer, client: aiohttp.ClientSession) -> None:
    async with executed(client, "echo up; sleep 1000") as run:
        await run.until(b"up")
        server.commands.stop_kubelet()
        assert await run.end() == 1006
    async with executed(client, "true") as refused:
        status = await refused.status()
        assert (status["reason"], status["code"]) == ("InternalError", 500)
        assert "error dialing backend" in status["message"]
    server.commands.start_kubelet()
    async with executed(client, "true") as again:
        assert await again.status() == SUCCESS


@pytest.mark.usefixtures("pod")
async def test_a_half_open_stream_answers_nothing_until_it_thaws(
    server: KubeServer, client: aiohttp.ClientSession
) -> None:
    async with executed(client, "echo up; read line; echo $line") as run:
        await run.until(b"up")
        server.commands.freeze()
        await run.send(0, b"late\n")
        await run.socket.ping()
        with pytest.raises(TimeoutError):
            await run.socket.receive(timeout=0.2)
        server.commands.thaw()
        await run.until(b"late")


async def test_a_port_is_forwarded_by_plain_channels(server: KubeServer, client: aiohttp.ClientSession) -> None:
    listen = "nc -l -p 7777 -e cat & until grep -q :1E61 /proc/net/tcp*; do sleep 0.01; done; echo up; wait"
    await server.run_pod("box", "sh", "-c", listen)
    async with client.get("pods/box/log", params={"follow": "true"}) as log:
        assert await log.content.readline() == b"up\n"

    async with client.ws_connect("pods/box/portforward", params={"ports": "7777,9"}, protocols=(V4,)) as socket:
        for channel, port in enumerate((7777, 7777, 9, 9)):
            assert await socket.receive_bytes() == bytes([channel]) + struct.pack("<H", port)
        refused = await socket.receive_bytes()
        assert (refused[0], b"connection refused" in refused) == (3, True)
        await socket.send_bytes(b"\x00hello")
        assert await socket.receive_bytes(timeout=10) == b"\x00hello"


# Watches and versions


async def test_a_watch_of_what_is_forgotten_is_gone(
    server: KubeServer, client: aiohttp.ClientSession, pod: str
) -> None:
    async with client.get("pods") as listed:
        version = (await listed.json())["metadata"]["resourceVersion"]
    async with client.get("pods", params={"watch": "1", "resourceVersion": version}) as watching:
        server.cluster.delete_pod("default", pod, 0)
        first = json.loads(await watching.content.readline())
        last = first
        while last["type"] != "DELETED":
            last = json.loads(await watching.content.readline())
    server.cluster.store.compact()
    async with client.get("pods", params={"watch": "1", "resourceVersion": version}) as watching:
        told = json.loads(await watching.content.readline())

    assert first["type"] == "MODIFIED"
    assert first["object"]["metadata"]["deletionTimestamp"]
    assert last["object"]["metadata"]["uid"] == first["object"]["metadata"]["uid"]
    assert (told["type"], told["object"]["code"], told["object"]["reason"]) == ("ERROR", 410, "Expired")


async def test_a_watch_can_begin_with_what_there_is_and_ends_in_time(client: aiohttp.ClientSession, pod: str) -> None:
    query = {"watch": "1", "sendInitialEvents": "true", "allowWatchBookmarks": "true", "timeoutSeconds": "0.2"}
    async with client.get("pods", params=query) as watching:
        told = [json.loads(line) for line in (await watching.read()).splitlines()]

    assert [each["type"] for each in told] == ["ADDED", "BOOKMARK", "BOOKMARK"]
    assert told[0]["object"]["metadata"]["name"] == pod
    assert told[1]["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}


async def test_an_old_version_cannot_be_written_over(client: aiohttp.ClientSession, pod: str) -> None:
    async with client.get(f"pods/{pod}") as found:
        form = await found.json()
    form["metadata"]["labels"] = {"a": "b"}
    async with client.put(f"pods/{pod}", json=form) as written:
        assert written.status == 200
    async with client.put(f"pods/{pod}", json=form) as refused:
        answer = await refused.json()

    assert (answer["code"], answer["reason"]) == (409, "Conflict")


async def test_the_deletion_of_another_pod_of_the_name_is_refused(client: aiohttp.ClientSession, pod: str) -> None:
    async with client.delete(f"pods/{pod}", json={"preconditions": {"uid": "of another"}}) as refused:
        assert refused.status == 409
    async with client.delete("pods", params={"labelSelector": "a=b"}) as none:
        assert (await none.json())["items"] == []
    async with client.get(f"pods/{pod}") as found:
        assert found.status == 200


async def test_too_many_requests_are_told_when_to_come_again(server: KubeServer, client: aiohttp.ClientSession) -> None:
    server.faults.fail(429, "list", resource="pods", times=2, retry_after=3)
    server.faults.delay(0.05, "list", resource="pods")
    for _ in range(2):
        async with client.get("pods") as refused:
            assert (refused.status, refused.headers["Retry-After"]) == (429, "3")
            assert (await refused.json())["details"]["retryAfterSeconds"] == 3
    server.faults.abort("list", times=2)  # the client tries a kept connection twice
    with pytest.raises(aiohttp.ClientError):
        await client.get("pods")
    async with client.get("pods") as listed:
        assert listed.status == 200


async def test_a_pod_has_time_to_end_and_a_deadline(server: KubeServer, client: aiohttp.ClientSession) -> None:
    await server.run_pod("polite", "sh", "-c", "trap 'exit 0' TERM; sleep 1000 & wait")
    spec = {
        "activeDeadlineSeconds": 1,
        "restartPolicy": "Never",
        "containers": [{"name": "main", "image": "busybox", "command": ["sleep", "1000"]}],
    }
    async with client.post("pods", json={"metadata": {"generateName": "short-"}, "spec": spec}) as made:
        name = (await made.json())["metadata"]["name"]
    async with client.delete("pods/polite", json={"gracePeriodSeconds": 100}) as deleted:
        assert (await deleted.json())["metadata"]["deletionGracePeriodSeconds"] == 100
    store = server.cluster.store

    await wait_until(lambda: not store.has("pods", "default", "polite"), description="the polite end")
    await wait_until(
        lambda: store.get("pods", "default", name)["status"]["phase"] == "Failed", description="the deadline"
    )
    assert store.get("pods", "default", name)["status"]["reason"] == "DeadlineExceeded"


async def test_a_lost_node_tells_nothing_of_its_pods(
    server: KubeServer, client: aiohttp.ClientSession, pod: str
) -> None:
    server.cluster.lose_node()

    async with client.delete(f"pods/{pod}") as deleted:
        assert deleted.status == 200
    async with client.get(f"pods/{pod}") as found:
        form = await found.json()

    assert form["status"]["reason"] == "NodeLost"
    assert form["metadata"]["deletionTimestamp"]
