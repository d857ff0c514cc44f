"""What ``python -m sklearn_minibatch`` shows."""
