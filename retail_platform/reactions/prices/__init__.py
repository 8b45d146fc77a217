"""Dynamic prices: a recommendation a product, applied only where that is switched on; the same for everybody.

``elasticity`` and ``target`` say which price would be best, ``guardrails`` which prices may be set at all, ``rule`` keeps a
product's demand, stock and changes, and decides when it is reviewed.
"""
