"""The stream's Spark on Kubernetes: executors that Spark asks a stand-in for, which runs them by the image's entry point."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from retail_platform.cli.app import app
from retail_platform.cluster.executor import executor_command, executor_environment
from retail_platform.contracts import BRONZE_EVENTS, QUARANTINE_EVENTS, TRANSACTIONS
from retail_platform.errors import RetailError
from retail_platform.ingest.spark_config import spark_config
from retail_platform.lakehouse import quality
from retail_platform.settings import PROJECT_ROOT, Settings, load_settings
from retail_platform_tests.cluster.kubernetes import EVERYTHING, ApiServer, Kubelet
from retail_platform_tests.ingest.running import (
    deliver,
    in_a_bucket,
    message,
    rows,
    sale,
    silver_rows_taken,
    start_drain,
)
from retail_platform_tests.waiting import until

KEYS = {"aws_access_key_id": "key-of-a-test", "aws_secret_access_key": "secret-of-a-test"}
LINES = TRANSACTIONS.silver_table
DRIVER, NODE = "token-of-the-driver", "token-of-a-node"
NAMESPACE, ACCOUNT = "retail", "retail-executor"
_SECONDS = 240.0
# Executors that do not live long, with the bucket's credentials from a Secret.
_DEFAULTS = """\
spark.executor.memory 600m
spark.executor.instances 2
spark.executor.extraJavaOptions -XX:TieredStopAtLevel=1
spark.kubernetes.executor.secretKeyRef.AWS_ACCESS_KEY_ID bucket:key
spark.kubernetes.executor.secretKeyRef.AWS_SECRET_ACCESS_KEY bucket:secret
"""


def documents() -> dict[str, Any]:
    """The manifests of deploy/kubernetes, by kind."""
    text = (PROJECT_ROOT / "deploy" / "kubernetes" / "driver.yaml").read_text(encoding="utf-8")
    return {document["kind"]: document for document in yaml.safe_load_all(text)}


@dataclass
class Place:
    """A Kubernetes, and what a driver needs to reach it."""

    api: ApiServer
    kubelet: Kubelet
    environment: dict[str, str]

    def settings(self, base: Settings, endpoint: str) -> Settings:
        """Settings of a lake in a bucket, filled by executors of this place."""
        chosen = {
            "spark_master": f"k8s://{self.api.url}",
            "spark_kubernetes_image": "registry.example.com/retail-platform:v1",
            "spark_kubernetes_namespace": NAMESPACE,
            "spark_kubernetes_service_account": ACCOUNT,
            "ingest_max_offsets_per_batch": 100,
        }
        return in_a_bucket(base, endpoint, **KEYS).model_copy(update=chosen)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """A running one, whose driver has a token and the rights of deploy/kubernetes."""
    api = ApiServer({DRIVER: documents()["Role"]["rules"], NODE: EVERYTHING})
    api.start()
    secret = {"key": KEYS["aws_access_key_id"], "secret": KEYS["aws_secret_access_key"]}
    kubelet = Kubelet(api.url, NODE, tmp_path / "pods", NAMESPACE, {"bucket": secret})
    (tmp_path / "spark-defaults.conf").write_text(_DEFAULTS)
    login = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "test", "cluster": {"server": api.url}}],
        "users": [{"name": "driver", "user": {"token": DRIVER}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "driver"}}],
        "current-context": "test",
    }
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(login))
    kubelet.start()
    try:
        yield Place(api, kubelet, {"SPARK_CONF_DIR": str(tmp_path), "KUBECONFIG": str(tmp_path / "kubeconfig")})
    finally:
        kubelet.stop()
        api.stop()


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_executors_are_pods_and_one_that_is_killed_costs_nothing(
    lake_settings: Settings, s3_endpoint: str, place: Place
) -> None:
    settings = place.settings(lake_settings, s3_endpoint)
    twin = sale()
    deliver(settings, [message(twin), message(twin), message(b"junk"), *(message(sale()) for _ in range(800))])
    driver = start_drain(settings, **place.environment)
    try:
        until(driver, "some batches are in", lambda: silver_rows_taken(settings) >= 100, _SECONDS)
        next(iter(place.kubelet.running.values())).send_signal(signal.SIGKILL)
        assert driver.wait(_SECONDS) == 0
    finally:
        driver.kill()
        driver.wait()
    found, *_ = quality.balance(settings)
    assert (found.bronze, found.silver, found.quarantine, found.duplicates) == (803, 801, 1, 1)
    assert quality.duplicate_keys(settings, LINES, None) == []
    assert rows(settings, BRONZE_EVENTS, 'select count(distinct ("partition", "offset")) from t') == [(803,)]
    # The verdict is Python's, of this package, in a pod.
    assert rows(settings, QUARANTINE_EVENTS, "select reasons from t") == [(["malformed_json"],)]
    assert len(place.kubelet.started) >= 3, "another pod took over"
    assert place.api.pods == {}
    assert place.api.refused == []
    assert place.api.used[DRIVER] == _rights(), "deploy/kubernetes gives what is used, and no more"
    assert not [body for body in place.api.bodies if KEYS["aws_secret_access_key"] in body]
    for process in list(place.kubelet.running.values()):
        process.wait(30)
    for pod in place.kubelet.started:
        assert pod["spec"]["serviceAccountName"] == ACCOUNT
        names = {entry["name"] for entry in pod["spec"]["containers"][0]["env"]}
        assert "_SPARK_AUTH_SECRET" in names, "who has it not cannot talk to the driver"
        assert list(place.kubelet.workdir(pod["metadata"]["name"]).iterdir()) == [], "the image's folder is not ours"


def _rights() -> set[tuple[str, str]]:
    """The verbs and resources that the manifest gives the driver."""
    (rule,) = documents()["Role"]["rules"]
    assert rule["apiGroups"] == [""]
    return {(verb, resource) for verb in rule["verbs"] for resource in rule["resources"]}


def test_the_manifest_gives_its_rights_to_its_own_service_account() -> None:
    found = documents()
    name = found["ServiceAccount"]["metadata"]["name"]
    assert found["RoleBinding"]["subjects"] == [{"kind": "ServiceAccount", "name": name}]
    assert found["RoleBinding"]["roleRef"] == {
        "apiGroup": "rbac.authorization.k8s.io",
        "kind": "Role",
        "name": found["Role"]["metadata"]["name"],
    }
    assert {resource for _, resource in _rights()} == {"pods"}


def test_a_driver_that_the_api_server_does_not_know_is_told_so_in_a_line(
    settings: Settings, s3_endpoint: str, place: Place
) -> None:
    del place.api.rules[DRIVER]
    driver = start_drain(place.settings(settings, s3_endpoint), stderr=subprocess.PIPE, **place.environment)
    _, said = driver.communicate(timeout=120)
    assert driver.returncode == 1
    assert said.decode().splitlines()[-1] == (
        "error: SPARK_MASTER: the Kubernetes API server refuses this driver (401 Unauthorized); give it the token of a "
        "service account with the rights of deploy/kubernetes/driver.yaml in the namespace retail"
    )
    assert place.kubelet.started == []


# What Spark 4.2 puts into a pod, of one that was seen.
POD = {
    "SPARK_USER": "retail",
    "SPARK_DRIVER_URL": "spark://CoarseGrainedScheduler@10.0.0.1:33333",
    "SPARK_EXECUTOR_CORES": "2",
    "SPARK_EXECUTOR_MEMORY": "600m",
    "SPARK_APPLICATION_ID": "spark-1",
    "SPARK_CONF_DIR": "/opt/spark/conf",
    "SPARK_EXECUTOR_ID": "7",
    "SPARK_RESOURCE_PROFILE_ID": "0",
    "SPARK_JAVA_OPT_10": "-Dlast=with a blank",
    "SPARK_JAVA_OPT_9": "-Dfirst",
    "SPARK_EXECUTOR_POD_IP": "10.0.0.2",
    "SPARK_EXECUTOR_POD_NAME": "retail-ingest-1-exec-7",
    "SPARK_LOCAL_DIRS": "/var/data/one,/var/data/two",
}


def test_a_pods_environment_makes_the_executors_command() -> None:
    command = executor_command(POD, Path("/java"), Path("/spark"), Path("/log4j2.properties"))
    assert command[0] == "/java"
    main = command.index("org.apache.spark.scheduler.cluster.k8s.KubernetesExecutorBackend")
    assert dict(zip(command[main + 1 :: 2], command[main + 2 :: 2], strict=True)) == {
        "--driver-url": "spark://CoarseGrainedScheduler@10.0.0.1:33333",
        "--executor-id": "7",
        "--cores": "2",
        "--app-id": "spark-1",
        "--hostname": "10.0.0.2",
        "--resourceProfileId": "0",
        "--podName": "retail-ingest-1-exec-7",
    }
    jvm = command[1:main]
    assert jvm.index("-Dfirst") + 1 == jvm.index("-Dlast=with a blank")
    assert {"-Xms600m", "-Xmx600m", "-Djava.io.tmpdir=/var/data/one"} <= set(jvm)
    assert jvm[-2:] == ["-cp", "/spark/jars/*"]
    more = executor_command(POD | {"SPARK_CLASSPATH": "/more.jar"}, Path("/java"), Path("/spark"), Path("/log"))
    assert "/more.jar:/spark/jars/*" in more
    assert executor_environment(POD) == POD | {"LOCAL_DIRS": "/var/data/one"}


@pytest.mark.parametrize(
    "name", sorted(POD.keys() - {"SPARK_USER", "SPARK_CONF_DIR"} - {n for n in POD if "_OPT_" in n})
)
def test_an_executor_that_spark_did_not_start_says_what_is_missing(name: str) -> None:
    without = {key: value for key, value in POD.items() if key != name}
    with pytest.raises(RetailError, match=rf"^{name} is missing: `retail executor` is what Spark starts"):
        executor_command(without, Path("/java"), Path("/spark"), Path("/log"))


def test_the_command_is_the_word_that_spark_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SPARK_LOCAL_DIRS", raising=False)
    done = CliRunner().invoke(app, ["executor"])
    assert isinstance(done.exception, RetailError)


def test_a_driver_is_reached_by_name_on_every_address_and_makes_pods_of_the_image() -> None:
    chosen = {
        "spark_master": "k8s://https://kubernetes.default.svc:443",
        "spark_kubernetes_image": "registry.example.com/retail-platform@sha256:0a",
        "s3_bucket": "lake",
    }
    found = spark_config(load_settings(env_file=None, **chosen))
    assert found["spark.master"] == chosen["spark_master"]
    assert found["spark.kubernetes.container.image"] == chosen["spark_kubernetes_image"]
    assert "spark.driver.bindAddress" not in found, "its own address, which session.py finds"
    assert "spark.local.dir" not in found, "a pod has no RETAIL_HOME"
    named = spark_config(load_settings(env_file=None, **chosen, spark_driver_host="retail.default.svc"))
    assert (named["spark.driver.host"], named["spark.driver.bindAddress"]) == ("retail.default.svc", "0.0.0.0")  # noqa: S104
