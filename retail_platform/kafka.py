"""How clients reach Kafka, and the few questions the platform asks a cluster: is it there, how far do topics reach.

Producing and consuming belong to ``producer/``, ``ingest/`` and their like; running a broker belongs to ``embedded/``.
"""

from __future__ import annotations

import asyncio
import logging
import re
import ssl
from collections.abc import AsyncIterator, Coroutine, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from retail_platform import msk
from retail_platform.contracts import CONTROL_TOPICS, REACTION_TOPICS, TopicContract
from retail_platform.errors import RetailError, SettingsError
from retail_platform.refusals import refusal
from retail_platform.settings import Settings

if TYPE_CHECKING:
    from aiokafka.admin import AIOKafkaAdminClient

#: Above every contract's own limit, so that an oversized event arrives and is quarantined rather than lost at the till.
MAX_MESSAGE_BYTES = 5_000_000

_REPLICAS = 3  # where the cluster has as many brokers
_TIMEOUT_SECONDS = 30.0
_MS_PER_DAY = 86_400_000
_TOPIC_ALREADY_EXISTS = 36
_UNKNOWN_TOPIC = 3
# So few offsets are looked at whether they are records; each transaction that ends leaves one that is none.
_MARKS, _MARKS_MS = 3, 1000
_LOOK_SECONDS = 0.1
_CALL_SECONDS = 5.0
_TIMESTAMP_TYPE = "message.timestamp.type"

_CONNECTING = re.compile("bootstrap|connect|handshake|SSL|SASL|timeout", re.IGNORECASE)

_T = TypeVar("_T")


# --- Options ----------------------------------------------------------------------------------------------------------


def client_options(settings: Settings) -> dict[str, Any]:
    """Keyword arguments with which any aiokafka client reaches the cluster. They may hold the password.

    Raises:
        SettingsError: ``KAFKA_SSL_CA_FILE`` cannot be read.
        RetailError: IAM is to log in, and there are no AWS credentials.
    """
    options: dict[str, Any] = {
        "bootstrap_servers": settings.bootstrap_servers,
        "security_protocol": settings.kafka_security_protocol,
    }
    if settings.kafka_security_protocol.endswith("SSL"):
        options["ssl_context"] = _ssl_context(settings)
    if settings.kafka_by_iam:
        msk.require_credentials(settings)
        options["sasl_mechanism"] = "OAUTHBEARER"
        options["sasl_oauth_token_provider"] = msk.token_provider(settings)
    elif settings.kafka_security_protocol.startswith("SASL"):
        username, password = _credentials(settings)
        options["sasl_mechanism"] = settings.kafka_sasl_mechanism
        options["sasl_plain_username"] = username
        options["sasl_plain_password"] = password
    return options


def spark_options(settings: Settings) -> dict[str, str]:
    """The options with which Spark's Kafka source and sink reach the cluster. They may hold the password.

    Raises:
        RetailError: IAM is to log in, and there are no AWS credentials.
    """
    options = {
        "kafka.bootstrap.servers": settings.bootstrap_servers,
        "kafka.security.protocol": settings.kafka_security_protocol,
    }
    if settings.kafka_security_protocol.endswith("SSL"):
        files = {"truststore": settings.kafka_ssl_ca_file, "keystore": settings.kafka_ssl_certificate_file}
        for store, file in files.items():
            if file is not None:
                options[f"kafka.ssl.{store}.type"] = "PEM"
                options[f"kafka.ssl.{store}.location"] = str(file)
    if settings.kafka_by_iam:
        msk.require_credentials(settings)
        options |= {f"kafka.{name}": value for name, value in msk.JAVA_OPTIONS.items()}
    elif settings.kafka_security_protocol.startswith("SASL"):
        options["kafka.sasl.mechanism"] = settings.kafka_sasl_mechanism
        options["kafka.sasl.jaas.config"] = _jaas(settings)
    return options


