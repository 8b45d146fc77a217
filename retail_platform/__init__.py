"""Real-time retail data platform: Kafka, Spark Structured Streaming, Delta Lake, dbt and a warehouse, under Dagster."""
