"""MiniBatchRidgeSGD and its peers, timed side by side on one objective.

See `python -m benchmarks --help`.
"""
