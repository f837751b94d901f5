"""`make faults`: every campaign, or one of them, and a table of what it cost.

Exit status 1 where anything was lost, told under two ids, or alarmed falsely.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.faults import (
    degradations,
    delivery,
    kills,
    model_store,
    power_cuts,
    readings,
    restarts,
    retraining,
    sessions,
    soak,
    standing,
    swaps,
)
from tests.faults.table import Row, show

CAMPAIGNS: dict[str, tuple[Callable[[Path, int], Row | list[Row]], int]] = {
    "broker": (delivery.broker_killed, 100),
    "network": (delivery.network_cut, 100),
    "broker-readings": (sessions.broker_killed, 100),
    "network-readings": (sessions.network_cut, 100),
    "stalls": (sessions.stalled, 20),
    "restarts": (restarts.day, 100),
    "power-cuts": (power_cuts.cuts, 1),
    "flips": (power_cuts.flips, 10_000),
    "kills": (kills.campaign, 200),
    "standing": (standing.campaign, 100),
    "readings": (readings.campaign, 200),
    "models": (model_store.campaign, 50),
    "degradations": (degradations.campaign, 1),
    "swaps": (swaps.campaign, 100),
    "retraining": (retraining.campaign, 50),
    "soak": (soak.campaign, 60),
}
"""what to do in an empty folder, and how often; of the soak, how many minutes"""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument(
        "--only", nargs="+", choices=sorted(CAMPAIGNS), metavar="NAME",
        help=f"some of {', '.join(CAMPAIGNS)}; default: all",
    )  # fmt: skip
    parser.add_argument(
        "--times", type=int, help="faults of each; default: as in deploy/OPERATING.md"
    )
    parser.add_argument("--minutes", type=int, help="of the soak; default: 60")
    parser.add_argument("--plot", type=Path, metavar="SVG", help="draw the soak's memory there")
    parser.add_argument(
        "--channels", type=int, default=readings.MANY, help="of readings; default: 10000"
    )
    options = parser.parse_args()
    given = dict.fromkeys(CAMPAIGNS, options.times) | {"soak": options.minutes}
    CAMPAIGNS["readings"] = (
        partial(readings.campaign, channels=options.channels),
        CAMPAIGNS["readings"][1],
    )
    CAMPAIGNS["soak"] = (partial(soak.campaign, svg=options.plot), CAMPAIGNS["soak"][1])
    rows: list[Row] = []
    for name in options.only or CAMPAIGNS:
        campaign, times = CAMPAIGNS[name]
        with tempfile.TemporaryDirectory() as directory:
            found = campaign(Path(directory), given[name] or times)
            rows += found if isinstance(found, list) else [found]
        print(show(rows), end="\n\n", flush=True)
    return 0 if all(row.harmless for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
