"""Where the lake is: in ``RETAIL_HOME``, or under ``S3_PREFIX`` of ``S3_BUCKET``. The only place that knows which.

Three libraries go there: Spark (``s3a://``), delta-rs (``s3://`` and its storage options), and Arrow's file systems,
through which DuckDB reads too. All take their credentials from one chain: the settings' key, the profile, a role. They
are looked up when they are needed and handed on in memory or in the JVM's environment, never in a configuration.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.fs as pafs
from deltalake import DeltaTable

from retail_platform import aws
from retail_platform.contracts.model import Table
from retail_platform.errors import RetailError
from retail_platform.settings import Settings

if TYPE_CHECKING:
    import duckdb

_CHECK = "check S3_BUCKET, S3_ENDPOINT_URL, AWS_REGION and the credentials' rights"
_SECONDS = 4.0


@dataclass(frozen=True, slots=True)
class Place:
    """A folder or a file of the lake, on disk or in the bucket; its text form is what Spark opens."""

    file_system: pafs.FileSystem
    path: str
    uri: str

    def __truediv__(self, name: str) -> Place:
        return Place(self.file_system, f"{self.path}/{name}", f"{self.uri}/{name}")

    def __str__(self) -> str:
        return self.uri

    def exists(self) -> bool:
        """Whether it is there."""
        return bool(self.file_system.get_file_info(self.path).type != pafs.FileType.NotFound)

    def text(self) -> str:
        """What the file holds."""
        with self.file_system.open_input_stream(self.path) as stream:
            return bytes(stream.read()).decode("utf-8")

    def files(self, *, recursive: bool = False) -> list[pafs.FileInfo]:
        """The files in the folder, or also below it; none when there is no such folder."""
        selector = pafs.FileSelector(self.path, allow_not_found=True, recursive=recursive)
        return [entry for entry in self.file_system.get_file_info(selector) if entry.is_file]


def lake(settings: Settings) -> Place:
    """The root of the Delta tables."""
    return _place(settings, "lake")


def checkpoints(settings: Settings) -> Place:
    """The root of the streaming checkpoints."""
    return _place(settings, "checkpoints")


def table_uri(settings: Settings, table: Table) -> str:
    """The table, as Spark opens it."""
    if settings.s3_bucket is None:
        return str(settings.lake_dir / table.path)
    return f"s3a://{_key(settings, 'lake')}/{table.path}"


def data_file(settings: Settings, table: Table, name: str) -> str:
    """A data file of the table, which the log names relative to it, as DuckDB opens it."""
    if settings.s3_bucket is None:
        return str(settings.lake_dir / table.path / name)
    return f"s3://{_key(settings, 'lake')}/{table.path}/{name}"


def open_delta(settings: Settings, table: Table, version: int | None = None) -> DeltaTable:
    """The table, read through its log without Spark, at ``version`` (the newest when ``None``).

    Raises:
        TableNotFoundError: there is none.
        RetailError: the bucket cannot be read.
    """
    with _reaching(settings):
        return DeltaTable(_delta_uri(settings, table), version=version, storage_options=_storage_options(settings))


def has_delta(settings: Settings, table: Table) -> bool:
    """Whether the lake has the table.

    Raises:
        RetailError: the bucket cannot be read.
    """
    with _reaching(settings):
        return DeltaTable.is_deltatable(_delta_uri(settings, table), _storage_options(settings))


def file_system(settings: Settings) -> pafs.FileSystem | None:
    """What reads data files that are not on this machine's disk; ``None`` when they are."""
    return _place(settings, "lake").file_system if settings.s3_bucket is not None else None


def all_there(files: Sequence[str], place: pafs.FileSystem | None) -> bool:
    """Whether every one of these data files is still there."""
    if place is None:
        return all(Path(path).exists() for path in files)
    found = place.get_file_info([path.removeprefix("s3://") for path in files])
    return all(entry.is_file for entry in found)


def let_read(connection: duckdb.DuckDBPyConnection, place: pafs.FileSystem | None) -> None:
    """Have DuckDB open ``s3://`` files through ``place``: its own extension for that cannot be had offline."""
    if place is None or "s3" in connection.list_filesystems():
        return
    from retail_platform.lakehouse.data_files import DataFiles  # noqa: PLC0415  only a lake in a bucket needs fsspec

    connection.register_filesystem(DataFiles(place))


def only_on_disk(settings: Settings, what: str) -> None:
    """Refuse ``what`` for a lake in a bucket.

    Raises:
        RetailError: the lake is there.
    """
    if settings.s3_bucket is not None:
        raise RetailError(
            f"{what} works with a lake on this machine's disk only, and S3_BUCKET is set; see docs/operate/s3.md for "
            "what a bucket has instead"
        )


