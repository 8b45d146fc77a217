"""Tests of the Dagster declarations, on a real instance."""
