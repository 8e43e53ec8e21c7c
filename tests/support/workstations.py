"""Google's side of Cloud Workstations on this machine: the API over gRPC, and the tunnels in front of real servers.

What is emulated: the messages and services of google.cloud.workstations.v1 and google.longrunning (the library's own
types; states, operations that take their time, tokens, errors with details), TLS, a service account's signed tokens,
and the tunnel of `gcloud workstations start-tcp-tunnel`. What is not: anything inside Google (images, disks, IAM).
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import secrets
import ssl
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Self

import google.auth.jwt
import grpc
import pytest
from aiohttp import WSMsgType, web
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.cloud import workstations_v1 as v1
from google.longrunning import operations_pb2
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2

from backends.workstations.profile import WorkstationsProfile
from support.certificate import CERTIFICATE, KEY

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    from google.protobuf.message import Message

STARTING, RUNNING, STOPPING, STOPPED = range(1, 5)
PARENT = "projects/a-project/locations/europe-west1/workstationClusters/cluster/workstationConfigs/config"
ACCOUNT = "terminals@a-project.iam.gserviceaccount.com"
_SERVICE = "google.cloud.workstations.v1.Workstations"
_Code = grpc.StatusCode
_SWITCHING, _UNAUTHORIZED, _FORBIDDEN, _UNAVAILABLE = 101, 401, 403, 503


def make_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@functools.cache
def _key() -> rsa.RSAPrivateKey:
    """Make the key of our account once."""
    return make_key()


@pytest.fixture(scope="session")
def grpc_opened() -> Iterator[None]:
    """Have gRPC open what it keeps for the life of the process, before anybody counts descriptors and threads."""

    async def once() -> None:
        grpc.aio.init_grpc_aio()
        server = grpc.aio.server()
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            await channel.channel_ready()
        await server.stop(None)

    loop = asyncio.new_event_loop()
    loop.run_until_complete(once())
    loop.close()
    yield
    grpc.aio.shutdown_grpc_aio()


@dataclass(eq=False)
class Computer:
    """One workstation."""

    name: str
    labels: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)
    state: int = STOPPED
    started_at: datetime | None = None
    host: str = ""
    runner: web.AppRunner | None = None
    sockets: set[web.WebSocketResponse] = field(default_factory=set)
    dials: list[int] = field(default_factory=list)
    """The HTTP status of each try to open a tunnel."""

    def message(self) -> v1.Workstation:
        return v1.Workstation(
            name=f"{PARENT}/workstations/{self.name}",
            labels=self.labels,
            annotations=self.annotations,
            state=self.state,
            host=self.host,
            start_time=self.started_at,
        )

    def cut(self) -> None:
        """Cut every tunnel to it, without a farewell."""
        for transport in self._transports():
            transport.abort()

    def freeze(self) -> None:
        """Have all tunnels to it answer no more, and keep them open."""
        for transport in self._transports():
            transport.pause_reading()

    def _transports(self) -> list[Any]:
        return [socket._req.transport for socket in self.sockets if socket._req and socket._req.transport]


@dataclass
class Fault:
    """What a call answers instead."""

    code: grpc.StatusCode
    message: str = "on purpose"
    details: tuple[Message, ...] = ()

    async def answer(self, context: Any) -> None:
        details = []
        for detail in self.details:
            details.append(any_pb2.Any())
            details[-1].Pack(detail)
        status = status_pb2.Status(code=self.code.value[0], message=self.message, details=details)
        metadata = (("grpc-status-details-bin", status.SerializeToString()),)
        await context.abort(self.code, self.message, metadata)


def retry_soon(seconds: float = 0.01) -> error_details_pb2.RetryInfo:
    """Return the detail of an error by which a client knows when to try again."""
    info = error_details_pb2.RetryInfo()
    info.retry_delay.FromMilliseconds(round(seconds * 1000))
    return info


class Cloud:
    """The API and the tunnels; `async with Cloud(directory) as cloud`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.computers: dict[str, Computer] = {}
        self.config = v1.WorkstationConfig(
            name=PARENT, idle_timeout=timedelta(minutes=20), running_timeout=timedelta(hours=12)
        )
        self.listening: dict[int, int] = {}
        """The ports of every workstation on which something listens, and where that is on this machine."""
        self.faults: dict[str, list[Fault]] = {}
        """What the next calls of a method answer."""
        self.failures: dict[str, list[status_pb2.Status]] = {}
        """How the next operations of a verb end."""
        self.seconds: dict[str, float] = {}
        """How long operations of a verb take."""
        self.tokens: dict[str, tuple[str, int, float]] = {}
        """Token: workstation, port, when it expires."""
        self.token_seconds: float | None = None
        """How long tokens are good for, whatever is asked for."""
        self.admits = True
        """Whether tokens open tunnels."""
        self.calls: list[str] = []
        """Methods that were called."""
        self._operations: dict[str, operations_pb2.Operation] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.endpoint = ""

    def profile(self, **fields: Any) -> WorkstationsProfile:
        """Return a profile of these workstations."""
        usual: dict[str, Any] = {
            "name": "ws",
            "project": "a-project",
            "region": "europe-west1",
            "cluster": "cluster",
            "config": "config",
            "api_endpoint": self.endpoint,
            "credentials_file": str(self.directory / "account.json"),
            "ca_file": str(self.directory / "ca.pem"),
            "trust": "tunnel",
        }
        return WorkstationsProfile(**usual | fields)

    async def __aenter__(self) -> Self:
        self.directory.mkdir(parents=True, exist_ok=True)
        (self.directory / "ca.pem").write_text(CERTIFICATE)
        (self.directory / "tls.key").write_text(KEY)
        self.write_account("account")
        self._server = grpc.aio.server()
        self._server.add_generic_rpc_handlers(self._handlers())
        credentials = grpc.ssl_server_credentials([(KEY.encode(), CERTIFICATE.encode())])
        port = self._server.add_secure_port("127.0.0.1:0", credentials)
        self.endpoint = f"localhost:{port}"
        await self._server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        for computer in self.computers.values():
            await self._unplug(computer)
        await self._server.stop(None)

    async def add(self, name: str, state: int = STOPPED) -> Computer:
        """Have a workstation."""
        computer = self.computers[name] = Computer(name)
        if state == RUNNING:
            await self._plug_in(computer)
        computer.state = state
        return computer

    async def halt(self, name: str) -> None:
        """Stop a workstation as Google does by itself."""
        await self._unplug(self.computers[name])

    def write_account(self, name: str, key: rsa.RSAPrivateKey | None = None) -> Path:
        """Write the key file of our account, or one with another key in it."""
        pem = (key or _key()).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        file = self.directory / f"{name}.json"
        file.write_text(
            json.dumps(
                {
                    "type": "service_account",
                    "project_id": "a-project",
                    "private_key_id": "1",
                    "private_key": pem.decode(),
                    "client_email": ACCOUNT,
                    "client_id": "1",
                    "token_uri": "https://127.0.0.1:1/no-such-token-server",
                }
            )
        )
        file.chmod(0o600)
        return file

    def _handlers(self) -> tuple[grpc.GenericRpcHandler, ...]:
        methods: dict[str, tuple[Any, Any]] = {
            "GetWorkstation": (v1.GetWorkstationRequest, self._get),
            "GetWorkstationConfig": (v1.GetWorkstationConfigRequest, self._get_config),
            "CreateWorkstation": (v1.CreateWorkstationRequest, self._create),
            "StartWorkstation": (v1.StartWorkstationRequest, self._start),
            "StopWorkstation": (v1.StopWorkstationRequest, self._stop),
            "GenerateAccessToken": (v1.GenerateAccessTokenRequest, self._token),
        }
        own = {name: self._handler(name, kind.deserialize, act) for name, (kind, act) in methods.items()}
        get = self._handler("GetOperation", operations_pb2.GetOperationRequest.FromString, self._get_operation)
        return (
            grpc.method_handlers_generic_handler(_SERVICE, own),
            grpc.method_handlers_generic_handler("google.longrunning.Operations", {"GetOperation": get}),
        )

    def _handler(self, name: str, deserialize: Any, act: Callable[[Any, Any], Awaitable[Any]]) -> Any:
        async def call(request: Any, context: Any) -> Any:
            self.calls.append(name)
            await self._check(context)
            if faults := self.faults.get(name):
                await faults.pop(0).answer(context)
            return await act(request, context)

        def serialize(answer: Any) -> bytes:
            return bytes(
                type(answer).serialize(answer) if hasattr(type(answer), "serialize") else answer.SerializeToString()
            )

        return grpc.unary_unary_rpc_method_handler(
            call, request_deserializer=deserialize, response_serializer=serialize
        )

    async def _check(self, context: Any) -> None:
        """Refuse who is not our account."""
        words = dict(context.invocation_metadata()).get("authorization", "")
        public = (
            _key()
            .public_key()
            .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        )
        try:
            claims = google.auth.jwt.decode(  # type: ignore[no-untyped-call]
                words.removeprefix("Bearer "), certs=public
            )
        except ValueError as error:
            await context.abort(_Code.UNAUTHENTICATED, f"Request had invalid authentication credentials: {error}")
        if claims["iss"] != ACCOUNT:
            await context.abort(_Code.PERMISSION_DENIED, "another account")

    async def _find(self, path: str, context: Any) -> Computer:
        computer = self.computers.get(path.removeprefix(f"{PARENT}/workstations/"))
        if computer is None:
            await context.abort(_Code.NOT_FOUND, f"Resource '{path}' was not found")
        assert computer is not None
        return computer

    async def _get(self, request: Any, context: Any) -> v1.Workstation:
        return (await self._find(request.name, context)).message()

    async def _get_config(self, request: Any, context: Any) -> v1.WorkstationConfig:
        if request.name != PARENT:
            await context.abort(_Code.NOT_FOUND, f"Resource '{request.name}' was not found")
        return self.config

    async def _create(self, request: Any, context: Any) -> operations_pb2.Operation:
        name = request.workstation_id
        if request.parent != PARENT:
            await context.abort(_Code.NOT_FOUND, f"Resource '{request.parent}' was not found")
        if name in self.computers:
            await context.abort(_Code.ALREADY_EXISTS, f"Resource '{name}' already exists")

        async def create() -> v1.Workstation:
            asked = request.workstation
            computer = self.computers[name] = Computer(name, dict(asked.labels), dict(asked.annotations))
            return computer.message()

        return self._operate("create", create)

    async def _start(self, request: Any, context: Any) -> operations_pb2.Operation:
        computer = await self._find(request.name, context)
        if computer.state == STOPPING:
            await context.abort(_Code.FAILED_PRECONDITION, "the workstation is being stopped")
        computer.state = STARTING

        async def start() -> v1.Workstation:
            await self._plug_in(computer)
            return computer.message()

        return self._operate("start", start, failed=lambda: setattr(computer, "state", STOPPED))

    async def _stop(self, request: Any, context: Any) -> operations_pb2.Operation:
        computer = await self._find(request.name, context)
        computer.state = STOPPING

        async def stop() -> v1.Workstation:
            await self._unplug(computer)
            return computer.message()

        return self._operate("stop", stop)

    async def _token(self, request: Any, context: Any) -> v1.GenerateAccessTokenResponse:
        computer = await self._find(request.workstation, context)
        seconds = self.token_seconds or request.ttl.total_seconds()
        token = secrets.token_urlsafe(16)
        self.tokens[token] = (computer.name, request.port, time.time() + seconds)
        return v1.GenerateAccessTokenResponse(
            access_token=token, expire_time=datetime.now(UTC) + timedelta(seconds=seconds)
        )

    async def _get_operation(self, request: Any, context: Any) -> operations_pb2.Operation:
        operation = self._operations.get(request.name)
        if operation is None:
            await context.abort(_Code.NOT_FOUND, "no such operation")
        assert operation is not None
        return operation

    def _operate(
        self, verb: str, act: Callable[[], Awaitable[v1.Workstation]], *, failed: Callable[[], None] | None = None
    ) -> operations_pb2.Operation:
        operation = operations_pb2.Operation(name=f"{PARENT}/operations/{len(self._operations)}")
        self._operations[operation.name] = operation

        async def run() -> None:
            await asyncio.sleep(self.seconds.get(verb, 0.05))
            if failures := self.failures.get(verb):
                operation.error.CopyFrom(failures.pop(0))
                if failed is not None:
                    failed()
            else:
                operation.response.Pack(v1.Workstation.pb(await act()))
            operation.done = True

        task = asyncio.create_task(run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        answer = operations_pb2.Operation()
        answer.CopyFrom(operation)
        return answer

    async def _plug_in(self, computer: Computer) -> None:
        """Have its host answer."""
        application = web.Application()
        application.router.add_get("/_workstation/tcp/{port}", functools.partial(self._tunnel, computer))
        computer.runner = web.AppRunner(application, shutdown_timeout=0.1)
        await computer.runner.setup()
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.directory / "ca.pem", self.directory / "tls.key")
        site = web.TCPSite(computer.runner, "127.0.0.1", 0, ssl_context=context)
        await site.start()
        computer.host = f"localhost:{computer.runner.addresses[0][1]}"
        computer.state, computer.started_at = RUNNING, datetime.now(UTC)

    async def _unplug(self, computer: Computer) -> None:
        computer.state = STOPPED
        computer.cut()
        if computer.runner is not None:
            await computer.runner.cleanup()
            computer.runner = None

    async def _tunnel(self, computer: Computer, request: web.Request) -> web.StreamResponse:
        port = int(request.match_info["port"])
        status = self._admit(computer, port, request.headers.get("Authorization", ""))
        connection = None
        if status == _SWITCHING:
            try:
                connection = await asyncio.open_connection("127.0.0.1", self.listening.get(port, 1))
            except OSError:
                status = _UNAVAILABLE
        computer.dials.append(status)
        if connection is None:
            return web.Response(status=status)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        computer.sockets.add(socket)
        try:
            await _carry(socket, *connection)
        finally:
            computer.sockets.discard(socket)
        return socket

    def _admit(self, computer: Computer, port: int, authorization: str) -> int:
        name, allowed, expires_at = self.tokens.get(authorization.removeprefix("Bearer "), ("", 0, 0.0))
        if expires_at < time.time():
            return _UNAUTHORIZED
        if not self.admits or name != computer.name or allowed not in (0, port):
            return _FORBIDDEN
        return _SWITCHING


async def _carry(socket: web.WebSocketResponse, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Carry bytes until either side ends."""

    async def out() -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(16384):
                await socket.send_bytes(data)
            await socket.close()

    outward = asyncio.create_task(out())
    try:
        async for message in socket:
            if message.type in (WSMsgType.BINARY, WSMsgType.TEXT):
                writer.write(message.data if isinstance(message.data, bytes) else message.data.encode())
                await writer.drain()
    except ConnectionError:
        pass  # the server behind it has gone
    finally:
        outward.cancel()
        await asyncio.wait([outward])
        writer.transport.abort()
