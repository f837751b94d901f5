"""`make bench-retraining`: what learning on site is worth, on a simulated plant that changes.

`plant.py`, `poison.py` and `spoiled.py` say what is done; `signals.py` and `faults.py` are the
plant. The runs have nothing to do with each other and go through two processes.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path

import torch

from anomalyd.settings import Retrain
from tests.benchmarks.detection.table import Table
from tests.benchmarks.retraining import plant, poison, spoiled

SETS = ("plant", "poison", "spoiled")
_PROCESSES = 2


def main() -> int:
    options = _arguments()
    chosen, seed = options.set or SETS, options.seed
    rules = Retrain(every_h=options.every_h, steps=options.steps, seed=seed)
    context, begun = multiprocessing.get_context("spawn"), time.monotonic()
    done: list[Callable[[], Sequence[Table]]] = []
    with ProcessPoolExecutor(_PROCESSES, context, torch.set_num_threads, (1,)) as pool:
        # The longest first.
        if "plant" in chosen:
            with_, without = (
                pool.submit(plant.live, seed, options.weeks, each) for each in (rules, None)
            )
            done.append(lambda: plant.tables(seed, options.weeks, without.result(), with_.result()))
        if "poison" in chosen:
            arms = [pool.submit(poison.live, seed, arm, rules) for arm in poison.ARMS]
            done.append(lambda: [_poison(arms)])
        if "spoiled" in chosen:
            judged = pool.submit(spoiled.challengers, seed)
            flooded = pool.submit(spoiled.flood, seed, rules)
            done.append(lambda: [judged.result(), flooded.result()])
        tables = [table for each in done for table in _printed(each())]
    print(f"{time.monotonic() - begun:.0f} s")
    if options.json:
        options.json.write_text(json.dumps([table.as_dict() for table in tables], indent=1))
    return 0


def _poison(arms: Sequence[Future[dict[str, str]]]) -> Table:
    table = Table("A week in which a machine is faulty 60 % of the time, and the fault afterwards")
    for arm in arms:
        table.add(arm.result())
    return table


def _printed(tables: Sequence[Table]) -> Sequence[Table]:
    for table in tables:
        print(table.text(), flush=True)
    return tables


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.retraining")
    parser.add_argument("--set", action="append", choices=SETS)
    parser.add_argument("--seed", type=int, default=1, help="of everything drawn")
    parser.add_argument("--weeks", type=int, default=8, help="of the plant that changes")
    parser.add_argument("--every-h", type=float, default=168.0, help="retrain.every_h")
    parser.add_argument("--steps", type=int, default=Retrain().steps, help="retrain.steps")
    parser.add_argument("--json", type=Path, metavar="FILE")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
