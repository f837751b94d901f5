"""Tests and benchmarks; a matrix library gets one thread in them, as `anomalyd run` gives it."""

import os

# Here, before anything imports numpy.
os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"
