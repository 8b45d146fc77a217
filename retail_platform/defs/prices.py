"""The hourly review of prices: of the products that nobody buys, too."""

import datetime as dt
import time
from collections.abc import Sequence

import dagster as dg

from retail_platform.contracts import PRICE_REVIEWS, STOCK_LEVELS
from retail_platform.defs.common import Materialized, one_line_failures
from retail_platform.defs.sources import topic_spec
from retail_platform.lakehouse.heartbeat import read_heartbeat
from retail_platform.reactions.applications import (
    MARKETING,
    REACTIONS,
    ReactionApplication,
    consumer_group,
    shop_topics,
)
from retail_platform.reactions.by_product import read_file
from retail_platform.reactions.prices.terms import read_terms
from retail_platform.reactions.progress import ends, has_read
from retail_platform.settings import Settings

JOB = "price_reviews"
_ANSWER_SECONDS, _LOOK_SECONDS = 60.0, 1.0


def build(settings: Settings) -> dg.Definitions:
    """The topic of the reviews, the job that sends them, and its schedule."""
    spec = topic_spec(PRICE_REVIEWS, "Sent every hour, of each product that has terms.", {"kafka", "python"})

    @dg.multi_asset(name="send_price_reviews", specs=[spec])
    def price_reviews() -> Materialized:
        """Once all events until now are read, have every product's price decided; none while an application is behind."""
        from retail_platform import kafka
        from retail_platform.producer.message import price_review
        from retail_platform.producer.send import send

        with one_line_failures():
            products = read_file(settings.price_terms_file, "PRICE_TERMS_FILE", read_terms)
            kafka.ensure_topics(settings)
            moment = dt.datetime.now(dt.UTC)
            # First the stock levels must be said, and then be read with the sales.
            for which, more in ((REACTIONS, []), (MARKETING, [STOCK_LEVELS.topic])):
                if not _answers(settings, which, more):
                    return dg.MaterializeResult(
                        metadata={"products": 0, "why": f"{which.name} is behind, or not there"}
                    )
            report = send(settings, [price_review(product, moment) for product in products])
        if report.failed:
            raise dg.Failure(f"Kafka refused {report.failed} reviews ({report.refused[0]}); launch the job again")
        return dg.MaterializeResult(metadata={"products": report.acknowledged, "as of": moment.isoformat()})

    job = dg.define_asset_job(
        JOB,
        selection=dg.AssetSelection.assets(spec.key),
        description="Has the price of every product that has terms decided, by all that was sold and stocked until now.",
    )
    return dg.Definitions(assets=[price_reviews], jobs=[job], schedules=[_hourly(settings)])


def _hourly(settings: Settings) -> dg.ScheduleDefinition:
    @dg.schedule(
        name="price_reviews_hourly",
        job_name=JOB,
        cron_schedule="10 * * * *",
        execution_timezone=settings.business_timezone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Every hour: prices are reviewed also of what did not sell, and as a sell-by date comes nearer.",
    )
    def due() -> dg.RunRequest | dg.SkipReason:
        if settings.prices == "off":
            return dg.SkipReason("PRICES=off")
        if read_heartbeat(settings, MARKETING.name) is None:
            return dg.SkipReason("the application marketing has never run")
        return dg.RunRequest()

    return due


def _answers(settings: Settings, which: ReactionApplication, more: Sequence[str]) -> bool:
    """Whether the application has committed, before long, all that the shops' topics that it reads hold now, and ``more``."""
    from retail_platform import kafka

    reach = kafka.offsets(settings, [*(contract.topic for contract in shop_topics(settings, which)), *more])
    deadline = time.monotonic() + _ANSWER_SECONDS
    while not has_read(reach, kafka.committed(settings, consumer_group(settings, which), reach), ends(reach)):
        if time.monotonic() > deadline:
            return False
        time.sleep(_LOOK_SECONDS)
    return True
