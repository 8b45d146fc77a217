"""A process that has the lake's lease and answers requests, as the streaming job does, with the suite's Spark."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

from retail_platform.ingest.lake import open_lake
from retail_platform.ingest.work import serve
from retail_platform.lakehouse import requests
from retail_platform.lakehouse.lease import lake_lease
from retail_platform.settings import Settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@contextlib.contextmanager
def serving(spark: SparkSession, settings: Settings) -> Iterator[None]:
    """Serve the lake's requests until the end of the block."""
    done = threading.Event()
    with lake_lease(settings, "test"):
        lake = open_lake(spark, settings)

        def work() -> None:
            while not done.wait(0.05):
                for request in requests.pending(settings):
                    serve(lake, settings, request)

        server = threading.Thread(target=work)
        server.start()
        try:
            yield
        finally:
            done.set()
            server.join()
