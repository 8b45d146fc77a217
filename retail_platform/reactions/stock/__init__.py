"""Stock by store and product, the demand for it, and the orders that replace it.

``levels`` keeps the running stock of a store and product; what it says feeds ``reorder`` of the same key, which learns the
demand (``demand``) and asks for an order when the position falls to the reorder point (``policy`` has the formulas).
``daily_limit``, by store, holds back what is over the day's limit.
"""
