"""What the real kubectl sees of the test API server: what it accepts, the Kubernetes backend is tested on."""

from __future__ import annotations

import asyncio
import json
import re
from typing import TYPE_CHECKING

import pytest

from support.kube.access import Rule
from support.kube.kubectl import Kubectl
from support.wait import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from support.kube.server import KubeServer

pytestmark = pytest.mark.platform("linux")

SERVE = """
import http.server as h
server = h.ThreadingHTTPServer(("127.0.0.1", 8000), h.SimpleHTTPRequestHandler)
print("ready")
server.serve_forever()
"""


@pytest.fixture
async def pod(server: KubeServer) -> str:
    """Give a pod with one container in which nothing happens."""
    return await server.run_pod()


# Programs


@pytest.mark.parametrize("code", [0, 7, 137])
async def test_the_exit_code_of_a_program_arrives(kubectl: Kubectl, pod: str, code: int) -> None:
    script = "kill -9 $$" if code == 137 else f"exit {code}"

    answer = await kubectl.run("exec", pod, "--", "sh", "-c", script)

    assert answer.code == code


async def test_stdin_reaches_a_program_and_its_outputs_stay_apart(kubectl: Kubectl, pod: str) -> None:
    answer = await kubectl.run("exec", "-i", pod, "--", "sh", "-c", "wc -c; echo no >&2", stdin=b"x" * 100_000)

    assert (answer.text, answer.problem, answer.code) == ("100000\n", "no\n", 0)


async def test_much_output_arrives_whole(kubectl: Kubectl, pod: str) -> None:
    answer = await kubectl.run("exec", pod, "--", "sh", "-c", "yes 0123456 | head -c 20000000")

    assert answer.out == b"0123456\n" * 2_500_000


async def test_a_missing_program_is_an_internal_error(kubectl: Kubectl, pod: str) -> None:
    answer = await kubectl.run("exec", pod, "--", "nonesuch")

    assert answer.code == 1
    assert "Internal error occurred: error executing command in container" in answer.problem
    assert '"nonesuch": executable file not found in $PATH' in answer.problem


async def test_a_container_has_processes_and_a_host_name_of_its_own(kubectl: Kubectl, pod: str) -> None:
    shown = await kubectl("exec", pod, "--", "sh", "-c", "hostname; ps -o pid,args")

    host, _, first, *_ = shown.splitlines()
    assert (host, first.split()) == ("box", ["1", "sleep", "1000"])


async def test_a_container_has_the_rights_its_form_gives_it(server: KubeServer, kubectl: Kubectl) -> None:
    rights = {
        "runAsUser": 1000,
        "readOnlyRootFilesystem": True,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }
    pod = await server.run_pod("bare", securityContext=rights)

    answer = await kubectl.run(
        "exec",
        pod,
        "--",
        "sh",
        "-c",
        "id -u; grep -E 'CapBnd|NoNewPrivs' /proc/self/status; echo > /x; echo > /dev/stderr",
    )

    assert answer.text == "1000\nCapBnd:\t0000000000000000\nNoNewPrivs:\t1\n"
    assert "Read-only file system" in answer.problem


async def test_a_terminal_has_a_size_and_gives_back_the_exit_code(kubectl: Kubectl, pod: str) -> None:
    async with kubectl.at_terminal("exec", "-it", pod, "--", "sh", size=(30, 100)) as screen:
        await screen.see("# ")
        await screen.type("tty; stty size\n")
        await screen.see("/dev/pts/0\r\n30 100\r\n")
        screen.resize(50, 132)
        await screen.type("while [ \"$(stty size)\" != '50 132' ]; do sleep 0.02; done; echo re''sized\n")
        await screen.see("resized\r\n")
        await screen.type("echo sleep''ing; sleep 100\n")
        await screen.see("sleeping\r\n")
        await screen.type("\x03")
        await screen.see("# ")
        await screen.type("exit 7\n")

        assert await screen.exit_code() == 7


