"""Card fraud: rules over a card's purchases, a store's risk from delayed labels, one score, a trained model.

Read it in this order: ``state`` (what is remembered of a card), ``parameters`` (every threshold), ``rules`` (one function a
rule), ``scoring``, ``alerts`` (what goes out), ``cards`` and ``stores`` (the two reducers); of the model ``purchases`` (what
it is given), ``features`` (what it reads), ``model`` (its trees as data), ``published`` (the one in use), ``tills`` (the
reducer); ``measures`` (whether a rule may leave its shadow). What does not belong here: Kafka, Quix Streams, exchange
rates, training; a caller brings the amount in US dollars.
"""
