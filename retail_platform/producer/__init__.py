"""What sends events to Kafka: replayed files. Nothing here reads topics or the lake."""
