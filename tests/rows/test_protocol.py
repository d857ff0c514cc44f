"""Every kind of rows has the methods that the protocol names."""

from sklearn_minibatch._rows.chunked import ChunkedRows
from sklearn_minibatch._rows.dense import DenseRows
from sklearn_minibatch._rows.protocol import Rows
from sklearn_minibatch._rows.sparse import SparseRows


def test_every_kind_of_rows_has_the_written_interface():
    """Compare the names of the methods.

    Their types are checked by mypy, where a function that returns `Rows` returns each kind.
    """
    written = {name for name in vars(Rows) if not name.startswith("_")}
    for kind in (DenseRows, SparseRows, ChunkedRows):
        assert written <= set(dir(kind)), kind
