"""The Helm chart: rendered by Helm's own library, held against Kubernetes' own schemas and our settings."""

from __future__ import annotations

import copy
import importlib.util
import json
from functools import cache
from typing import Any

import pytest

from support.deployment import CHART, SETTINGS, values
from support.helm import Refused, render
from terminal_service import __version__
from terminal_service.settings import Settings

pytestmark = [
    pytest.mark.platform("linux"),
    pytest.mark.skipif(
        importlib.util.find_spec("helm_python") is None, reason="helm-python-sdk has no wheel for this machine"
    ),
]

KUBERNETES = ("1.27", "1.32", "1.37")
MEASURES = ("ci/values", "ci/everything")
RESERVED = {"ALLOWED_HOSTS", "API_KEYS", "DRAIN_SECONDS", "HOST", "PORT", "REDIS_URL", "STATE_DIR", "TRUSTED_PROXIES"}
NOT_SETTINGS = {"POD_IP", "EXAMPLE"}


@cache
def rendered(measure: str) -> list[dict[str, Any]]:
    return render(CHART, values(measure))


def only(measure: str, kind: str) -> dict[str, Any]:
    [found] = [each for each in rendered(measure) if each["kind"] == kind]
    return found


def container_of(measure: str) -> dict[str, Any]:
    [container] = only(measure, "StatefulSet")["spec"]["template"]["spec"]["containers"]
    return dict(container)


def changed(**more: Any) -> dict[str, Any]:
    return {**copy.deepcopy(values("ci/values")), **more}


@pytest.mark.parametrize("measure", MEASURES)
def test_kubernetes_takes_every_object(measure: str) -> None:
    import kubernetes_validate  # type: ignore[import-untyped]  # noqa: PLC0415 - Linux only

    kinds = set()
    for each in rendered(measure):
        kinds.add(each["kind"])
        if each["kind"] != "ServiceMonitor":  # not Kubernetes' own, so there is no schema of it
            for version in KUBERNETES:
                kubernetes_validate.validate(each, version, strict=True)
    least = {"StatefulSet", "Service", "ServiceAccount", "PodDisruptionBudget", "NetworkPolicy"}
    more = {"Ingress", "HorizontalPodAutoscaler", "Role", "RoleBinding", "ServiceMonitor"}
    assert kinds == (least if measure == "ci/values" else least | more)


@pytest.mark.parametrize("measure", MEASURES)
def test_every_variable_is_a_setting_and_the_service_takes_them(measure: str) -> None:
    pairs = [(each["name"], each.get("value")) for each in container_of(measure)["env"]]
    names = [name for name, _ in pairs]
    assert len(set(names)) == len(names)
    assert set(names) - NOT_SETTINGS <= SETTINGS
    given = {name: value.replace("$(POD_IP)", "10.1.2.3") for name, value in pairs if value is not None}
    secrets = {"API_KEYS": "ann:0123456789abcdef", "REDIS_URL": "rediss://redis:6379"}
    settings = Settings.from_environment({"HOST": "0.0.0.0", **given, **secrets})
    assert "10.1.2.3" in settings.allowed_hosts, "probes and Prometheus call a pod by its address"
    assert (
        settings.drain_seconds == values("ci/everything" if measure in MEASURES[1:] else "values")["drain"]["seconds"]
    )


def test_settings_arrive_as_they_were_written() -> None:
    [done] = [
        each
        for each in render(CHART, changed(settings={"RETENTION_BYTES": 67108864, "TAIL_BYTES": 0, "LOG_LEVEL": "INFO"}))
        if each["kind"] == "StatefulSet"
    ]
    env = {each["name"]: each.get("value") for each in done["spec"]["template"]["spec"]["containers"][0]["env"]}
    assert (env["RETENTION_BYTES"], env["TAIL_BYTES"], env["LOG_LEVEL"]) == ("67108864", "0", "INFO")


@pytest.mark.parametrize("measure", MEASURES)
def test_secrets_are_named_and_never_written(measure: str) -> None:
    for each in container_of(measure)["env"]:
        if each["name"] in ("API_KEYS", "REDIS_URL"):
            assert set(each) == {"name", "valueFrom"}
            assert "secretKeyRef" in each["valueFrom"]
    assert not [each for each in rendered(measure) if each["kind"] == "Secret"]


@pytest.mark.parametrize("measure", MEASURES)
def test_a_pod_may_nothing_and_writes_where_it_must(measure: str) -> None:
    pod = only(measure, "StatefulSet")["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    container = container_of(measure)
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "privileged": False,
        "readOnlyRootFilesystem": True,
    }
    mounts = [mount["mountPath"] for mount in container["volumeMounts"]]
    state = next(each["value"] for each in container["env"] if each["name"] == "STATE_DIR")
    assert any(state.startswith(mount + "/") for mount in mounts), "in a volume, and not its root: that is not ours"


