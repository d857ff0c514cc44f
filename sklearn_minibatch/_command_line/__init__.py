"""What ``python -m sklearn_minibatch`` reads, computes and shows."""
