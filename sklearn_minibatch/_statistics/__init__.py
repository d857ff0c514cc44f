"""Statistics of rows: moments, scaling, sketches and Cholesky factors.

These modules use NumPy and SciPy; only `moments` imports a function from scikit-learn.
"""
