"""The reactions as one Quix Streams application: topics in, re-keyed where a rule needs another key, topics out.

The rules decide, the library carries: consumer group, state in RocksDB with its changelog, transactions, recovery.
"""
