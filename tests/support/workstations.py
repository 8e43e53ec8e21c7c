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
import os
import secrets
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import google.auth.jwt
import grpc
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.cloud import workstations_v1 as v1
from google.longrunning import operations_pb2
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2

from backends.workstations.profile import WorkstationsProfile
from support.certificate import CERTIFICATE, KEY
from support.workstation_computer import PARENT, RUNNING, STARTING, STOPPED, STOPPING, Computer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from google.protobuf.message import Message


ACCOUNT = "terminals@a-project.iam.gserviceaccount.com"
_SERVICE = "google.cloud.workstations.v1.Workstations"
_Code = grpc.StatusCode
_SWITCHING, _UNAUTHORIZED, _FORBIDDEN = 101, 401, 403


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


def make_profile(directory: Path, endpoint: str, **fields: Any) -> WorkstationsProfile:
    """Return a profile of the workstations that a cloud with this directory has."""
    usual: dict[str, Any] = {
        "name": "ws",
        "project": "a-project",
        "region": "europe-west1",
        "cluster": "cluster",
        "config": "config",
        "api_endpoint": endpoint,
        "credentials_file": str(directory / "account.json"),
        "ca_file": str(directory / "ca.pem"),
        "trust": "tunnel",
    }
    return WorkstationsProfile(**usual | fields)


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
        return make_profile(self.directory, self.endpoint, **fields)

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
            await computer.unplug()
        await self._server.stop(None)

    async def add(self, name: str, state: int = STOPPED) -> Computer:
        """Have a workstation."""
        computer = self.computers[name] = Computer(name)
        if state == RUNNING:
            await computer.plug_in(self.directory, self.listening, self._admit)
        computer.state = state
        return computer

    async def halt(self, name: str) -> None:
        """Stop a workstation as Google does by itself."""
        await self.computers[name].unplug()

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
            await computer.plug_in(self.directory, self.listening, self._admit)
            return computer.message()

        return self._operate("start", start, failed=lambda: setattr(computer, "state", STOPPED))

    async def _stop(self, request: Any, context: Any) -> operations_pb2.Operation:
        computer = await self._find(request.name, context)
        computer.state = STOPPING

        async def stop() -> v1.Workstation:
            await computer.unplug()
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

    def _admit(self, computer: Computer, port: int, authorization: str) -> int:
        name, allowed, expires_at = self.tokens.get(authorization.removeprefix("Bearer "), ("", 0, 0.0))
        if expires_at < time.time():
            return _UNAUTHORIZED
        if not self.admits or name != computer.name or allowed not in (0, port):
            return _FORBIDDEN
        return _SWITCHING


@contextlib.contextmanager
def serving_cloud(directory: Path, port: int) -> Iterator[str]:
    """Run a cloud in a process of its own, for tests on several event loops; yields its endpoint.

    Behind port 22 of its workstations is that port of this machine.
    """
    command = [sys.executable, "-m", "support.workstations", str(directory), str(port)]
    tests = Path(__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": f"{tests}{os.pathsep}{tests.parent}"}
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.communicate()  # the end of its input ends it


async def _serve(directory: Path, port: int) -> None:
    async with Cloud(directory) as cloud:
        cloud.listening[22] = port
        print(cloud.endpoint, flush=True)  # noqa: T201 - whoever started this reads it
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1]), int(sys.argv[2])))