def spark_options(settings: Settings) -> dict[str, str]:
    """What Spark's S3A connector needs to know; nothing for a lake on disk. Credentials are not in it."""
    if settings.s3_bucket is None:
        return {}
    options = {
        "aws.credentials.provider": "software.amazon.awssdk.auth.credentials.DefaultCredentialsProvider",
        "endpoint.region": region(settings),
    }
    if settings.spark_is_local:
        # Executors of a cluster have no RETAIL_HOME: there it is the folder that Spark gives each of them.
        options["buffer.dir"] = str(settings.retail_home / "spark" / "scratch")
    if settings.s3_endpoint_url is not None:
        options |= {
            "endpoint": settings.s3_endpoint_url,
            "path.style.access": "true",
            "connection.ssl.enabled": str(settings.s3_endpoint_url.startswith("https:")).lower(),
        }
    return {f"spark.hadoop.fs.s3a.{name}": value for name, value in options.items()} | {
        # A checksum file is written under another name and renamed: two dozen requests a commit, against six for the rest.
        "spark.databricks.delta.writeChecksumFile.enabled": "false",
    }


def jvm_environment(settings: Settings) -> dict[str, str]:
    """What the AWS SDK in Spark's JVM finds its credentials by, where the lake or Kafka asks for them."""
    if settings.s3_bucket is None:
        return aws.jvm_environment(settings) if settings.kafka_by_iam else {}
    return aws.jvm_environment(settings) | {"AWS_REGION": region(settings)}


def region(settings: Settings) -> str:
    """The bucket's region."""
    return aws.region(settings) or "us-east-1"


def s3_client(settings: Settings) -> Any:
    """A boto3 client of the bucket's store that tries once, and not for long: who calls it decides about another time."""
    return aws_client(settings, "s3", seconds=_SECONDS, attempts=1)


def aws_client(settings: Settings, service: str, *, seconds: float = 60.0, attempts: int = 5) -> Any:
    """A boto3 client of one of AWS's services, with the bucket's credentials and region.

    Raises:
        RetailError: there are no credentials.
    """
    from botocore.config import Config  # noqa: PLC0415  only a lake in a bucket needs it

    _credentials(settings)
    endpoint = settings.s3_endpoint_url if service == "s3" else None
    return aws.session(settings).client(
        service,
        region_name=region(settings),
        endpoint_url=endpoint,
        config=Config(
            connect_timeout=seconds,
            read_timeout=seconds,
            retries={"total_max_attempts": attempts, "mode": "standard"},
            s3={"addressing_style": "path"} if endpoint else {},
        ),
    )


def bucket_key(settings: Settings, name: str) -> str:
    """The key, in the bucket, of what the platform calls ``name``."""
    return f"{settings.s3_prefix}/{name}"


def _place(settings: Settings, name: str) -> Place:
    if settings.s3_bucket is None:
        path = str((settings.lake_dir if name == "lake" else settings.checkpoints_dir).absolute())
        return Place(pafs.LocalFileSystem(), path, path)
    key, secret, token = _credentials(settings)
    endpoint = settings.s3_endpoint_url
    found = pafs.S3FileSystem(
        access_key=key,
        secret_key=secret,
        session_token=token,
        region=region(settings),
        endpoint_override=endpoint,
        connect_timeout=_SECONDS,
    )
    return Place(found, _key(settings, name), f"s3a://{_key(settings, name)}")


def _key(settings: Settings, name: str) -> str:
    return f"{settings.s3_bucket}/{bucket_key(settings, name)}"


def _delta_uri(settings: Settings, table: Table) -> str:
    return table_uri(settings, table).replace("s3a://", "s3://", 1)


def _storage_options(settings: Settings) -> dict[str, str] | None:
    if settings.s3_bucket is None:
        return None
    key, secret, token = _credentials(settings)
    options = {
        "AWS_ACCESS_KEY_ID": key,
        "AWS_SECRET_ACCESS_KEY": secret,
        "AWS_REGION": region(settings),
        # What writes to a table beside Spark by mistake fails instead of overwriting a commit.
        "AWS_CONDITIONAL_PUT": "etag",
        "max_retries": "4",
        "retry_timeout": "20s",
    }
    if token:
        options["AWS_SESSION_TOKEN"] = token
    if settings.s3_endpoint_url is not None:
        plain = settings.s3_endpoint_url.startswith("http:")
        options |= {"AWS_ENDPOINT_URL": settings.s3_endpoint_url, "AWS_ALLOW_HTTP": str(plain).lower()}
    return options


def _credentials(settings: Settings) -> tuple[str, str, str | None]:
    found = aws.credentials(settings, "S3_BUCKET")
    return found.access_key, found.secret_key, found.token


@contextlib.contextmanager
def _reaching(settings: Settings) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if settings.s3_bucket is None:
            raise
        said = str(error).splitlines()[0][:300]
        raise RetailError(f"s3://{_key(settings, 'lake')} cannot be read: {said}; {_CHECK}") from error


@contextlib.contextmanager
def asking_bucket(complaint: str) -> Iterator[None]:
    """What AWS's own library refuses in the block becomes one line: the ``complaint``, what it said, and what to check.

    Raises:
        RetailError: it refused something.
    """
    from boto3.exceptions import Boto3Error  # noqa: PLC0415  only a lake in a bucket needs it
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

    try:
        yield
    except (Boto3Error, BotoCoreError, ClientError) as error:
        raise RetailError(f"{complaint}: {error}; {_CHECK}") from error