async def test_a_pod_of_ones_own_is_typed_into_and_gone_in_the_end(kubectl: Kubectl) -> None:
    words = ("run", "mine", "--rm", "-it", "--restart=Never", "--image=busybox", "--", "sh", "-c")
    async with kubectl.at_terminal(*words, "read name; echo hello $name; exit 3") as screen:
        await screen.see("If you don't see a command prompt")
        await screen.type("ann\n")
        await screen.see("hello ann\r\n")
        await screen.see('pod "mine" deleted')

        assert await screen.exit_code() == 3
    assert await kubectl("get", "pods", "-o", "name") == ""


async def test_a_main_process_is_attached_to_again(kubectl: Kubectl) -> None:
    await kubectl("run", "shell", "-i", "-t", "--attach=false", "--image=busybox", "--", "sh")
    await kubectl("wait", "--for=condition=Ready", "pod/shell")

    for number in range(2):
        async with kubectl.at_terminal("attach", "-it", "shell") as screen:
            await screen.see("If you don't see a command prompt")
            await screen.type(f"echo $$ is {number}''0\n")
            await screen.see(f"1 is {number}0")


# Files, ports and logs


async def test_files_are_copied_both_ways(kubectl: Kubectl, pod: str, tmp_path: Path) -> None:
    content = bytes(range(256)) * 4000
    (tmp_path / "tree" / "below").mkdir(parents=True)
    (tmp_path / "tree" / "below" / "data").write_bytes(content)

    await kubectl("cp", str(tmp_path / "tree"), f"{pod}:/tmp/there")
    await kubectl("cp", f"{pod}:/tmp/there", str(tmp_path / "back"))

    assert (tmp_path / "back" / "below" / "data").read_bytes() == content


async def test_a_port_is_forwarded(kubectl: Kubectl) -> None:
    await kubectl("run", "web", "--image=python", "--command", "--", "python3", "-u", "-c", SERVE)
    await kubectl("wait", "--for=condition=Ready", "pod/web")
    async with kubectl.running("logs", "-f", "web") as logs:
        assert logs.stdout is not None
        assert await logs.stdout.readline() == b"ready\n"

    async with kubectl.running("port-forward", "web", ":8000", ":9") as forward:
        assert forward.stdout is not None
        assert forward.stderr is not None
        ports = dict[str, int]()
        while len(ports) < 2:
            line = (await forward.stdout.readline()).decode()
            if found := re.match(r"Forwarding from 127.0.0.1:(\d+) -> (\d+)", line):
                ports[found[2]] = int(found[1])
        first, second = await asyncio.gather(_fetch(ports["8000"]), _fetch(ports["8000"]))
        refused = await _fetch(ports["9"])
        problem = (await forward.stderr.readline()).decode()

    assert first.startswith(b"HTTP/1.0 200 OK")
    assert first.endswith(b"</html>\n")
    assert len(second) > 1000
    assert refused == b""
    assert "error forwarding port 9 to pod" in problem
    assert "connection refused" in problem