def librdkafka_options(settings: Settings) -> dict[str, Any]:
    """The options with which a librdkafka client (Quix Streams) reaches the cluster. They may hold the password.

    Raises:
        RetailError: IAM is to log in, and there are no AWS credentials.
    """
    options: dict[str, Any] = {
        "bootstrap.servers": settings.bootstrap_servers,
        "security.protocol": settings.kafka_security_protocol.lower(),
    }
    if settings.kafka_security_protocol.endswith("SSL"):
        if settings.kafka_ssl_ca_file is not None:
            options["ssl.ca.location"] = str(settings.kafka_ssl_ca_file)
        if settings.kafka_ssl_certificate_file is not None:
            both = str(settings.kafka_ssl_certificate_file)
            options |= {"ssl.certificate.location": both, "ssl.key.location": both}
    if settings.kafka_by_iam:
        msk.require_credentials(settings)
        options |= {"sasl.mechanism": "OAUTHBEARER", "oauth_cb": lambda _: msk.token(settings)}
    elif settings.kafka_security_protocol.startswith("SASL"):
        username, password = _credentials(settings)
        options |= {
            "sasl.mechanism": settings.kafka_sasl_mechanism,
            "sasl.username": username,
            "sasl.password": password,
        }
    return options


def _credentials(settings: Settings) -> tuple[str, str]:
    password = settings.kafka_sasl_password
    return settings.kafka_sasl_username or "", password.get_secret_value() if password is not None else ""


def _jaas(settings: Settings) -> str:
    module = "plain.PlainLoginModule" if settings.kafka_sasl_mechanism == "PLAIN" else "scram.ScramLoginModule"
    username, password = (value.replace("\\", "\\\\").replace('"', '\\"') for value in _credentials(settings))
    return f'org.apache.kafka.common.security.{module} required username="{username}" password="{password}";'


def _ssl_context(settings: Settings) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=settings.kafka_ssl_ca_file)
    except OSError as error:
        raise SettingsError(
            f"KAFKA_SSL_CA_FILE={settings.kafka_ssl_ca_file} is not a readable PEM file of authorities "
            f"({error.strerror or error}); give the path of one"
        ) from error
    if settings.kafka_ssl_certificate_file is not None:
        try:
            context.load_cert_chain(settings.kafka_ssl_certificate_file)
        except OSError as error:
            raise SettingsError(
                f"KAFKA_SSL_CERTIFICATE_FILE={settings.kafka_ssl_certificate_file} is not a readable PEM file of a "
                f"certificate and its key ({error.strerror or error}); give the path of one"
            ) from error
    return context


# --- Questions --------------------------------------------------------------------------------------------------------


def is_reachable(settings: Settings, timeout_seconds: float) -> bool:
    """Whether a broker answers, with these credentials, within that time."""
    return trouble(settings, timeout_seconds) is None


def trouble(settings: Settings, timeout_seconds: float) -> str | None:
    """Why no broker answers, with these credentials, within that time, and the mend; ``None`` when one does.

    Raises:
        SettingsError: a file that a setting names cannot be read.
    """

    async def ask() -> bool:
        async with _admin(settings) as admin:
            return bool((await admin.describe_cluster())["brokers"])

    try:
        there = _ask(settings, ask(), timeout_seconds)
    except SettingsError:
        raise
    except RetailError as error:
        return str(error)
    return None if there else _unreachable(settings, "it names no brokers")


def ensure_topics(settings: Settings, wanted: Iterable[TopicContract] | None = None) -> None:
    """Create the contracts' topics, or those ``wanted``, that are not there; those that are stay as they are.

    Raises:
        RetailError: no broker answers, it refuses to create a topic, or a topic that exists does not stamp records with
            the broker's append time, on which exactly-once deduplication rests.
    """
    chosen = (*settings.source_topics, *REACTION_TOPICS, *CONTROL_TOPICS) if wanted is None else tuple(wanted)
    _ask(settings, _ensure_topics(settings, chosen), _TIMEOUT_SECONDS)


def offsets(settings: Settings, topics: Iterable[str]) -> dict[str, dict[int, tuple[int, int]]]:
    """The earliest and the next offset of each partition of each topic, as a reader of committed records sees them.

    Raises:
        RetailError: no broker answers, or it has no such topic.
    """
    return _ask(settings, _offsets(settings, tuple(topics)), _TIMEOUT_SECONDS)


def committed(
    settings: Settings, group: str, reach: Mapping[str, Mapping[int, tuple[int, int]]]
) -> dict[str, dict[int, int]]:
    """The next offset that a consumer group will read, of each partition of which it has committed any.

    ``reach``: the topics that are asked for, as :func:`offsets` tells them.

    What ends a producer's transaction takes an offset and is no record: behind the last record it counts as read.

    Raises:
        RetailError: no broker answers, or this user may not see the group.
    """
    return _ask(settings, _committed(settings, group, reach), _TIMEOUT_SECONDS)