@pytest.mark.parametrize("measure", MEASURES)
def test_a_pod_has_time_to_drain(measure: str) -> None:
    spec = only(measure, "StatefulSet")["spec"]["template"]["spec"]
    container = container_of(measure)
    drain = next(float(each["value"]) for each in container["env"] if each["name"] == "DRAIN_SECONDS")
    assert spec["terminationGracePeriodSeconds"] >= drain + 30 + 2 * Settings().stop_grace_seconds
    assert container["lifecycle"]["preStop"]["exec"]["command"][-1].endswith("exec terminal-service drain")
    paths = {name: container[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "liveness", "readiness")}
    assert paths == {"startup": "/health/live", "liveness": "/health/live", "readiness": "/health/ready"}


def test_programs_may_be_run_in_pods_and_nothing_else() -> None:
    role = only("ci/everything", "Role")
    assert role["rules"] == [{"apiGroups": [""], "resources": ["pods/exec"], "verbs": ["create", "get"]}]
    assert role["metadata"]["namespace"] == "workspaces"
    assert only("ci/everything", "RoleBinding")["subjects"][0]["namespace"] == "shells"
    pods = {name: only(name, "StatefulSet")["spec"]["template"]["spec"] for name in MEASURES}
    tokens = [pods[name]["automountServiceAccountToken"] for name in MEASURES]
    assert tokens == [False, True], "local shells could read it"


def test_nothing_ties_a_client_to_a_node() -> None:
    text = json.dumps(rendered("ci/everything"))
    services = [each for each in rendered("ci/everything") if each["kind"] == "Service"]
    assert [each["spec"].get("sessionAffinity", "None") for each in services] == ["None", "None"]
    assert "affinity: cookie" not in text
    assert "nginx.ingress.kubernetes.io/affinity" not in text


def test_the_ingress_waits_for_silent_terminals() -> None:
    annotations = only("ci/everything", "Ingress")["metadata"]["annotations"]
    for name in ("read", "send"):
        seconds = float(annotations[f"nginx.ingress.kubernetes.io/proxy-{name}-timeout"])
        assert seconds > 30 * Settings().websocket_ping_interval


def test_prometheus_asks_every_pod_once() -> None:
    monitor = only("ci/everything", "ServiceMonitor")
    wanted = monitor["spec"]["selector"]["matchLabels"].items()
    services = [each for each in rendered("ci/everything") if each["kind"] == "Service"]
    [chosen] = [each for each in services if wanted <= each["metadata"]["labels"].items()]
    assert chosen["spec"]["clusterIP"] == "None"
    assert monitor["spec"]["endpoints"][0]["authorization"]["credentials"]["name"] == "prometheus-key"


def test_an_autoscaler_and_a_fixed_number_exclude_each_other() -> None:
    assert only("ci/values", "StatefulSet")["spec"]["replicas"] == 2
    assert "replicas" not in only("ci/everything", "StatefulSet")["spec"]
    target = only("ci/everything", "HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("StatefulSet", only("ci/everything", "StatefulSet")["metadata"]["name"])


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (changed(apiKeys={}), "apiKeys.existingSecret is needed"),
        (changed(redis={}), "redis.existingSecret is needed"),
        (changed(replicas=1, redis={}, autoscaling={"enabled": True}), "redis.existingSecret is needed"),
        (changed(replicas=0), "replicas"),
        (changed(setings={}), "setings"),
        (changed(settings={"REDIS_URL": "redis://:secret@redis"}), "REDIS_URL"),
        (changed(settings={"log_level": "INFO"}), "log_level"),
        (changed(ingress={"enabled": True}), "ingress.hosts is needed"),
        (changed(serviceMonitor={"enabled": True}), "serviceMonitor.authorization.existingSecret is needed"),
    ],
    ids=["no keys", "no redis", "no redis, autoscaled", "no node", "typo", "secret", "lower case", "no host", "no key"],
)
def test_what_cannot_work_is_refused_with_the_reason(wrong: dict[str, Any], reason: str) -> None:
    with pytest.raises(Refused, match=reason):
        render(CHART, wrong)


def test_the_chart_is_for_this_version() -> None:
    assert values("Chart")["appVersion"] == __version__


def test_one_node_needs_no_redis() -> None:
    objects = render(CHART, changed(replicas=1, redis={}))
    [found] = [each for each in objects if each["kind"] == "StatefulSet"]
    names = [each["name"] for each in found["spec"]["template"]["spec"]["containers"][0]["env"]]
    assert "REDIS_URL" not in names


def test_the_schema_has_every_value_and_no_other() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())

    def compare(given: dict[str, Any], described: dict[str, Any], path: str) -> None:
        properties = described.get("properties")
        if properties is None:
            return
        assert set(properties) - {"global"} == set(given), path
        for name, value in given.items():
            if isinstance(value, dict):
                compare(value, properties[name], f"{path}.{name}")

    compare(values("values"), schema, "")
    reserved = schema["properties"]["settings"]["propertyNames"]["not"]["enum"]
    assert RESERVED <= set(reserved) <= SETTINGS
