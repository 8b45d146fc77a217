"""Proof under fire: real processes killed on a schedule, and a verifier that trusts nothing but what Kafka acknowledged.

A run is a seed. What is promised, and what is not, is in docs/guarantees.md; what runs have shown, in docs/chaos.md.
"""