async def _ensure_topics(settings: Settings, wanted: tuple[TopicContract, ...]) -> None:
    from aiokafka.admin import NewTopic  # noqa: PLC0415  aiokafka takes its time; options do not need it

    async with _admin(settings) as admin:
        existing = set(await admin.list_topics())
        present = [contract.topic for contract in wanted if contract.topic in existing]
        absent = [contract for contract in wanted if contract.topic not in existing]
        if present:
            await _require_append_time(admin, present)
        if not absent:
            return
        copies = min(_REPLICAS, len((await admin.describe_cluster())["brokers"]))
        new = [
            NewTopic(contract.topic, contract.partitions, copies, topic_configs=topic_config(contract))
            for contract in absent
        ]
        response = await admin.create_topics(new)
        # Another process may have been quicker; its topics are not in the list yet, but they are there to be checked.
        taken = [topic for topic, code, _ in response.topic_errors if code == _TOPIC_ALREADY_EXISTS]
        if taken:
            await _require_append_time(admin, taken)
    for topic, code, message in response.topic_errors:
        if code not in (0, _TOPIC_ALREADY_EXISTS):
            raise RetailError(
                f"Kafka refuses to create the topic {topic} ({message or f'error {code}'}); have it created by "
                "a user who may; if it is there, this user may not see it (grant Describe)"
            )


def topic_config(contract: TopicContract) -> dict[str, str]:
    """The topic's configuration in Kafka's own names."""
    return {
        "cleanup.policy": "compact" if contract.compacted else "delete",
        "retention.ms": str(contract.retention_days * _MS_PER_DAY),
        "max.message.bytes": str(MAX_MESSAGE_BYTES),
        _TIMESTAMP_TYPE: "LogAppendTime",
    }


async def _require_append_time(admin: AIOKafkaAdminClient, topics: list[str]) -> None:
    from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType  # noqa: PLC0415

    wanted = [ConfigResource(ConfigResourceType.TOPIC, topic, {_TIMESTAMP_TYPE: ""}) for topic in topics]
    responses = await admin.describe_configs(wanted)
    # A topic just made takes a moment to be known everywhere; whoever asks limits the time.
    while any(code == _UNKNOWN_TOPIC for response in responses for code, *_ in response.resources):
        await asyncio.sleep(_LOOK_SECONDS)
        responses = await admin.describe_configs(wanted)
    for response in responses:
        for _code, _message, _type, topic, entries in response.resources:
            # No entries: this user may read the topic but not look at its configuration.
            if any(entry[0] == _TIMESTAMP_TYPE and entry[1] != "LogAppendTime" for entry in entries):
                raise RetailError(
                    f"the topic {topic} has {_TIMESTAMP_TYPE}=CreateTime; set it to LogAppendTime "
                    "(kafka-configs --alter), or name another topic"
                )


async def _offsets(settings: Settings, topics: tuple[str, ...]) -> dict[str, dict[int, tuple[int, int]]]:
    from aiokafka import AIOKafkaConsumer, TopicPartition  # noqa: PLC0415

    places = [TopicPartition(topic, number) for topic, number in await _partitions(settings, topics)]
    async with AIOKafkaConsumer(**client_options(settings), isolation_level="read_committed") as consumer:
        consumer.assign(places)
        consumer.pause(*places)  # or it would fetch records that nobody reads
        first = await consumer.beginning_offsets(places)
        last = await consumer.end_offsets(places)
    reach: dict[str, dict[int, tuple[int, int]]] = {topic: {} for topic in topics}
    for place in places:
        reach[place.topic][place.partition] = (first[place], last[place])
    return reach


