"""Card fraud: rules over a card's purchases, a store's risk from delayed labels, one score, the features of a model.

Read it in this order: ``state`` (what is remembered of a card), ``parameters`` (every threshold), ``rules`` (one function a
rule), ``scoring``, ``purchases`` and ``alerts`` (what goes out), ``labels`` (what comes back), ``cards`` and ``stores`` (the
two reducers), ``features`` (what a model reads), ``measures`` (whether a rule may leave its shadow). What does not belong
here: Kafka, Quix Streams, exchange rates; a caller brings the amount in US dollars.
"""
