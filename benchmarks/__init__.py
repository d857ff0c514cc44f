"""MiniBatchRidgeSGD and its peers, timed side by side on one objective.

See `python -m benchmarks --help`.
"""

import os

# Read once, when NumPy and the OpenMP runtimes load; so it has to be here.
for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
