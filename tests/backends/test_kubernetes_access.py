"""Who the service is in a cluster, and what it may do there."""

from __future__ import annotations

import json
import stat
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import structlog
import yaml

from backends.base import Order
from backends.errors import AccessRefused, Unreachable
from backends.kubernetes.profile import KubernetesProfile
from backends.kubernetes.rights import Rights
from support.kube.access import TERMINALS, Rule
from support.kube.authority import authority
from support.kube.kubeconfig import kubeconfig
from support.pods import pod_backend
from support.terminals import Terminals

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from backends.kubernetes.backend import KubernetesBackend
    from support.kube.server import KubeServer

    Make = Callable[..., KubernetesBackend]

PAGE = (Path(__file__).parents[2] / "docs" / "kubernetes.md").read_text(encoding="utf-8")
PLUGIN = """#!{python}
import json, pathlib, sys
here = pathlib.Path(__file__).parent
with open(here / "asked", "a") as asked:
    asked.write("x")
if not (here / "token").exists():
    sys.exit("gcloud: you are not logged in")
status = {{"token": (here / "token").read_text(), "expirationTimestamp": "2999-01-01T00:00:00Z"}}
print(json.dumps({{"apiVersion": "client.authentication.k8s.io/v1beta1", "kind": "ExecCredential", "status": status}}))
"""


@pytest.fixture
async def make(server: KubeServer, tmp_path: Path) -> AsyncIterator[Make]:
    """Make backends, which are closed in the end."""
    made = []

    def make(**fields: Any) -> KubernetesBackend:
        made.append(pod_backend(server, tmp_path, **fields))
        return made[-1]

    yield make
    for backend in made:
        await backend.close()


def with_plugin(server: KubeServer, directory: Path) -> dict[str, Any]:
    """Use a credential plugin, as GKE does: it gives what is in the file `token` at the time."""
    plugin = directory / "gke-gcloud-auth-plugin"
    plugin.write_text(PLUGIN.format(python=sys.executable))
    plugin.chmod(0o700)
    user = {"exec": {"apiVersion": "client.authentication.k8s.io/v1beta1", "command": str(plugin), "args": []}}
    path = kubeconfig(directory / "plugged", server.url, token="", namespace="default", user=user)
    return {"kubeconfig": str(path)}


async def prints(backend: KubernetesBackend, environment: Any) -> bytes:
    terminal = await Terminals(backend, environment).sh("echo works")
    await terminal.wait()
    return terminal.output


async def test_a_plugin_gives_tokens_and_new_ones_when_they_are_over(
    server: KubeServer, make: Make, tmp_path: Path
) -> None:
    first, second = server.access.add("gke"), server.access.add("gke")
    (tmp_path / "token").write_text(first)
    backend = make(**with_plugin(server, tmp_path))
    environment = await backend.open(Order("session-1"))
    terminal = await Terminals(backend, environment).run(shell="sh")
    server.access.expire(first)
    (tmp_path / "token").write_text(second)
    assert b"works" in await prints(backend, environment)
    await terminal.type(b"exit 3\r")
    assert (await terminal.wait()).code == 3, "an open stream goes on"
    assert (tmp_path / "asked").read_text() == "xx", "not more often than needed"
    await environment.close()


async def test_a_plugin_that_fails_is_quoted(server: KubeServer, make: Make, tmp_path: Path) -> None:
    with pytest.raises(AccessRefused, match="you are not logged in"):
        await make(**with_plugin(server, tmp_path)).open(Order("session-1"))


async def test_credentials_that_are_over_are_told(server: KubeServer, make: Make, tmp_path: Path) -> None:
    token = server.access.add("ann")
    server.access.expire(token)
    config = server.kubeconfig(tmp_path / "over", token=token)
    with pytest.raises(AccessRefused, match="does not accept the credentials"):
        await make(kubeconfig=str(config)).open(Order("session-1"))


async def test_a_certificate_tells_who_the_service_is(server: KubeServer, make: Make, tmp_path: Path) -> None:
    config = server.kubeconfig(tmp_path / "certified", with_certificate=True)
    backend = make(kubeconfig=str(config))
    environment = await backend.open(Order("session-1"))
    assert b"works" in await prints(backend, environment)
    await environment.close()


async def test_in_a_cluster_the_account_s_token_is_read(
    server: KubeServer, make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = tmp_path / "account"
    account.mkdir()
    (account / "token").write_text(server.access.add("system:serviceaccount:default:terminals", TERMINALS))
    (account / "ca.crt").write_bytes(authority().pem)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(server.port))
    backend = make(kubeconfig="", in_cluster=True, account_directory=str(account))
    await backend.check()
    environment = await backend.open(Order("session-1"))
    assert b"works" in await prints(backend, environment)
    await environment.close()


async def test_a_kubeconfig_that_others_can_read_is_refused(server: KubeServer, make: Make, tmp_path: Path) -> None:
    config = server.kubeconfig(tmp_path / "open")
    config.chmod(0o644)
    assert stat.S_IMODE(config.stat().st_mode) == 0o644
    with pytest.raises(AccessRefused, match=r"others can read .*chmod 600"):
        await make(kubeconfig=str(config)).check()
    with pytest.raises(AccessRefused, match="no-such"):
        await make(kubeconfig=str(tmp_path / "no-such")).check()


