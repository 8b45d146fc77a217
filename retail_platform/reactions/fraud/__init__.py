"""Card fraud: rules over a card's purchases, a store's risk from delayed labels, one score, a trained model.

Read it in this order: ``state`` (what is remembered of a card), ``parameters`` (every threshold), ``rules`` (one function a
rule), ``scoring``, ``purchases`` and ``alerts`` (what goes out), ``labels`` (what comes back), ``cards`` and ``stores`` (two
reducers); of the trained model ``features`` (what it reads), ``model`` (its trees as data), ``published`` (the one in use),
``tills`` (its reducer); ``measures`` (whether a rule may leave its shadow). What does not belong here: Kafka, Quix Streams,
exchange rates, training; a caller brings the amount in US dollars.
"""
