"""The ingest stream on other machines.

On EMR Serverless: what is brought there, and what a job run is told; ``defs/emr.py`` launches it. On Kubernetes: what an
executor's pod does.
"""
