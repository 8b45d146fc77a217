"""Settings in which the reactions of a test begin at nothing, on the suite's broker."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from retail_platform.contracts import INVENTORY
from retail_platform.kafka import ensure_topics
from retail_platform.settings import Settings
from retail_platform_tests.ingest.running import deliver, empty_topics, message, sale
from retail_platform_tests.reactions.planted import TERMS


@pytest.fixture
def reactions_settings(broker: Settings, tmp_path: Path) -> Settings:
    """Settings that reach the suite's broker, whose topics are empty, with a group and a state that nobody had before."""
    ensure_topics(broker)
    # Topics whose records are all gone, as after their retention: there is nothing to wait for in them.
    deliver(broker, [message({"event_id": str(uuid.uuid4())}, topic=INVENTORY.topic), message(sale())])
    empty_topics(broker)
    terms = tmp_path / "terms.csv"
    columns = "product_id,unit_cost,list_price,minimum_advertised_price,ceiling,sell_by,category_elasticity,applies"
    terms.write_text(f"{columns}\nP1,{TERMS.unit_cost},{TERMS.list_price},,,,,no\n")
    return broker.model_copy(
        update={
            "retail_home": tmp_path / "home",
            "retail_outputs": tmp_path / "outputs",
            "reactions_group": f"test-{uuid.uuid4().hex[:8]}",
            "price_terms_file": terms,
        }
    )
