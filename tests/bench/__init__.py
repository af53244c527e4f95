"""Benchmarks: numbers to be read, not tests. `make bench`, or `python -m tests.bench NAME`."""
