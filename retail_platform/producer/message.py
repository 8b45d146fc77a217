"""What a producer sends: one Kafka record, before it knows of any broker."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Message:
    """One record: the contract's topic name, key, value (``None`` is a tombstone), schema header, and a label."""

    topic: str
    key: bytes
    value: bytes | None
    schema: str
    label: str
