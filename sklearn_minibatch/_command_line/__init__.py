"""The parts of ``python -m sklearn_minibatch``: options, CSV files, encoding and output."""