async def test_a_cluster_that_is_another_one_is_refused(server: KubeServer, make: Make, tmp_path: Path) -> None:
    config = json.loads(server.kubeconfig(tmp_path / "config").read_text())
    del config["clusters"][0]["cluster"]["certificate-authority-data"]
    (tmp_path / "config").write_text(json.dumps(config))
    with pytest.raises(AccessRefused, match="certificate is not valid"):
        await make(kubeconfig=str(tmp_path / "config")).check()


async def test_a_server_that_is_not_there_is_told(server: KubeServer, make: Make) -> None:
    backend = make()
    await server.stop_listening()
    with pytest.raises(Unreachable, match="no connection to the cluster's API server"):
        await backend.open(Order("session-1"))
    await server.listen()


async def test_a_name_that_is_not_known_is_told(make: Make, tmp_path: Path) -> None:
    path = kubeconfig(tmp_path / "named", "https://no-such-cluster.invalid", token="t", namespace="default")
    with pytest.raises(Unreachable, match="name of the cluster's API server is not known"):
        await make(kubeconfig=str(path)).open(Order("session-1"))


def documented(language: str) -> str:
    """Return the example in the documentation."""
    return PAGE.split(f"```{language}\n", 1)[1].split("```", 1)[0]


async def test_the_rights_that_the_documentation_names_are_enough_and_not_too_many(
    server: KubeServer, make: Make, tmp_path: Path
) -> None:
    role = yaml.safe_load(documented("yaml"))
    rules = [
        Rule(rule["verbs"], rule["resources"], namespaces=["default"], groups=rule["apiGroups"])
        for rule in role["rules"]
    ]
    backend = make(kubeconfig=str(server.kubeconfig(tmp_path / "least", user="least", rules=rules)))
    assert await backend.rights() == Rights([], [], [])
    environment = await backend.open(Order("session-1"))
    assert b"works" in await prints(backend, environment)
    await environment.close()


def test_the_example_in_the_documentation_is_a_profile() -> None:
    table = tomllib.loads(documented("toml"))["backends"]["cluster"]
    profile = msgspec.convert(table, KubernetesProfile)
    assert profile.template is not None
    assert profile.template.volumes[0].claim == "shared-work"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "kubeconfig: either it or in_cluster"),
        ({"kubeconfig": "x", "in_cluster": True}, "kubeconfig: either it or in_cluster"),
        ({"kubeconfig": "x"}, "exactly one of template, pod and selector"),
        ({"kubeconfig": "x", "pod": "../../secrets"}, "pod: '../../secrets' is no name"),
        ({"kubeconfig": "x", "pod": "a", "namespace": "A"}, "namespace: 'A' is no name"),
        ({"kubeconfig": "x", "template": {"image": "i", "user_id": 0}}, "user_id: 0 is root"),
        (
            {"kubeconfig": "x", "template": {"image": "i", "limits": {"cpu": "much"}}},
            "limits.cpu: 'much' is no quantity",
        ),
        ({"kubeconfig": "x", "template": {"image": "i", "volumes": [{"path": "work"}]}}, "volumes.path: is absolute"),
        ({"kubeconfig": "x", "template": {"image": "i", "volumes": [{"path": "/a"}]}}, "exactly one of claim"),
        ({"kubeconfig": "x", "template": {"image": "i", "pull_policy": "now"}}, "pull_policy: one of Always"),
        ({"kubeconfig": "x", "template": {"image": "i", "host_network": True}}, "host_network"),
    ],
)
def test_a_profile_that_cannot_be_is_refused_by_the_name_of_its_field(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.convert({"kind": "kubernetes", **fields}, KubernetesProfile)
    assert words in str(caught.value)


async def test_missing_rights_are_named(server: KubeServer, make: Make, tmp_path: Path) -> None:
    rules = [Rule(["get", "list", "watch", "create", "delete"], ["pods"]), Rule(["get"], ["pods/exec"])]
    backend = make(kubeconfig=str(server.kubeconfig(tmp_path / "few", user="few", rules=rules)))
    with pytest.raises(AccessRefused, match="create pods/exec in namespace default"):
        await backend.check()
    with pytest.raises(AccessRefused, match=r"lacks a right .*pods/exec"):
        await backend.open(Order("session-1"))
    assert not [pod for pod in server.cluster.store.list("pods") if "deletionTimestamp" not in pod["metadata"]]


async def test_rights_that_are_too_wide_are_warned_of_once(make: Make) -> None:
    backend = make()
    with structlog.testing.capture_logs() as logs:
        await backend.check()
        await backend.check()
    [warning] = [entry for entry in logs if entry["log_level"] == "warning"]
    assert any("get secrets" in right for right in warning["rights"])
    assert any("nodes/proxy" in right for right in warning["rights"])
    assert any("create pods/exec in all namespaces" in right for right in warning["rights"])
