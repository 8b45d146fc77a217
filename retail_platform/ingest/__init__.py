"""Spark only: the streaming job from Kafka to Delta, its pure transforms, and what it tells the outside.

Nothing here knows Dagster (only the entry point speaks its Pipes protocol), the warehouse or the embedded broker.
"""
