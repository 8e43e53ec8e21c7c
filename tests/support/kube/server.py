"""The test API server: speaks Kubernetes' protocol over TLS in the event loop of the test."""

from __future__ import annotations

import asyncio
import json
import os
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from support.kube.access import EVERYTHING, Access, Rule, User
from support.kube.authority import authority
from support.kube.cluster import Cluster
from support.kube.commands import Commands
from support.kube.discovery import describe
from support.kube.faults import Faults
from support.kube.kubeconfig import kubeconfig
from support.kube.objects import Objects
from support.kube.paths import Asked, read_path
from support.kube.protobuf import MAGIC, read_review
from support.kube.statuses import Refused, no_such_path

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

ABOUT_ITSELF = ("/version", "/openapi", "/healthz", "/livez", "/readyz")
DISCOVERY = ("/api", "/apis", "/api/v1", "/apis/authorization.k8s.io/v1", "/apis/metrics.k8s.io/v1beta1")
STREAMS = ("exec", "attach", "portforward")


class KubeServer:
    """An API server with a cluster of one node; its fields and methods are the switches of tests."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.access = Access()
        self.faults = Faults()
        self.cluster = Cluster(directory)
        self.commands = Commands(self.cluster)
        self.asked: list[tuple[str, str]] = []
        """The verb and resource of every request so far: `("create", "pods/exec")`."""
        self.port = 0
        self.has_metrics = True
        self.exec_needs_create = True
        """Whether a WebSocket needs the verb `create`, as it does since 1.35, or `get` alone."""
        self._objects = Objects(self.cluster)
        self._context = authority().server_context(directory)
        self._connections: set[asyncio.Transport] = set()
        self._requests: set[asyncio.Task[Any]] = set()

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    async def start(self) -> None:
        await self.cluster.start()
        app = web.Application(client_max_size=3 << 20)
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handle_signals=False)
        await self._runner.setup()
        await self.listen()

    async def close(self) -> None:
        """End everything; raise what went wrong inside."""
        await self.stop_listening()
        await self._runner.cleanup()
        await self.cluster.close()
        if self.cluster.failures:
            raise ExceptionGroup("the test cluster failed", self.cluster.failures)  # type: ignore[type-var]

    async def listen(self) -> None:
        self._site = web.TCPSite(self._runner, "127.0.0.1", self.port, ssl_context=self._context, reuse_address=True)
        await self._site.start()
        self.port = self._runner.addresses[0][1]

    async def stop_listening(self) -> None:
        """Be an API server that was killed: connections are cut, pods live."""
        await self._site.stop()
        self.cut_all()
        requests = [*self._requests]
        for request in requests:
            request.cancel()
        await asyncio.gather(*requests, return_exceptions=True)

    async def restart(self) -> None:
        await self.stop_listening()
        await self.listen()

    def cut_all(self) -> None:
        """Cut all connections: 1006 for who streams."""
        for transport in [*self._connections]:
            transport.abort()

    def kubeconfig(
        self,
        path: Path,
        *,
        token: str | None = None,
        user: str = "admin",
        rules: Sequence[Rule] = EVERYTHING,
        namespace: str = "default",
        with_certificate: bool = False,
    ) -> Path:
        """Write the configuration of a client, with a new token (or certificate) of a user unless one is given."""
        token = token or self.access.add(user, rules)
        certificate = authority().issue(user) if with_certificate else None
        return kubeconfig(path, self.url, token=token, namespace=namespace, certificate=certificate)

    def account(self, directory: Path, user: str = "system:serviceaccount:default:terminals") -> Path:
        """Write what a pod finds of its service account: a new token and the authority's certificate."""
        (directory / "token").write_text(self.access.add(user))
        (directory / "ca.crt").write_bytes(authority().pem)
        (directory / "namespace").write_text("default")
        return directory

    async def run_pod(
        self, name: str = "box", *command: str, image: str = "busybox", namespace: str = "default", **container: Any
    ) -> str:
        """Have a pod running, with more fields of its container: `tty=True`; without a command it only sleeps."""
        form = {"name": "main", "image": image, "command": [*command] or ["sleep", "1000"], **container}
        spec = {"containers": [form], "terminationGracePeriodSeconds": 1}
        self.cluster.create_pod(namespace, {"metadata": {"name": name}, "spec": spec})
        store = self.cluster.store
        async with asyncio.timeout(10):
            await store.until(lambda: store.get("pods", namespace, name)["status"]["phase"] == "Running")
        return name

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        transport: Any = request.transport
        task: asyncio.Task[Any] | None = asyncio.current_task()
        assert task is not None
        self._connections.add(transport)
        self._requests.add(task)
        try:
            return await self._serve(request)
        except Refused as refused:
            headers = {} if refused.retry_after is None else {"Retry-After": str(refused.retry_after)}
            return web.json_response(refused.body, status=refused.code, headers=headers)
        except ConnectionError:
            return web.Response()  # nobody reads it
        finally:
            self._requests.discard(task)
            if transport.is_closing():
                self._connections.discard(transport)

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        path = request.path.rstrip("/")
        if path in ("/healthz", "/livez", "/readyz"):
            return web.Response(text="ok")
        user = self.access.authenticate(request.headers, _certified(request))
        if path.startswith(ABOUT_ITSELF) or path in DISCOVERY:
            return web.json_response(describe(path, has_metrics=self.has_metrics))
        asked = read_path(request.method, path, request.query)
        self.asked.append((asked.verb, asked.full_resource))
        if await self.faults.meet(asked):
            request.transport.abort()  # type: ignore[union-attr]
            raise ConnectionAbortedError
        self.access.authorize(user, asked, self._verbs(request, asked))
        return await self._do(request, asked, user)

    def _verbs(self, request: web.Request, asked: Asked) -> Sequence[str]:
        if asked.sub in STREAMS and request.method == "GET" and self.exec_needs_create:
            return ("get", "create")
        return (asked.verb,)

    async def _do(self, request: web.Request, asked: Asked, user: User) -> web.StreamResponse:
        if asked.group == "authorization.k8s.io":
            return web.json_response(self._review(await _read_review(request, asked), asked, user), status=201)
        if asked.resource == "pods" and asked.group == "":
            if asked.sub in STREAMS:
                return await self.commands.run(request, asked)
            if asked.sub == "log":
                return await self.commands.log(request, asked)
        return await self._objects.do(request, asked)

    def _review(self, given: dict[str, Any], asked: Asked, user: User) -> dict[str, Any]:
        spec = given.get("spec") or {}
        if asked.resource == "selfsubjectaccessreviews":
            allowed = self.access.review(user, spec.get("resourceAttributes") or {})
            return {
                **given,
                "status": {"allowed": allowed} | ({"reason": "RBAC: allowed by the test"} if allowed else {}),
            }
        if asked.resource != "selfsubjectrulesreviews":
            raise no_such_path()
        namespace = spec.get("namespace", "")
        rules = [
            {"verbs": [*rule.verbs], "apiGroups": [*rule.groups], "resources": [*rule.resources]}
            for rule in user.rules
            if "*" in rule.namespaces or namespace in rule.namespaces
        ]
        return {**given, "status": {"resourceRules": rules, "nonResourceRules": [], "incomplete": False}}


def _certified(request: web.Request) -> str | None:
    """Return the common name of the client's certificate."""
    assert request.transport is not None
    certificate = request.transport.get_extra_info("peercert")
    for part in (certificate or {}).get("subject", ()):
        for key, value in part:
            if key == "commonName":
                return str(value)
    return None


async def _read_review(request: web.Request, asked: Asked) -> dict[str, Any]:
    with suppress(ValueError):
        data = await request.read()
        if data.startswith(MAGIC):
            return read_review(data, asked.resource)
        found = json.loads(data)
        if isinstance(found, dict):
            return found
    raise Refused(400, "BadRequest", "the body of the request was in an unknown format")


@asynccontextmanager
async def kube_server(directory: Path) -> AsyncIterator[KubeServer]:
    """Run a server on a free port, with its files in a directory; needs root."""
    if os.geteuid() != 0:
        pytest.skip("needs root, for containers")
    server = KubeServer(directory)
    await server.start()
    try:
        yield server
    finally:
        await server.close()
