"""Figures that others published, and what trivial rules reach, for the tables.

They hold for the whole data sets (58 NAB files, 34 SKAB files, 81 channels of SMAP and MSL), under
the same protocol unless said otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping

from tests.benchmarks.detection.table import Cell

_NAB_SOURCE = "published, best threshold"
_NAB_SCORES = {
    "ARTime": (74.9, 65.2, 80.4),
    "HTM": (70.1, 63.1, 74.3),
    "CAD-OSE": (69.9, 67.0, 73.2),
    "HTM Java": (65.5, 53.3, 70.4),
    "NumentaTM": (64.6, 56.7, 69.2),
    "Skyline (example)": (58.2, 46.2, 63.8),
    "KNN-CAD": (58.0, 43.4, 64.8),
    "Relative Entropy": (54.6, 47.6, 58.8),
    "Random Cut Forest": (51.7, 38.4, 59.7),
    "Twitter ADVec": (47.1, 33.6, 53.5),
    "Windowed Gaussian": (39.6, 20.9, 47.4),
    "Etsy Skyline": (35.7, 27.1, 44.5),
    "EXPoSE": (16.4, 3.2, 26.9),
}
NAB: tuple[Mapping[str, Cell], ...] = tuple(
    {
        "detector": f"{name} ({_NAB_SOURCE})",
        "best standard": standard,
        "best low FP": low_fp,
        "best low FN": low_fn,
    }
    for name, (standard, low_fp, low_fn) in _NAB_SCORES.items()
)
"""numenta/NAB on GitHub, README and results"""

EVENTS_NAB: tuple[Mapping[str, Cell], ...] = tuple(
    {"detector": f"{name} (its published scores)", "recall <= 1": recall}
    for name, recall in (
        ("HTM", 0.59),
        ("CAD-OSE", 0.54),
        ("ARTime", 0.49),
        ("Random Cut Forest", 0.28),
        ("KNN-CAD, Windowed Gaussian, Twitter ADVec", 0.0),
    )
)
"""the scores in numenta/NAB's results, put through this protocol"""

SKAB: tuple[Mapping[str, Cell], ...] = tuple(
    {"detector": f"{name} (leaderboard)", "F1": f1, "FAR %": far, "MAR %": mar}
    for name, f1, far, mar in (
        ("Conv-AE", 0.78, 13.6, 28.0),
        ("MSET", 0.78, 39.7, 14.1),
        ("T2 + Q", 0.76, 26.6, 24.9),
        ("LSTM-AE", 0.74, 30.0, 25.9),
        ("T2", 0.66, None, None),
        ("LSTM-VAE", 0.56, None, None),
        ("Vanilla LSTM", 0.54, 12.5, 59.5),
        ("Isolation Forest", 0.29, None, None),
    )
)
"""waico/SKAB on GitHub, README"""

MSL: tuple[Mapping[str, Cell], ...] = tuple(
    {
        "detector": f"Telemanom, trained per channel ({name})",
        "recall": recall,
        "precision": precision,
    }
    for name, recall, precision in (("MSL", 0.694, 0.926), ("SMAP and MSL", 0.80, 0.875))
)
"""khundman/telemanom on GitHub, README; batch thresholds"""
