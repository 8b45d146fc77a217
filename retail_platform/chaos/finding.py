"""What a verification comes to: findings, each a promise that was not kept; none is what is hoped for."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Finding:
    """A promise that was not kept: ``count`` times, ``example`` is one of them."""

    promise: str
    count: int
    example: str

    def __str__(self) -> str:
        return f"NOT KEPT: {self.promise}: {self.count:,} times, e.g. {self.example}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was looked at (``counts`` by name) and what was found."""

    counts: dict[str, int]
    findings: tuple[Finding, ...]

    @property
    def kept(self) -> bool:
        """Whether every promise was kept."""
        return not self.findings

    def record(self) -> dict[str, Any]:
        """The verdict as plain values."""
        return {"counts": self.counts, "findings": [asdict(finding) for finding in self.findings]}
