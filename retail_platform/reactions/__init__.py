"""What happens within a second of an event: fraud alerts, live metrics, stock and reorders, prices, segments.

Each folder holds one reaction: its rules as pure, documented functions, its parameters, its state. They are the same for
the stream, for a batch recomputation and for a test; ``wiring/`` alone knows Quix Streams.
"""
