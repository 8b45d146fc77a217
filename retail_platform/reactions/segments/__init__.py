"""Customer segments by recency, frequency and monetary value (RFM), the moment a purchase changes one.

``quintiles`` has the cut-offs, computed nightly over all customers; ``customers`` keeps a customer's year and tells when
the segment changes.
"""