async def _committed(
    settings: Settings, group: str, reach: Mapping[str, Mapping[int, tuple[int, int]]]
) -> dict[str, dict[int, int]]:
    from aiokafka import AIOKafkaConsumer  # noqa: PLC0415
    from aiokafka.errors import KafkaError  # noqa: PLC0415

    async with _admin(settings) as admin:
        while True:
            try:
                entries = await admin.list_consumer_group_offsets(group)
                break
            except KafkaError as error:
                # A broker that has just started finds its coordinator first; whoever asks limits the time.
                if not error.retriable:
                    raise
                await asyncio.sleep(_LOOK_SECONDS)
    done = {place: entry.offset for place, entry in entries.items() if place.topic in reach and entry.offset >= 0}
    nearly = [place for place in done if 0 < reach[place.topic][place.partition][1] - done[place] <= _MARKS]
    if nearly:
        async with AIOKafkaConsumer(**client_options(settings), isolation_level="read_committed") as consumer:
            consumer.assign(nearly)
            for place in nearly:
                consumer.seek(place, done[place])
            records = await consumer.getmany(timeout_ms=_MARKS_MS)
            for place in set(nearly) - records.keys():
                done[place] = await consumer.position(place)
    found: dict[str, dict[int, int]] = {topic: {} for topic in reach}
    for place, offset in done.items():
        found[place.topic][place.partition] = offset
    return found


async def _partitions(settings: Settings, topics: tuple[str, ...]) -> list[tuple[str, int]]:
    async with _admin(settings) as admin:
        # Asking for all of them: a question about one that is not there may create it.
        found = {entry["topic"]: entry["partitions"] for entry in await admin.describe_topics()}
    absent = [topic for topic in topics if topic not in found]
    if absent:
        raise RetailError(
            f"Kafka has no topic {', '.join(absent)}; start the platform once (`retail kafka start` or `retail dev`), "
            "or have it created; if it is there, this user may not see it (grant Describe)"
        )
    return sorted((topic, entry["partition"]) for topic in topics for entry in found[topic])


# --- Asking -----------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def _admin(settings: Settings) -> AsyncIterator[AIOKafkaAdminClient]:
    from aiokafka.admin import AIOKafkaAdminClient  # noqa: PLC0415

    admin = AIOKafkaAdminClient(**client_options(settings))
    try:
        await admin.start()
        yield admin
    finally:
        await admin.close()


def _ask(settings: Settings, question: Coroutine[Any, Any, _T], timeout_seconds: float) -> _T:
    """Run the question to its end; whatever the client throws when the cluster is not there becomes one clear line."""
    from aiokafka.errors import KafkaError  # noqa: PLC0415

    async def limited() -> _T:
        async with asyncio.timeout(timeout_seconds):
            return await question

    with _silent():
        try:
            return asyncio.run(limited())
        except (KafkaError, TimeoutError, OSError) as error:
            why = explained(settings, f"{type(error).__name__}: {error}")
            raise RetailError(why or _unreachable(settings, str(error) or type(error).__name__)) from error


def explained(settings: Settings, said: str) -> str | None:
    """What a client's error means in one line, with the mend, when Kafka refuses this client; ``None`` when it does not.

    The clients may keep to themselves why no server can be used; then each is called once more to hear it.
    """
    why = refusal(settings, said)
    if why is None and _CONNECTING.search(said) and not settings.embedded_kafka:
        return asyncio.run(_refused_login(settings))
    return why


async def _refused_login(settings: Settings) -> str | None:
    from aiokafka.conn import create_conn  # noqa: PLC0415
    from aiokafka.errors import KafkaError  # noqa: PLC0415

    options = client_options(settings)
    for server in options.pop("bootstrap_servers").split(","):
        host, _, port = server.strip().rpartition(":")
        try:
            async with asyncio.timeout(_CALL_SECONDS):
                connection = await create_conn(host, int(port), **options)
        except (KafkaError, TimeoutError, OSError) as error:
            why = refusal(settings, f"{type(error).__name__}: {error}")
            if why is not None:
                return why
        else:
            connection.close()
    return None


def _unreachable(settings: Settings, said: str) -> str:
    if settings.embedded_kafka:
        mend = "start the embedded broker with `retail kafka start`, or set KAFKA_BOOTSTRAP_SERVERS"
    else:
        mend = "check KAFKA_BOOTSTRAP_SERVERS and KAFKA_SECURITY_PROTOCOL"
    return f"no Kafka broker answers at {settings.bootstrap_servers} ({said}); {mend}"


@contextmanager
def _silent() -> Iterator[None]:
    """Keep aiokafka from logging every failed attempt: the caller gets the one error that matters."""
    logger = logging.getLogger("aiokafka")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
