"""Live metrics: orders, revenue and customers of each minute, hour and day, corrected in place when an event is late.

``contributions`` says which minutes' cells an event touches and what it adds to each, ``combined`` puts those of many events
together, ``rolled_up`` adds the hour and the day, and ``step`` adds it to one cell. An event must come once: ``duplicates``
tells, before an event is spread over its cells. ``rates`` knows the day's exchange rate.
"""
