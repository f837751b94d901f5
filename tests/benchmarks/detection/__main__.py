"""`make bench-detection DATA=<folder>`: how well anomalyd detects, next to simple rules.

`python -m tests.benchmarks.detection DATA` prints every table; `--set NAME` one of them, more than
once for some. DATA holds `nab/`, `skab/` and `msl/`, each laid out as its publisher does, whole or
in part.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch

from tests.benchmarks.detection import (
    ablation,
    baselines,
    cost,
    forecast,
    msl,
    nab,
    normal,
    plant,
    skab,
)
from tests.benchmarks.detection.judged import Detector, anomalyd
from tests.benchmarks.detection.rules import river_is_there
from tests.benchmarks.detection.series import NoData
from tests.benchmarks.detection.table import Table

SETS = ("nab", "skab", "msl", "budget", "forecast", "plant", "cost")


def main() -> int:
    options = _arguments()
    torch.set_num_threads(1)
    detectors: dict[str, Detector] = {"anomalyd": anomalyd}
    rigs = dict(detectors)
    if not options.only:
        detectors |= baselines.ranked()
        rigs |= baselines.commissioned(skab.FREE_ROWS)
        if not river_is_there():
            print("no River, so no HalfSpaceTrees: pip install river", file=sys.stderr)
    # River takes 0.1 ms a reading: too long for the plant's three million.
    fast = {name: each for name, each in detectors.items() if name != "HalfSpaceTrees"}
    sets: Mapping[str, Callable[[], Sequence[Table]]] = {
        "nab": lambda: nab.run(nab.load(options.data), detectors),
        "skab": lambda: skab.run(skab.load(options.data), rigs, options.asset_model),
        "msl": lambda: msl.run(msl.load(options.data), detectors),
        "budget": lambda: normal.run(
            normal.load(options.data, options.seed, options.asset_model), detectors
        ),
        "forecast": lambda: forecast.run(nab.load(options.data)),
        "plant": lambda: plant.run(plant.make(options.seed, 200, options.weeks), fast),
        "cost": lambda: cost.run(options.seed),
    }
    tables: list[Table] = []
    failed = 0
    if options.ablation is not None:
        return _ablate(options)
    for name in options.set or sets:
        begun = time.monotonic()
        try:
            made = sets[name]()
        except NoData as error:
            print(error, file=sys.stderr)
            failed = 1
            continue
        for table in made:
            print(table.text(), flush=True)
        print(f"{name}: {time.monotonic() - begun:.0f} s\n", file=sys.stderr, flush=True)
        tables += made
    if options.json:
        options.json.write_text(json.dumps([table.as_dict() for table in tables], indent=1))
    return failed


def _ablate(options: argparse.Namespace) -> int:
    whole = Table("Ablation: one part at a time taken out")
    chosen = options.set or ("nab", "skab", "msl")
    try:
        for table in ablation.run(options.data, options.seed, chosen, options.ablation):
            print(table.text(), flush=True)
            whole.rows += table.rows
    except NoData as error:
        print(error, file=sys.stderr)
        return 1
    print(whole.text())
    if options.json:
        options.json.write_text(json.dumps([whole.as_dict()], indent=1))
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.detection")
    parser.add_argument("data", type=Path, metavar="DATA")
    parser.add_argument("--set", action="append", choices=SETS)
    parser.add_argument("--seed", type=int, default=0, help="of everything drawn")
    parser.add_argument(
        "--asset-model",
        type=lambda text: Path(text).resolve(),
        metavar="FILE",
        help="model of SKAB's assets: anomalyd train, on what commissioning.py writes",
    )
    parser.add_argument("--weeks", type=int, default=8, help="of the plant")
    parser.add_argument(
        "--ablation",
        nargs="?",
        const="",
        metavar="PART",
        help="what each part is worth; or those with this text in their name",
    )
    parser.add_argument("--only", action="store_true", help="anomalyd alone, no baselines")
    parser.add_argument("--json", type=Path, metavar="FILE")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
