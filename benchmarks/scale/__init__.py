"""Rows that do not fit in memory, or on one machine: `python -m benchmarks.scale --help`."""
