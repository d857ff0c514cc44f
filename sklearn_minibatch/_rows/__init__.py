"""Standardised rows, in memory or in chunks, and the passes over them that the solvers need."""
