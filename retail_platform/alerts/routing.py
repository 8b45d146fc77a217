"""Who hears of what: one map from owner and severity to channels, with every owner and every severity in it."""

from __future__ import annotations

import enum
from collections.abc import Collection, Mapping


class Severity(enum.IntEnum):
    """How bad: the numbers can wait, somebody has to act today, somebody has to act now."""

    warning = 1
    error = 2
    critical = 3


class Owner(enum.StrEnum):
    """The team that answers for an asset; Dagster shows it as ``team:<owner>``."""

    data_platform = "data-platform"
    supply_chain = "supply-chain"
    retail_sales = "retail-sales"
    analytics = "analytics"
    fraud_desk = "fraud-desk"


class Channel(enum.StrEnum):
    """A way to be told."""

    log = "log"
    webhook = "webhook"
    slack = "slack"
    pagerduty = "pagerduty"


_SEEN = frozenset({Channel.log, Channel.webhook})
_TALKED_ABOUT = _SEEN | {Channel.slack}
_PAGED = _TALKED_ABOUT | {Channel.pagerduty}

#: The platform's team and the fraud desk are on call: errors page them too. Others are paged when figures are held back.
ROUTES: Mapping[Owner, Mapping[Severity, frozenset[Channel]]] = {
    Owner.data_platform: {
        Severity.warning: _TALKED_ABOUT,
        Severity.error: _PAGED,
        Severity.critical: _PAGED,
    },
    Owner.supply_chain: {
        Severity.warning: _SEEN,
        Severity.error: _TALKED_ABOUT,
        Severity.critical: _PAGED,
    },
    Owner.retail_sales: {
        Severity.warning: _TALKED_ABOUT,
        Severity.error: _TALKED_ABOUT,
        Severity.critical: _PAGED,
    },
    Owner.analytics: {
        Severity.warning: _SEEN,
        Severity.error: _TALKED_ABOUT,
        Severity.critical: _PAGED,
    },
    Owner.fraud_desk: {
        Severity.warning: _TALKED_ABOUT,
        Severity.error: _PAGED,
        Severity.critical: _PAGED,
    },
}


def routed(owner: Owner, severity: Severity, configured: Collection[Channel]) -> frozenset[Channel]:
    """The channels that hear of it, among those that are configured."""
    return ROUTES[owner][severity] & frozenset(configured)
