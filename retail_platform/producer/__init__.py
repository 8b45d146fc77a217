"""What sends events to Kafka: replayed files and the simulated retailer. Nothing here reads topics or the lake.

``online_retail`` and ``simulator`` make messages and know of no broker; ``send`` puts them into Kafka.
"""
