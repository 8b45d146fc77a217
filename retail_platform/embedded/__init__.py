"""Real servers and their tools for a laptop: the Kafka broker, Java, the locked jars, and what sets all of it up.

Nothing here knows Dagster, Spark's sessions or the lake. With ``KAFKA_BOOTSTRAP_SERVERS`` set, no server starts.
"""
