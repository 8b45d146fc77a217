"""A believable retailer, simulated: what its tills, its web shop and its stock rooms send to Kafka.

:func:`simulate` turns a :class:`Plan` into messages, lazily and always the same for the same plan. Nothing here knows
of a broker; sending is in :mod:`retail_platform.producer.send`.
"""

from retail_platform.producer.simulator.plan import Plan
from retail_platform.producer.simulator.run import simulate

__all__ = ["Plan", "simulate"]
