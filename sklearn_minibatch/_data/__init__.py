"""From what the user hands over to checked rows: arrays, sources of chunks, Dask collections."""
