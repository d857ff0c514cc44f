"""Conversion of arrays, sources of chunks and Dask collections to checked rows."""