async def _fetch(port: int) -> bytes:
    """Return the answer, an empty one for a reset."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(b"GET /proc/ HTTP/1.0\r\n\r\n")
        return await reader.read(-1)
    except ConnectionError:
        return b""
    finally:
        writer.close()


async def test_logs_are_followed(kubectl: Kubectl) -> None:
    script = "echo one; echo two >&2; while [ ! -e /tmp/go ]; do sleep 0.02; done; printf three"
    await kubectl("run", "talk", "--restart=Never", "--image=busybox", "--", "sh", "-c", script)
    await kubectl("wait", "--for=condition=Ready", "pod/talk")

    async with kubectl.running("logs", "-f", "talk") as logs:
        assert logs.stdout is not None
        assert sorted([await logs.stdout.readline(), await logs.stdout.readline()]) == [b"one\n", b"two\n"]
        await kubectl("exec", "talk", "--", "touch", "/tmp/go")
        assert await logs.stdout.read() == b"three"
    assert await kubectl("logs", "--tail=1", "talk") == "three"
    assert re.match(r"\d{4}-\d\d-\d\dT[\d:.]+Z \w+\n", await kubectl("logs", "--timestamps", "talk"))


# Pods


async def test_a_pod_is_shown_described_and_deleted(kubectl: Kubectl, pod: str) -> None:
    table = await kubectl("get", "pods")
    described = await kubectl("describe", "pod", pod)
    await kubectl("delete", "pod", pod, "--grace-period=1")

    assert re.search(r"^box +1/1 +Running +0 +\d+s$", table, re.MULTILINE)
    for line in (
        r"Normal +Scheduled .*Successfully assigned default/box to node-1",
        r"Normal +Started .*container main",
    ):
        assert re.search(line, described)
    assert "not found" in (await kubectl.run("get", "pod", pod)).problem


async def test_a_pod_that_ended_says_how(kubectl: Kubectl) -> None:
    await kubectl("run", "job", "--restart=Never", "--image=busybox", "--", "sh", "-c", "exit 5")
    await kubectl("wait", "--for=jsonpath={.status.phase}=Failed", "pod/job")

    found = json.loads(await kubectl("get", "pod", "job", "-o", "json"))

    assert found["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 5
    assert "current phase is Failed" in (await kubectl.run("exec", "job", "--", "true")).problem


async def test_pods_are_selected_labelled_and_watched(kubectl: Kubectl, pod: str) -> None:
    async with kubectl.running("get", "pods", "--watch", "-l", "team=a", "-o", "name") as watching:
        await kubectl("label", "pod", pod, "team=a")
        assert watching.stdout is not None
        assert await watching.stdout.readline() == b"pod/box\n"

    assert await kubectl("get", "pods", "-l", "team in (a, b)", "-o", "name") == "pod/box\n"
    assert await kubectl("get", "pods", "-l", "team!=a", "-o", "name") == ""
    assert await kubectl("get", "pods", "--field-selector", "status.phase=Running", "-o", "name") == "pod/box\n"


async def test_a_manifest_is_checked(kubectl: Kubectl, tmp_path: Path) -> None:
    manifest = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "made"},
        "spec": {"containers": [{"name": "main", "image": "busybox", "stdin": True}]},
    }
    (tmp_path / "good.json").write_text(json.dumps(manifest))
    (tmp_path / "bad.json").write_text(json.dumps(manifest | {"spec": {"containers": []}}))

    assert await kubectl("create", "-f", str(tmp_path / "good.json")) == "pod/made created\n"
    again = await kubectl.run("create", "-f", str(tmp_path / "good.json"))
    bad = await kubectl.run("create", "-f", str(tmp_path / "bad.json"))

    assert "(AlreadyExists): error when creating" in again.problem
    assert 'pods "made" already exists' in again.problem
    assert 'The Pod "made" is invalid: spec.containers: Required value' in bad.problem


async def test_what_a_pod_uses_is_measured(kubectl: Kubectl, pod: str) -> None:
    assert re.search(rf"^{pod} +\d+m +\d+Mi", await kubectl("top", "pods"), re.MULTILINE)


# Rights


async def test_rights_are_told(server: KubeServer, tmp_path: Path) -> None:
    rules = [Rule(["get", "list"], ["pods"], namespaces=["default"])]
    narrow = Kubectl(server.kubeconfig(tmp_path / "narrow", user="ann", rules=rules))

    can, cannot = (
        await narrow.run("auth", "can-i", "list", "pods"),
        await narrow.run("auth", "can-i", "create", "pods/exec"),
    )
    listed = await narrow("auth", "can-i", "--list")

    assert (can.text, can.code, cannot.text, cannot.code) == ("yes\n", 0, "no\n", 1)
    assert re.search(r"^pods +\[\] +\[\] +\[get list\]", listed, re.MULTILINE)


async def test_what_is_not_allowed_is_refused_in_words(server: KubeServer, pod: str, tmp_path: Path) -> None:
    rules = [Rule(["get"], ["pods", "pods/exec"])]
    narrow = Kubectl(server.kubeconfig(tmp_path / "narrow", user="ann", rules=rules))

    listing, running = await narrow.run("get", "pods"), await narrow.run("exec", pod, "--", "true")

    cannot = 'User "ann" cannot list resource "pods" in API group "" in the namespace "default"'
    assert f"Error from server (Forbidden): pods is forbidden: {cannot}" in listing.problem
    assert 'User "ann" cannot create resource "pods/exec"' in running.problem


async def test_a_token_that_ended_is_refused(server: KubeServer, tmp_path: Path) -> None:
    token = server.access.add("ann")
    ann = Kubectl(server.kubeconfig(tmp_path / "ann", token=token))
    await ann("get", "pods")

    server.access.expire(token)

    assert "You must be logged in to the server" in (await ann.run("get", "pods")).problem


async def test_a_certificate_tells_who_somebody_is(server: KubeServer, tmp_path: Path) -> None:
    certified = Kubectl(server.kubeconfig(tmp_path / "ann", user="ann", with_certificate=True))

    assert "default" in await certified("get", "namespaces")


# Faults


async def test_a_cut_is_an_error_and_the_program_lives(server: KubeServer, kubectl: Kubectl, pod: str) -> None:
    async with kubectl.running("exec", pod, "--", "sh", "-c", "echo $$; sleep 1000") as cut:
        assert cut.stdout is not None
        pid = (await cut.stdout.readline()).decode().strip()
        server.commands.drop()
        async with asyncio.timeout(10):
            assert await cut.wait() != 0

    assert await kubectl("exec", pod, "--", "sh", "-c", f"kill -0 {pid} && echo alive") == "alive\n"


async def test_a_restarted_containerd_lies(server: KubeServer, kubectl: Kubectl, pod: str) -> None:
    async with kubectl.running("exec", pod, "--", "sh", "-c", "echo $$; sleep 1000; exit 9") as lied:
        assert lied.stdout is not None
        pid = (await lied.stdout.readline()).decode().strip()
        server.commands.restart_containerd()
        async with asyncio.timeout(10):
            assert await lied.wait() == 0

    assert await kubectl("exec", pod, "--", "sh", "-c", f"kill -0 {pid} && echo alive") == "alive\n"


async def test_what_keeps_a_pod_from_running_is_told(server: KubeServer, kubectl: Kubectl) -> None:
    server.cluster.cordon()
    await kubectl("run", "late", "--image=nonesuch:1")
    await kubectl("wait", "--for=jsonpath={.status.conditions[0].reason}=Unschedulable", "pod/late")
    server.cluster.uncordon()
    jsonpath = "jsonpath={.status.containerStatuses[0].state.waiting.reason}"
    await kubectl("wait", f"--for={jsonpath}=ImagePullBackOff", "pod/late")

    described = await kubectl("describe", "pod", "late")

    assert re.search(r"Warning +FailedScheduling .*0/1 nodes are available: 1 node\(s\) were unschedulable", described)
    assert re.search(r'Failed to pull image "nonesuch:1": .*pull access denied', described)


async def test_a_pod_is_killed_for_its_memory_or_evicted(server: KubeServer, kubectl: Kubectl, pod: str) -> None:
    await server.cluster.kill_for_memory(pod)
    killed = await wait_until(lambda: _last_reason(server, pod), description="the restart")
    await server.cluster.evict(pod)
    table = await kubectl("get", "pods")

    assert killed == {"reason": "OOMKilled", "exitCode": 137}
    assert re.search(r"^box +0/1 +Evicted|^box +0/1 +Error", table, re.MULTILINE)
    assert "The node was low on resource: memory" in await kubectl("describe", "pod", pod)


def _last_reason(server: KubeServer, pod: str) -> dict[str, object]:
    status = server.cluster.store.get("pods", "default", pod)["status"]["containerStatuses"][0]
    last = status["lastState"].get("terminated", {})
    return {key: last[key] for key in ("reason", "exitCode") if key in last}


async def test_requests_fail_as_told(server: KubeServer, kubectl: Kubectl) -> None:
    server.cluster.most_pods = 0
    full = await kubectl.run("run", "box", "--image=busybox")
    server.faults.fail(500, "list", resource="pods", message="etcdserver: no leader")
    broken = await kubectl.run("get", "pods")

    assert 'pods "box" is forbidden: exceeded quota' in full.problem
    assert "Error from server (InternalError): etcdserver: no leader" in broken.problem
    assert await kubectl("get", "pods", "-o", "name") == ""
