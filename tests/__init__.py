"""Tests and benchmarks; numpy is prepared for them as `anomalyd run` prepares it."""

import os

# Here, before anything imports numpy.
os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["NUMPY_MADVISE_HUGEPAGE"] = "0"
