"""The only reader of the environment and of ``.env``: frozen, typed, one clear error per bad value.

Everything else takes a ``Settings``. Secrets are ``SecretStr``: they print as asterisks wherever they end up.
"""

from __future__ import annotations

import datetime as dt
import os
import re
import zoneinfo
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from retail_platform.contracts import SOURCE_TOPICS, TOPICS, TRANSACTIONS, TopicContract
from retail_platform.errors import SettingsError

_PACKAGE = Path(__file__).resolve().parent
_CHECKOUT = _PACKAGE.parent if (_PACKAGE.parent / "pyproject.toml").is_file() else None
#: Where ``dbt_project`` and ``dagster.yaml`` are: the checkout; where a wheel is installed, a folder of the package.
PROJECT_ROOT = _CHECKOUT or _PACKAGE / "project"
#: Where relative paths start and ``.env`` is: the checkout; where a wheel is installed, the working folder.
WORK_ROOT = _CHECKOUT or Path.cwd()
#: The exchange rates (``currency,valid_from,usd_per_unit``): dbt's seed, and what the reactions count with.
FX_RATES = PROJECT_ROOT / "dbt_project" / "seeds" / "fx_rates.csv"

Port = Annotated[int, Field(ge=1024, le=65534)]


class Settings(BaseSettings):
    """Every setting of the platform. The name of a setting is the field's name in capitals.

    Raises :class:`SettingsError` through :func:`load_settings`; never build it directly outside tests.
    """

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True, hide_input_in_errors=True)

    retail_home: Path = Field(
        Path(".retail"),
        description="State: Kafka's data, the lake, checkpoints, the warehouse file, Dagster's history.",
    )
    retail_outputs: Path = Field(Path("outputs"), description="Results: the KPI CSV and the published marts.")

    kafka_bootstrap_servers: str | None = Field(
        None, description="host:port,… of a Kafka cluster. Unset: the embedded broker is used."
    )
    kafka_topic: str = Field(TRANSACTIONS.topic, pattern=r"^[A-Za-z0-9._-]{1,249}$", description="Transactions topic.")
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="How clients talk to KAFKA_BOOTSTRAP_SERVERS."
    )
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "AWS_MSK_IAM"] = Field(
        "SCRAM-SHA-512",
        description="SASL mechanism, when the protocol is SASL_*; AWS_MSK_IAM logs in with the AWS credentials, not a user.",
    )
    kafka_sasl_username: str | None = Field(None, description="SASL user.")
    kafka_sasl_password: SecretStr | None = Field(None, description="SASL password.")
    kafka_ssl_ca_file: Path | None = Field(None, description="PEM file of the authorities that sign the brokers.")
    kafka_ssl_certificate_file: Path | None = Field(
        None, description="PEM file of this client's key and certificate, where brokers ask for one."
    )
    kafka_embedded_port: Port = Field(
        19092, description="Loopback port of the embedded broker; the next one is its controller's."
    )

    warehouse: Literal["duckdb", "snowflake"] = Field("duckdb", description="Where the marts are built.")
    business_timezone: str = Field("UTC", description="IANA zone in which a day begins and ends.")
    partitions_start_date: dt.date = Field(dt.date(2010, 12, 1), description="First business date.")

    spark_master: str = Field(
        "local[*]",
        pattern=r"^(local(\[(\*|\d+)\])?|spark://[^\s/]+:\d+|k8s://https?://[^\s/@]+:\d+|submitted)$",
        description=(
            "Spark master URL: local[*], local[2], spark://host:port[,host:port…] of a standalone cluster, or "
            "k8s://https://host:port of Kubernetes' API server; submitted: spark-submit has started this process, and decides."
        ),
    )
    spark_driver_host: str | None = Field(
        None,
        description=(
            "Address at which a cluster's executors reach this machine. Unset: Spark finds one; for Kubernetes, the one by "
            "which this machine reaches the API server."
        ),
    )
    spark_executor_python: str | None = Field(
        None,
        description=(
            "Python on a cluster's machines, of the version used here. Unset: the path of the one here; on Kubernetes, the "
            "image's."
        ),
    )
    spark_kubernetes_image: str | None = Field(
        None,
        pattern=r"^\S+$",
        description="Image of the executors on Kubernetes: this platform's, of this version. Needed with SPARK_MASTER=k8s://….",
    )
    spark_kubernetes_namespace: str = Field(
        "default", pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$", description="Namespace in which they are started."
    )
    spark_kubernetes_service_account: str | None = Field(
        None,
        pattern=r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$",
        description="Service account that they have; it may give them the bucket. Unset: the namespace's default.",
    )
    emr_serverless_application: str | None = Field(
        None,
        pattern=r"^[0-9a-z]{1,64}$",
        description="Id of the EMR Serverless application that runs the ingest stream. Unset: this machine runs it.",
    )
    emr_serverless_role: str | None = Field(
        None, pattern=r"^arn:aws[a-zA-Z0-9-]*:iam::\d{12}:role/\S+$", description="ARN of the role of its jobs."
    )
    emr_serverless_kafka_login: str | None = Field(
        None,
        pattern=r"^\S+$",
        description=(
            "Which entry of AWS secretsmanager (ARN or name) has the username and password that its jobs log in to Kafka "
            "with. Needed where KAFKA_SECURITY_PROTOCOL is SASL_*, unless KAFKA_SASL_MECHANISM is AWS_MSK_IAM."
        ),
    )
    emr_serverless_cores: int = Field(4, description="Cores of its driver, and of each executor: 1, 2, 4, 8 or 16.")
    emr_serverless_memory: str = Field(
        "14g", pattern=r"^\d+[mg]$", description="Heap of its driver, and of each executor."
    )
    emr_serverless_executors: int = Field(2, ge=1, le=100, description="Most executors that a job may have.")
    spark_driver_memory: str = Field("1500m", pattern=r"^\d+[mg]$", description="Heap of the Spark driver.")
    spark_driver_java_options: str = Field(
        "", description="More options of the Spark driver's JVM, e.g. -XX:TieredStopAtLevel=1 for short runs."
    )
    ingest_max_offsets_per_batch: int = Field(
        20_000,
        ge=100,
        description="Most Kafka records one micro-batch takes. More drain faster, and take more of SPARK_DRIVER_MEMORY.",
    )
    ingest_trigger_seconds: float = Field(
        1.0, ge=0.1, le=60, description="How often silver looks for records in the continuous stream."
    )
    ingest_dedupe_horizon_minutes: int = Field(
        15, ge=10, description="How long the stream remembers event_ids; older twins are looked up in silver."
    )
    ingest_state_partitions: int = Field(
        2,
        ge=1,
        le=1000,
        description=(
            "Parts of the deduplication, which are that many tasks: as many as Spark has cores. A checkpoint keeps the number "
            "it began with; `retail stream recover --all` begins new ones."
        ),
    )
    ingest_compact_minutes: float = Field(
        60, gt=0, le=1440, description="How often the continuous stream compacts the small files it made today."
    )
    ingest_reactions: bool = Field(
        True,
        description=(
            "Whether the stream brings what the reactions say, and the fraud labels, into the lake; if not, these tables stay "
            "empty."
        ),
    )
    ingest_lifetime_hours: float = Field(8, gt=0, le=168, description="Life of one continuous ingest run.")
    quarantine_warn_rate: float = Field(
        0.02, ge=0, le=1, description="Share of a day's records in quarantine above which the check warns."
    )
    quarantine_error_rate: float = Field(0.10, ge=0, le=1, description="The share above which it is an error.")
    lake_history_days: int = Field(
        7, ge=1, le=365, description="Days that a table's versions stay readable; VACUUM removes what is older."
    )
    reactions_group: str = Field(
        "retail-reactions",
        pattern=r"^[A-Za-z0-9._-]{1,100}$",
        description="Consumer group of the reactions; one a platform where several share a cluster.",
    )
    reorders: Literal["off", "on"] = Field(
        "on", description="Whether orders are asked for. Off: the kill switch; demand is learnt, nothing is asked."
    )
    reorder_daily_limit: int = Field(
        200, ge=0, description="Orders that a store asks for in a day by itself; a person releases more. 0: every one."
    )
    reorder_terms_file: Path | None = Field(
        None,
        description="The suppliers' terms of products (CSV), read when the application starts. Unset: the same for all.",
    )
    prices: Literal["off", "recommend", "apply"] = Field(
        "recommend",
        description="What is done with prices: nothing, recommended, or set for products whose terms say so.",
    )
    prices_emergency: bool = Field(False, description="An emergency is declared: no price rises.")
    price_terms_file: Path = Field(
        Path("retail_platform/reactions/prices/price_terms.csv"),
        description="Costs and terms of the products that may have a price (CSV); read when the application starts.",
    )
    ingest_nice: int = Field(10, ge=0, le=19, description="Niceness of the local Spark process.")

    alert_webhook_url: SecretStr | None = Field(None, description="Address that alerts are posted to as JSON.")
    alert_slack_webhook_url: SecretStr | None = Field(None, description="Slack incoming webhook for alerts.")
    alert_pagerduty_routing_key: SecretStr | None = Field(
        None, description="Integration key of a PagerDuty service (Events API v2) for alerts."
    )
    alert_pagerduty_url: str = Field(
        "https://events.pagerduty.com/v2/enqueue", description="Endpoint of the Events API; the EU has its own."
    )
    alert_most_per_minute: int = Field(
        10, ge=1, le=100, description="Most alerts that one channel is sent in a minute; the others wait."
    )
    dagster_ui_url: str = Field(
        "http://127.0.0.1:3000", description="Where people reach Dagster's UI: alerts link to it."
    )
    dagster_postgres_host: str | None = Field(
        None, description="Host of the PostgreSQL that keeps Dagster's history. Unset: SQLite below RETAIL_HOME."
    )
    dagster_postgres_port: int = Field(5432, ge=1, le=65535, description="Its port.")
    dagster_postgres_db: str = Field("dagster", description="Its database.")
    dagster_postgres_user: str = Field("dagster", description="Its user, who owns the database.")
    dagster_postgres_password: SecretStr | None = Field(None, description="The user's password.")
    dagster_postgres_sslmode: Literal["disable", "prefer", "require"] = Field(
        "prefer", description="Whether the connection to it is encrypted."
    )

    aws_access_key_id: str | None = Field(
        None, description="AWS key. Unset: AWS_PROFILE, or else the role of the machine, container or web identity."
    )
    aws_secret_access_key: SecretStr | None = Field(None, description="AWS secret key, with AWS_ACCESS_KEY_ID.")
    aws_session_token: SecretStr | None = Field(None, description="Session token, when the key is a temporary one.")
    aws_profile: str | None = Field(None, description="Profile of ~/.aws; it may name a role to assume.")
    aws_region: str | None = Field(
        None,
        description=(
            "Region of the bucket, and of MSK where the brokers' names do not say it. Unset: the profile's, or else us-east-1 "
            "for the bucket."
        ),
    )
    s3_bucket: str | None = Field(
        None,
        pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$",
        description="Bucket of the lake and the stream's checkpoints. Unset: both are in RETAIL_HOME.",
    )
    s3_prefix: str = Field(
        "retail",
        pattern=r"^[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*$",
        description="Where in the bucket; one a platform where several share it.",
    )
    s3_endpoint_url: str | None = Field(None, description="Endpoint of an S3-compatible store.")

    snowflake_account: str | None = Field(None, description="Snowflake account identifier.")
    snowflake_user: str | None = Field(None, description="Snowflake user.")
    snowflake_password: SecretStr | None = Field(None, description="Snowflake password, unless a key is used.")
    snowflake_private_key_path: Path | None = Field(None, description="PEM file of the user's private key.")
    snowflake_private_key: SecretStr | None = Field(
        None,
        description="The PEM text itself, where there is no file: a container's secrets are environment variables.",
    )
    snowflake_private_key_passphrase: SecretStr | None = Field(
        None, description="Passphrase of the private key, where it is encrypted."
    )
    snowflake_host: str | None = Field(
        None, description="Host of the account, where it is not ACCOUNT.snowflakecomputing.com (private link)."
    )
    snowflake_port: int = Field(443, ge=1, le=65535, description="Its port.")
    snowflake_protocol: Literal["https", "http"] = Field(
        "https", description="http is for an emulator on this machine."
    )
    snowflake_database: str = Field("RETAIL_DB", description="Snowflake database, which exists.")
    snowflake_schema: str = Field(
        "STREAMING",
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*$",
        description="Snowflake schema of the stage that files pass through.",
    )
    snowflake_stage: str | None = Field(
        None,
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*){0,2}$",
        description="Snowflake stage on S3_BUCKET's lake: [[DATABASE.]SCHEMA.]STAGE. Needed where the lake is in a bucket.",
    )
    snowflake_warehouse: str | None = Field(None, description="Snowflake virtual warehouse.")
    snowflake_role: str | None = Field(None, description="Snowflake role.")

    @field_validator("business_timezone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        try:
            zoneinfo.ZoneInfo(value)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ValueError("is not an IANA time zone; try UTC or Europe/London") from error
        return value

    @field_validator("emr_serverless_cores")
    @classmethod
    def _worker_size(cls, value: int) -> int:
        if value not in (1, 2, 4, 8, 16):
            raise ValueError("must be 1, 2, 4, 8 or 16: EMR Serverless has no other workers")
        return value

    @field_validator("kafka_bootstrap_servers")
    @classmethod
    def _host_ports(cls, value: str | None) -> str | None:
        for server in (value or "").split(",") if value else ():
            host, _, port = server.strip().rpartition(":")
            if not host or not port.isdigit():
                raise ValueError("must be host:port[,host:port…], e.g. broker.example.com:9092")
        return value

    @field_validator(
        "alert_webhook_url", "alert_slack_webhook_url", "alert_pagerduty_url", "dagster_ui_url", "s3_endpoint_url"
    )
    @classmethod
    def _web_address(cls, value: SecretStr | str | None) -> SecretStr | str | None:
        address = value.get_secret_value() if isinstance(value, SecretStr) else value
        if address is not None and not re.fullmatch(r"https?://[^\s/?#]+([/?#]\S*)?", address):
            raise ValueError("must begin with https:// or http:// and name a host, without spaces")
        return value

    @field_validator("snowflake_private_key")
    @classmethod
    def _without_margins(cls, value: SecretStr | None) -> SecretStr | None:
        return None if value is None else SecretStr(value.get_secret_value().strip())

    @field_validator("partitions_start_date")
    @classmethod
    def _not_in_the_future(cls, value: dt.date) -> dt.date:
        if value > dt.datetime.now(dt.UTC).date():
            raise ValueError("is in the future; no event could be accepted")
        return value

    @field_validator(
        "retail_home", "retail_outputs", "price_terms_file", "reorder_terms_file", "snowflake_private_key_path"
    )
    @classmethod
    def _absolute(cls, value: Path | None) -> Path | None:
        if value is None:
            return None
        path = value.expanduser()
        return path if path.is_absolute() else WORK_ROOT / path

    @model_validator(mode="after")
    def _consistent(self) -> Settings:
        self._complete_kafka()
        if self.dagster_postgres_host is not None and self.dagster_postgres_password is None:
            raise ValueError("DAGSTER_POSTGRES_PASSWORD is missing; DAGSTER_POSTGRES_HOST needs it")
        if self.warehouse == "snowflake":
            self._complete_snowflake()
        if self.emr_serverless_application is not None:
            self._complete_emr_serverless()
        if self.s3_bucket is not None or self.kafka_by_iam:
            self._consistent_credentials()
        if not self.spark_is_local:
            self._complete_cluster()
        return self

    def _complete_cluster(self) -> None:
        if self.s3_bucket is None:
            raise ValueError(
                "S3_BUCKET is missing; SPARK_MASTER names a cluster, whose machines would write to disks of their own"
            )
        if self.spark_is_kubernetes and self.spark_kubernetes_image is None:
            raise ValueError(
                "SPARK_KUBERNETES_IMAGE is missing; SPARK_MASTER=k8s://… starts the executors in that image, this platform's"
            )
        if re.match(r"k8s://http://(?!(127\.0\.0\.1|localhost|\[::1\]):)", self.spark_master):
            raise ValueError(
                "SPARK_MASTER=k8s://http://… would send the token in clear; it is for 127.0.0.1, elsewhere k8s://https://…"
            )

    def _complete_kafka(self) -> None:
        if self.kafka_security_protocol != "PLAINTEXT" and self.kafka_bootstrap_servers is None:
            raise ValueError(
                "KAFKA_SECURITY_PROTOCOL is set but KAFKA_BOOTSTRAP_SERVERS is not; the embedded broker is PLAINTEXT"
            )
        if self.kafka_by_iam and self.kafka_security_protocol != "SASL_SSL":
            raise ValueError("KAFKA_SASL_MECHANISM=AWS_MSK_IAM goes with KAFKA_SECURITY_PROTOCOL=SASL_SSL; set it")
        if self.kafka_security_protocol.startswith("SASL") and not self.kafka_by_iam:
            for name in ("kafka_sasl_username", "kafka_sasl_password"):
                if getattr(self, name) is None:
                    raise ValueError(
                        f"{name.upper()} is missing; KAFKA_SECURITY_PROTOCOL={self.kafka_security_protocol} needs it"
                    )

    def _complete_emr_serverless(self) -> None:
        for name in ("emr_serverless_role", "s3_bucket", "kafka_bootstrap_servers"):
            if getattr(self, name) is None:
                raise ValueError(f"{name.upper()} is missing; EMR_SERVERLESS_APPLICATION needs it")
        by_password = self.kafka_security_protocol.startswith("SASL") and not self.kafka_by_iam
        if by_password and self.emr_serverless_kafka_login is None:
            raise ValueError(
                f"EMR_SERVERLESS_KAFKA_LOGIN is missing; KAFKA_SECURITY_PROTOCOL={self.kafka_security_protocol} needs it "
                "where EMR_SERVERLESS_APPLICATION is set: a password is not sent along"
            )
        for name in ("kafka_ssl_ca_file", "kafka_ssl_certificate_file"):
            if getattr(self, name) is not None:
                raise ValueError(
                    f"{name.upper()} is a file of this machine, which EMR_SERVERLESS_APPLICATION's machines do not have; "
                    "unset one of the two"
                )
        if self.spark_master.startswith(("spark:", "k8s:")):
            raise ValueError(
                "EMR_SERVERLESS_APPLICATION and a SPARK_MASTER that names a cluster are both set; keep the one that is to run "
                "the stream"
            )

    def _consistent_credentials(self) -> None:
        if (self.aws_access_key_id is None) != (self.aws_secret_access_key is None):
            raise ValueError("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY go together; set both, or neither")
        if self.aws_session_token is not None and self.aws_access_key_id is None:
            raise ValueError("AWS_SESSION_TOKEN belongs to an AWS_ACCESS_KEY_ID, which is not set")
        if self.aws_profile is not None and self.aws_access_key_id is not None:
            raise ValueError("AWS_PROFILE and AWS_ACCESS_KEY_ID are both set; keep the one that is meant")

    def _complete_snowflake(self) -> None:
        needed = ("snowflake_account", "snowflake_user", "snowflake_warehouse", "snowflake_role")
        missing = [name.upper() for name in needed if getattr(self, name) is None]
        logins = ("snowflake_private_key_path", "snowflake_private_key", "snowflake_password")
        chosen = [name.upper() for name in logins if getattr(self, name) is not None]
        if not chosen:
            missing.append("SNOWFLAKE_PRIVATE_KEY_PATH (or SNOWFLAKE_PRIVATE_KEY, or SNOWFLAKE_PASSWORD)")
        if missing:
            raise ValueError(f"WAREHOUSE=snowflake needs {', '.join(missing)}; set them")
        if len(chosen) > 1:
            raise ValueError(f"{' and '.join(chosen)} are set; keep one of them")
        if self.snowflake_private_key_passphrase is not None and chosen == ["SNOWFLAKE_PASSWORD"]:
            raise ValueError(
                "SNOWFLAKE_PRIVATE_KEY_PASSPHRASE belongs to a SNOWFLAKE_PRIVATE_KEY_PATH or SNOWFLAKE_PRIVATE_KEY, neither "
                "of which is set"
            )
        if self.snowflake_protocol == "http" and self.snowflake_host not in ("127.0.0.1", "localhost"):
            raise ValueError(
                "SNOWFLAKE_PROTOCOL=http would send the login in clear; it is for SNOWFLAKE_HOST=127.0.0.1"
            )
        if self.s3_bucket is not None and self.snowflake_stage is None:
            raise ValueError(
                "SNOWFLAKE_STAGE is missing; Snowflake loads a lake in a bucket (S3_BUCKET) through a stage on it, made "
                "once as docs/operate/snowflake.md says"
            )

    # --- Where things are -----------------------------------------------------------------------------------------

    @property
    def embedded_kafka(self) -> bool:
        """Whether the platform runs its own broker."""
        return self.kafka_bootstrap_servers is None

    @property
    def bootstrap_servers(self) -> str:
        """What Kafka clients connect to."""
        return self.kafka_bootstrap_servers or f"127.0.0.1:{self.kafka_embedded_port}"

    @property
    def kafka_by_iam(self) -> bool:
        """Whether clients log in to Kafka (MSK) with AWS credentials."""
        return self.kafka_security_protocol.startswith("SASL") and self.kafka_sasl_mechanism == "AWS_MSK_IAM"

    @property
    def spark_is_local(self) -> bool:
        """Whether Spark works in the driver's own process, on this machine."""
        return self.spark_master.startswith("local")

    @property
    def spark_is_kubernetes(self) -> bool:
        """Whether Spark's executors are pods, which the driver asks a Kubernetes API server for."""
        return self.spark_master.startswith("k8s:")

    @property
    def spark_is_submitted(self) -> bool:
        """Whether spark-submit has started this process, with master, memory and jars of its own choice."""
        return self.spark_master == "submitted"

    @property
    def stream_is_elsewhere(self) -> bool:
        """Whether the ingest stream has no disk in common with who watches it: then they meet in the bucket."""
        return self.emr_serverless_application is not None or self.spark_is_submitted

    @property
    def topics(self) -> tuple[TopicContract, ...]:
        """The contracts of all that is ingested, the transactions one under the name that ``KAFKA_TOPIC`` gives it."""
        return self._named(TOPICS if self.ingest_reactions else SOURCE_TOPICS)

    @property
    def source_topics(self) -> tuple[TopicContract, ...]:
        """Those of :attr:`topics` that others write; the rest is what the reactions say, and the labels that they hear."""
        return self._named(SOURCE_TOPICS)

    def _named(self, contracts: tuple[TopicContract, ...]) -> tuple[TopicContract, ...]:
        return tuple(each.named(self.kafka_topic) if each is TRANSACTIONS else each for each in contracts)

    @property
    def kafka_dir(self) -> Path:
        """Data of the embedded broker."""
        return self.retail_home / "kafka"

    @property
    def lake_dir(self) -> Path:
        """Root of the Delta tables, where they are on this machine; see ``lakehouse/location.py`` for wherever they are.

        Raises:
            SettingsError: the lake is on S3.
        """
        return self._on_disk("lake")

    @property
    def checkpoints_dir(self) -> Path:
        """Root of the streaming checkpoints, one folder a query; as :attr:`lake_dir`."""
        return self._on_disk("checkpoints")

    def _on_disk(self, name: str) -> Path:
        if self.s3_bucket is not None:
            raise SettingsError(
                "S3_BUCKET: this works with a lake on this machine's disk only, not in a bucket; unset it for that"
            )
        return self.retail_home / name

    @property
    def reactions_dir(self) -> Path:
        """State of the reactions; Kafka's changelog topics hold the same."""
        return self.retail_home / "reactions"

    @property
    def fraud_models_dir(self) -> Path:
        """Every fraud model that was trained, and the one in use; ``reactions/fraud/published.py`` says which."""
        return self.retail_home / "models" / "fraud"

    @property
    def control_dir(self) -> Path:
        """Leases, the stream's heartbeat and the requests made of it."""
        return self.retail_home / "control"

    @property
    def warehouse_path(self) -> Path:
        """The embedded warehouse's file."""
        return self.retail_home / "warehouse.duckdb"

    @property
    def dagster_home(self) -> Path:
        """Dagster's run history, schedules and sensors' state."""
        return self.retail_home / "dagster"

    @property
    def logs_dir(self) -> Path:
        """Logs of the processes that the platform starts."""
        return self.retail_home / "logs"

    @property
    def kpi_csv(self) -> Path:
        """The daily KPI file."""
        return self.retail_outputs / "aggregates_daily.csv"

    @property
    def marts_dir(self) -> Path:
        """The marts as Parquet, for readers that must not open the warehouse."""
        return self.retail_outputs / "marts"


def load_settings(env_file: Path | None = WORK_ROOT / ".env", **overrides: object) -> Settings:
    """Read the settings from the environment, then ``env_file``; ``overrides`` win over both.

    Raises:
        SettingsError: naming each variable that is wrong, on one line. Values are never shown.
    """
    try:
        return Settings(_env_file=env_file, **overrides)  # type: ignore[arg-type]
    except ValidationError as error:
        problems = []
        for entry in error.errors(include_input=False, include_url=False):
            text = entry["msg"].removeprefix("Value error, ")
            name = ".".join(str(part) for part in entry["loc"]).upper()
            problems.append(f"{name}: {text}" if name else text)
        raise SettingsError("; ".join(problems)) from None


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """The process's settings, read once."""
    return load_settings()


def child_environment(settings: Settings, base: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment for a process this platform starts: ours, with the paths pinned so that both agree."""
    env = dict(os.environ if base is None else base)
    env["RETAIL_HOME"] = str(settings.retail_home)
    env["RETAIL_OUTPUTS"] = str(settings.retail_outputs)
    env["DAGSTER_HOME"] = str(settings.dagster_home)
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    return env


def user_cache_dir() -> Path:
    """Where this user's downloads are kept between clones: ``XDG_CACHE_HOME`` or ``~/.cache``, then our name."""
    configured = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG specification: a relative path is to be ignored.
    base = Path(configured) if Path(configured).is_absolute() else Path.home() / ".cache"
    return base / "retail-platform"


def started_by_spark_submit() -> bool:
    """Whether this process has been given a JVM to talk to."""
    return "PYSPARK_GATEWAY_PORT" in os.environ


def machine_java_home() -> Path | None:
    """The machine's ``JAVA_HOME``, if it has one."""
    configured = os.environ.get("JAVA_HOME")
    return Path(configured) if configured else None


def env_example() -> str:
    """The text of ``.env.example``: every setting with what it means and its default, none of them set."""
    lines = ["# Copy to .env and uncomment what you change. The environment wins over .env.", ""]
    for name, entry in Settings.model_fields.items():
        lines.append(f"# {entry.description}")
        choices = [choice for choice in get_args(entry.annotation) if isinstance(choice, str)]
        if choices:
            lines.append(f"# One of: {', '.join(choices)}.")
        lines += [f"#{name.upper()}={'' if entry.default is None else entry.default}", ""]
    return "\n".join(lines)
