"""Who may do what on a Kafka cluster with ACLs: the least that each part of the platform needs, declared once.

The tests grant exactly this to the principals of a secured broker and run the platform with it; the page
docs/operate/kafka-access.md lists it. It names no user: which user plays which part is the cluster's business.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from retail_platform.contracts import CONTROL_TOPICS, LIVE_METRICS, REACTION_TOPICS, STOCK_LEVELS
from retail_platform.contracts.pages import GENERATED, markdown_table
from retail_platform.settings import Settings

Resource = Literal["topic", "group", "transactional-id"]
Operation = Literal["Read", "Write", "Create", "Describe", "DescribeConfigs"]


@dataclass(frozen=True, slots=True)
class Grant:
    """Operations on one resource, or on all whose names begin with ``name`` when ``prefixed``."""

    resource: Resource
    name: str
    operations: tuple[Operation, ...]
    prefixed: bool = False


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the platform that logs in to Kafka as a user of its own; ``runs`` says which processes it is."""

    name: str
    runs: str
    grants: tuple[Grant, ...]

    def commands(self, user: str, bootstrap: str) -> Iterator[str]:
        """The ``kafka-acls.sh`` commands that grant it all to ``user``, one for what differs in more than the name."""
        together: dict[tuple[Resource, tuple[Operation, ...], bool], list[str]] = {}
        for grant in self.grants:
            together.setdefault((grant.resource, grant.operations, grant.prefixed), []).append(grant.name)
        for (resource, operations, prefixed), names in together.items():
            pattern = " --resource-pattern-type prefixed" if prefixed else ""
            yield (
                f"kafka-acls.sh --bootstrap-server {bootstrap} --command-config admin.properties --add --allow-principal "
                f"User:{user} {' '.join(f'--operation {operation}' for operation in operations)} "
                f"{' '.join(f'--{resource} {name}' for name in names)}{pattern}"
            )


def parts(settings: Settings) -> tuple[Part, ...]:
    """Every part with its grants, for the topics and the consumer group that the settings name."""
    events = [contract.topic for contract in settings.source_topics]
    results = [contract.topic for contract in (*REACTION_TOPICS, *CONTROL_TOPICS)]
    # What the applications tell each other, and are told; and what is compared with the KPI file.
    heard = [contract.topic for contract in (STOCK_LEVELS, LIVE_METRICS, *CONTROL_TOPICS)]
    group = settings.reactions_group
    return (
        Part(
            "admin",
            "Who creates the topics, once: `retail dev`, or `kafka-topics.sh`.",
            tuple(Grant("topic", topic, ("Create", "Describe", "DescribeConfigs")) for topic in (*events, *results)),
        ),
        Part(
            "producer",
            "The tills; `retail simulate`, `retail replay`.",
            tuple(Grant("topic", topic, ("Write", "Describe")) for topic in events),
        ),
        Part(
            "ingest",
            "The Spark stream; the checks of Kafka against the lake; `retail kafka status`, `retail doctor`.",
            # No group: Spark keeps its offsets in its checkpoints, and assigns itself the partitions.
            tuple(Grant("topic", contract.topic, ("Read", "Describe")) for contract in settings.topics),
        ),
        Part(
            "reactions",
            "The applications `reactions`, `metrics`, `marketing`; `retail reactions rollback` and `release`, "
            "`retail fraud label`; the jobs `customer_midnight`, `price_reviews` and `live_metrics_check`; the "
            "sensor `reactions_progress`.",
            (
                *(Grant("topic", topic, ("Read", "Describe", "DescribeConfigs")) for topic in events),
                *(
                    Grant("topic", topic, ("Write", "Describe", "DescribeConfigs"))
                    for topic in results
                    if topic not in heard
                ),
                *(Grant("topic", topic, ("Read", "Write", "Describe", "DescribeConfigs")) for topic in heard),
                # What passes between steps, and the changelogs of the state.
                *(
                    Grant("topic", f"{kind}{group}-", ("Read", "Write", "Create", "Describe", "DescribeConfigs"), True)
                    for kind in ("", "changelog__")
                ),
                Grant("group", f"{group}-", ("Read",), prefixed=True),
                Grant("transactional-id", f"{group}-", ("Write", "Describe"), prefixed=True),
            ),
        ),
    )


def access_page(settings: Settings, bootstrap: str = "BROKER:9094") -> str:
    """The list as a Markdown page: for each part a table, and the commands that grant it."""
    sections = []
    for part in parts(settings):
        rows = [
            (grant.resource, f"`{grant.name}{'*' if grant.prefixed else ''}`", ", ".join(grant.operations))
            for grant in part.grants
        ]
        table = markdown_table(("resource", "name", "operations"), rows)
        commands = "\n".join(part.commands(f"retail-{part.name}", bootstrap))
        sections.append(f"## {part.name}\n\n{part.runs}\n\n{table}\n\n```bash\n{commands}\n```")
    about = (
        "What each part of the platform needs on a Kafka with ACLs, and no more: the tests grant this list on a secured "
        "broker, by these commands, and run the parts with it. The users' names are free; a `*` stands for any ending. "
        "`KAFKA_TOPIC` and `REACTIONS_GROUP` change the names. How to log in: [kafka-security](kafka-security.md)."
    )
    return "\n\n".join((f"# Who may do what in Kafka\n\n{GENERATED}\n\n{about}", *sections)) + "\n"
