"""Statistics of rows and arithmetic on them: moments, scaling, sketches, factors. NumPy and SciPy only."""
