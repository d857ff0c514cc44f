"""The solvers, and the preconditioners and learning rates that they work with."""
