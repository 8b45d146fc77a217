"""Who is told what went wrong, when, and when it is over.

``incidents`` decides (pure), ``routing`` says to whom, ``text`` in which words, ``channels`` carry it, ``delivery`` sees
to it that each channel gets each message once. What is observed in Dagster is gathered in ``defs/alerts.py``.
"""
