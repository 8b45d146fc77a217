"""Tests of the ingest: real Kafka, real Spark, real Delta."""
