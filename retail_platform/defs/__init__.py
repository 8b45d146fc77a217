"""Dagster, outermost and thin: one module a stage of the lineage, each a function of the settings.

Here is what the UI shows and what runs when. How anything is done is further in.
"""

import dagster as dg

from retail_platform.defs import (
    alerts,
    automation,
    dbt,
    fraud_model,
    kpi,
    lakehouse,
    prices,
    reactions,
    sources,
    stream,
    warehouse,
)
from retail_platform.settings import Settings


def build_defs(settings: Settings) -> dg.Definitions:
    """Every definition, for these settings: what production, the command line and the tests all use."""
    stages = (sources, stream, reactions, prices, lakehouse, fraud_model, warehouse, dbt, kpi, automation, alerts)
    common = dg.Definitions(executor=dg.in_process_executor)
    return dg.Definitions.merge(*(stage.build(settings) for stage in stages), common)
