"""How Spark is configured, here and on a cluster; no import of Spark, so that declarations can read it."""

from __future__ import annotations

from pathlib import Path

from retail_platform.embedded.jars import class_path, spark_jars
from retail_platform.lakehouse.location import spark_options
from retail_platform.settings import Settings

#: The scheduler's pools (scheduler.xml): what people wait for, and what may come behind it.
POOL_SILVER, POOL_BEHIND = "silver", "behind"
_POOLS = Path(__file__).with_name("scheduler.xml")
#: What the JVMs of driver and executors say, and what not.
LOGGING = Path(__file__).with_name("log4j2.properties")

# With only its first compiler (-XX:TieredStopAtLevel=1) a JVM keeps 48 MB for compiled code. Spark fills that in a minute;
# then the JVM compiles no more and interprets all that comes.
_JVM = "-XX:+UseG1GC -XX:ReservedCodeCacheSize=240m"


def scratch(settings: Settings) -> Path:
    """What the driver's JVM writes aside: shuffles, spills, the native libraries it unpacks. A killed one leaves it behind."""
    return settings.retail_home / "spark" / "scratch"


def spark_config(settings: Settings) -> dict[str, str]:
    """The configuration of every Spark session of the platform; without what spark-submit has decided, where it has.

    Raises:
        RetailError: the connectors' jars are not there.
    """
    config = {
        "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
        "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
        "spark.sql.session.timeZone": "UTC",
        # Spark's own default, INT96, has no statistics in the files and no zone: readers could neither skip nor tell.
        "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
        "spark.sql.shuffle.partitions": str(settings.ingest_state_partitions),
        "spark.sql.adaptive.enabled": "false",
        "spark.sql.streaming.stateStore.providerClass": (
            "org.apache.spark.sql.execution.streaming.state.RocksDBStateStoreProvider"
        ),
        "spark.sql.streaming.stateStore.rocksdb.changelogCheckpointing.enabled": "true",
        "spark.sql.streaming.noDataMicroBatches.enabled": "false",
        "spark.sql.streaming.minBatchesToRetain": "20",
        # The default, 100, is fewer than the ingest needs: each batch would push out and compile again what the next uses.
        "spark.sql.codegen.cache.maxEntries": "2000",
        # Isolated sessions have a class loader each, and Spark keeps its generated classes by class loader: every query
        # would compile, and warm up, what another has already.
        "spark.sql.artifact.isolation.enabled": "false",
        # It loses the parsed event between two of the fast path's stages (Spark 4.2: INTERNAL_ERROR_ATTRIBUTE_NOT_FOUND), and
        # has little to prune in flat tables.
        "spark.sql.optimizer.nestedSchemaPruning.enabled": "false",
        "spark.databricks.delta.snapshotPartitions": "2",
        # MERGE goes through its source twice, and else keeps it only where it may have changed meanwhile.
        "spark.databricks.delta.merge.materializeSource": "all",
        "spark.scheduler.mode": "FAIR",
        "spark.scheduler.allocation.file": _POOLS.as_uri(),
        # Spark describes each plan in words for its UI and its listeners, at full length, even when nobody looks.
        "spark.sql.ui.explainMode": "simple",
        "spark.sql.maxPlanStringLength": "1000",
        "spark.ui.showConsoleProgress": "false",
    }
    home = settings.retail_home / "spark"
    config["spark.sql.warehouse.dir"] = str(home / "warehouse")
    if settings.spark_is_submitted:
        return config | spark_options(settings)
    config |= {
        "spark.master": settings.spark_master,
        "spark.ui.enabled": "false",
        # A cluster's executors fetch them from the driver.
        "spark.jars": ",".join(str(jar) for jar in spark_jars(settings)),
        "spark.driver.memory": settings.spark_driver_memory,
        "spark.driver.extraJavaOptions": (
            f'{_JVM} -Dderby.system.home="{home}" -Djava.io.tmpdir="{scratch(settings)}" '
            f"{settings.spark_driver_java_options}"
        ),
    }
    if not settings.spark_is_kubernetes:
        config["spark.local.dir"] = str(scratch(settings))  # in a pod it is a volume, which Spark names
    if settings.spark_is_local:
        config |= {"spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1"}
    elif settings.spark_driver_host is not None:
        config["spark.driver.host"] = settings.spark_driver_host
    if settings.spark_is_kubernetes:
        config |= _on_kubernetes(settings)
    if settings.spark_is_local and settings.s3_bucket is None:
        config |= {
            # The defaults fork a process for every rename: half of a small batch's time (docs/architecture.md).
            "spark.sql.streaming.checkpointFileManagerClass": (
                "org.apache.spark.sql.execution.streaming.checkpointing.FileSystemBasedCheckpointFileManager"
            ),
            "spark.delta.logStore.file.impl": "io.delta.storage.LocalLogStore",
            # On the class path from the first, not by spark.jars: Spark opens files before it has those.
            "spark.driver.extraClassPath": class_path("local"),
            "spark.hadoop.fs.file.impl": "com.globalmentor.apache.hadoop.fs.BareLocalFileSystem",
        }
    return config | spark_options(settings)


def _on_kubernetes(settings: Settings) -> dict[str, str]:
    config = {
        "spark.kubernetes.container.image": str(settings.spark_kubernetes_image),
        "spark.kubernetes.namespace": settings.spark_kubernetes_namespace,
        # With these the driver needs no right but on pods (deploy/kubernetes): it makes nothing else.
        "spark.kubernetes.executor.disableConfigMap": "true",
        "spark.kubernetes.driver.service.deleteOnTermination": "false",
        "spark.kubernetes.driver.ownPersistentVolumeClaim": "false",
        # Any pod of a cluster can reach the driver's port, and tasks carry the login to Kafka.
        "spark.authenticate": "true",
        "spark.network.crypto.enabled": "true",
        # Else the third executor that is lost ends the driver, however many days lie between.
        "spark.executor.failuresValidityInterval": "1h",
        # As Spark has it for Python in its cluster mode: the state store and Python have their memory beside the heap.
        "spark.executor.memoryOverheadFactor": "0.4",
    }
    if settings.spark_driver_host is not None:
        config["spark.driver.bindAddress"] = "0.0.0.0"  # noqa: S104  the name of a service is no address of this machine
    if settings.spark_kubernetes_service_account is not None:
        config["spark.kubernetes.authenticate.executor.serviceAccountName"] = settings.spark_kubernetes_service_account
    return config
