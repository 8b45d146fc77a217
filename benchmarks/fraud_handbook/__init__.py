"""The Fraud Detection Handbook's benchmark (Le Borgne, Siblini, Lebichot, Bontempi; chapter 3), written anew.

``simulator`` makes the transactions, ``dataset`` counts their features with the platform's own code, ``protocol`` splits and
measures, ``models`` are what is compared, ``document`` is the page. ``benchmarks/fraud.py`` runs them in turn.
"""
