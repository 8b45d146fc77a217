"""Where the data comes from: the Kafka topics, as assets that others write and we observe."""

from collections.abc import Iterator, Sequence

import dagster as dg

from retail_platform import kafka
from retail_platform.contracts import BRONZE_EVENTS
from retail_platform.contracts.model import TopicContract
from retail_platform.defs.common import one_line_failures
from retail_platform.settings import Settings


def topic_key(contract: TopicContract) -> dg.AssetKey:
    """The asset of a topic: ``kafka/<topic>``."""
    return dg.AssetKey(["kafka", contract.topic])


def build(settings: Settings) -> dg.Definitions:
    """The topics, and an observation of how far they reach."""
    written_by = f"Written by the tills and the web shop, read into {BRONZE_EVENTS.path}."
    specs = [topic_spec(contract, written_by, {"kafka"}) for contract in settings.source_topics]

    @dg.multi_observable_source_asset(name="kafka_offsets", specs=specs)  # type: ignore[untyped-decorator]
    def kafka_offsets() -> Iterator[dg.ObserveResult]:
        """Read each topic's offsets from the broker."""
        with one_line_failures():
            reach = kafka.offsets(settings, [contract.topic for contract in settings.source_topics])
        for contract in settings.source_topics:
            partitions = reach[contract.topic]
            yield dg.ObserveResult(
                asset_key=topic_key(contract),
                metadata={
                    "records retained": sum(latest - earliest for earliest, latest in partitions.values()),
                    "offsets": {
                        str(number): {"earliest": first, "latest": last} for number, (first, last) in partitions.items()
                    },
                },
            )

    return dg.Definitions(assets=[kafka_offsets])


def topic_spec(
    contract: TopicContract,
    written_by: str,
    kinds: set[str],
    deps: Sequence[dg.AssetKey] = (),
    freshness_policy: dg.FreshnessPolicy | None = None,
) -> dg.AssetSpec:
    """The asset of a topic: its key, description, owner and fields are the contract's."""
    return dg.AssetSpec(
        topic_key(contract),
        deps=deps,
        description=f"{contract.description} {written_by}",
        group_name="kafka",
        kinds=kinds,
        owners=[f"team:{contract.owner}"],
        metadata={
            "schema": contract.schema,
            "message key": contract.message_key,
            "partitions": contract.partitions,
            "retention (days)": contract.retention_days,
            "fields": ", ".join(entry.name for entry in contract.fields),
        },
        tags={"layer": "kafka"},
        freshness_policy=freshness_policy,
    )
