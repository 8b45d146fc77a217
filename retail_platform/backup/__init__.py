"""Backup and restore of the platform's state. What a moment of it is, is the business of those who own the parts:
``ingest/`` for the lake and its checkpoints, ``embedded/`` for Kafka. How it is done is in ``docs/operate/backup.md``.
"""
