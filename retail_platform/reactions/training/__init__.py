"""A fraud model trained on what the lake knows: purchases with cards, and the verdicts on them.

Read it in this order: ``history`` (out of the lake, in order of time), ``dataset`` (the features, counted by the code of the
stream), ``split`` (which weeks), ``trees`` (the library, and its trees as data), ``measures``, ``weekly`` (all of it for one
week), ``promotion`` (whether the model is to be used). The model itself and what scores with it are in ``reactions/fraud``.
"""
