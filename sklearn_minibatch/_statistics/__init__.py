"""Statistics of rows: moments, products, triangular factors, scaling and Cholesky factors.

These modules use NumPy and SciPy; only `moments` imports a function from scikit-learn.
"""
