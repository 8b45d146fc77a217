"""The ingest stream on EMR Serverless: what is brought there, and what a job run is told; ``defs/emr.py`` launches it."""
