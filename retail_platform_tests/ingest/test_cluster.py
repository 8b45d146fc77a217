"""The stream's Spark on a standalone cluster: a real master and real workers, processes of their own."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from retail_platform.contracts import BRONZE_EVENTS, QUARANTINE_EVENTS, TRANSACTIONS
from retail_platform.embedded.java import java_home
from retail_platform.embedded.ports import free_port_pair
from retail_platform.errors import SettingsError
from retail_platform.lakehouse import quality
from retail_platform.lakehouse.heartbeat import read_heartbeat
from retail_platform.lakehouse.manifest import manifest
from retail_platform.settings import Settings, load_settings
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

LINES = TRANSACTIONS.silver_table
KEYS = {"aws_access_key_id": "key-of-a-test", "aws_secret_access_key": "secret-of-a-test"}
_SECONDS = 240.0


@dataclass
class Cluster:
    """A master and the workers that were started, below ``folder``."""

    folder: Path
    port: int = field(default_factory=free_port_pair)
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def master(self) -> str:
        """Its SPARK_MASTER."""
        return f"spark://127.0.0.1:{self.port}"

    def start(self) -> None:
        """The master, and one worker."""
        self._launch("master.Master", "--host", "127.0.0.1", "--port", str(self.port), "--webui-port", "0")
        deadline = time.monotonic() + _SECONDS
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                break
            assert time.monotonic() < deadline, "the master did not start"
            time.sleep(0.1)
        self.start_worker()

    def start_worker(self) -> None:
        """One more worker, of two cores and one gigabyte, with credentials of its own as a machine's role gives them."""
        work = ("--work-dir", str(self.folder / "work"), "--cores", "2", "--memory", "1g")
        self._launch("worker.Worker", "--host", "127.0.0.1", "--webui-port", "0", *work, self.master)

    def kill_worker(self) -> None:
        """The worker and its executor, as when their machine is lost."""
        worker = self.processes.pop()
        os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()

    def stop(self) -> None:
        """End all of it."""
        while self.processes:
            self.kill_worker()

    def _launch(self, what: str, *arguments: str) -> None:
        import pyspark

        home = Path(pyspark.__file__).parent
        environment = os.environ | {
            "SPARK_HOME": str(home),
            "JAVA_HOME": str(java_home()),
            "SPARK_LOCAL_IP": "127.0.0.1",
            "SPARK_DAEMON_MEMORY": "200m",
            "AWS_ACCESS_KEY_ID": KEYS["aws_access_key_id"],
            "AWS_SECRET_ACCESS_KEY": KEYS["aws_secret_access_key"],
        }
        command = [str(home / "bin" / "spark-class"), f"org.apache.spark.deploy.{what}", *arguments]
        with (self.folder / "cluster.log").open("ab") as log:
            self.processes.append(
                subprocess.Popen(
                    command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
                )
            )


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A running cluster, whose executors are as small as spark-defaults.conf makes them."""
    (tmp_path / "spark-defaults.conf").write_text("spark.executor.memory 600m\nspark.cores.max 2\n")
    monkeypatch.setenv("SPARK_CONF_DIR", str(tmp_path))
    found = Cluster(tmp_path)
    try:
        found.start()
        yield found
    finally:
        found.stop()


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_a_stream_on_a_cluster_outlives_its_worker_and_has_each_event_once(
    lake_settings: Settings, s3_endpoint: str, cluster: Cluster
) -> None:
    here = in_a_bucket(lake_settings, s3_endpoint, **KEYS)
    chosen = {"spark_master": cluster.master, "spark_driver_host": "127.0.0.1", "ingest_max_offsets_per_batch": 100}
    settings = here.model_copy(update=chosen)
    twin = sale()
    deliver(settings, [message(twin), message(twin), message(b"junk"), *(message(sale()) for _ in range(800))])
    driver = start_drain(settings)
    try:
        until(driver, "some batches are in", lambda: silver_rows_taken(settings) >= 100, _SECONDS)
        cluster.kill_worker()
        cluster.start_worker()
        assert driver.wait(_SECONDS) == 0
    finally:
        driver.kill()
        driver.wait()
    found, *_ = quality.balance(settings)
    assert (found.bronze, found.silver, found.quarantine, found.duplicates) == (803, 801, 1, 1)
    assert quality.duplicate_keys(settings, LINES, None) == []
    assert manifest(settings, LINES).rows == 1602
    assert rows(settings, BRONZE_EVENTS, 'select count(distinct ("partition", "offset")) from t') == [(803,)]
    # The verdict is Python's, of this package, in the executor's own process.
    assert rows(settings, QUARANTINE_EVENTS, "select reasons from t") == [(["malformed_json"],)]
    work = cluster.folder / "work"
    assert len({path.name for path in work.glob("app-*/*")}) >= 2, "a second executor took over"


def test_a_master_that_is_not_there_is_named_at_once(settings: Settings, s3_endpoint: str) -> None:
    nowhere = f"spark://127.0.0.1:{free_port_pair()}"
    lake = in_a_bucket(settings, s3_endpoint, **KEYS).model_copy(update={"spark_master": nowhere})
    driver = start_drain(lake, stderr=subprocess.PIPE)
    began = time.monotonic()
    _, said = driver.communicate(timeout=60)
    assert time.monotonic() - began < 30, "Spark alone takes a minute to say so"
    assert driver.returncode == 1
    (line,) = said.decode().strip().splitlines()
    assert line == (
        f"error: SPARK_MASTER: no master answers at {nowhere.removeprefix('spark://')} (Connection refused); "
        "start it, or name the one that runs"
    )
    beat = read_heartbeat(lake)
    assert beat is not None
    assert beat.state == "failed"
    assert "SPARK_MASTER" in (beat.error or "")


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        ({"spark_master": "spark://one:7077"}, "S3_BUCKET is missing; SPARK_MASTER names a cluster"),
        ({"spark_master": "yarn", "s3_bucket": "lake"}, "SPARK_MASTER: "),
        ({"spark_master": "spark://one", "s3_bucket": "lake"}, "SPARK_MASTER: "),
        ({"spark_master": "k8s://https://one:443", "spark_kubernetes_image": "one"}, "S3_BUCKET is missing"),
        ({"spark_master": "k8s://https://one:443", "s3_bucket": "lake"}, "SPARK_KUBERNETES_IMAGE is missing"),
        ({"spark_master": "k8s://https://one", "s3_bucket": "lake"}, "SPARK_MASTER: "),
        ({"spark_master": "k8s://one:443", "s3_bucket": "lake"}, "SPARK_MASTER: "),
        (
            {
                "spark_master": "k8s://http://localhost.example.com:80",
                "s3_bucket": "lake",
                "spark_kubernetes_image": "one",
            },
            "would send the token in clear",
        ),
    ],
)
def test_a_cluster_that_could_not_work_is_refused(chosen: dict[str, str], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        load_settings(env_file=None, **chosen)
