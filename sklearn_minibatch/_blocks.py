"""Cutting rows into blocks that fit a core's cache."""

# Numbers in a block: half of a megabyte in float64.
CACHE_ELEMENTS = 2**16


def row_blocks(n_rows, n_columns):
    """Slices that cover `n_rows` rows, each small enough to be read twice from cache."""
    step = max(1, CACHE_ELEMENTS // max(1, n_columns))
    return [slice(start, min(start + step, n_rows)) for start in range(0, n_rows, step)]
