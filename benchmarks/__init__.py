"""How fast, how fresh, how heavy: one module a benchmark, each returning its parameters and its figures.

``python -m benchmarks NAME`` measures, enters the result into ``benchmarks/results.json`` and renders
``docs/benchmarks.md``. Every benchmark works in a temporary home with a broker of its own, on real parts.
Nothing here is a test: a figure belongs to the machine, and is never asserted.
"""
