"""`make faults`: every campaign, and a table of what was lost."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.faults import delivery
from tests.faults.row import HEAD, Row

CAMPAIGNS: dict[str, Callable[[Path, int], Row]] = {
    "broker": delivery.broker_killed,
    "network": delivery.network_cut,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--only", choices=sorted(CAMPAIGNS), help="one campaign; default: all")
    parser.add_argument("--times", type=int, default=100, help="faults of each; default 100")
    options = parser.parse_args()
    rows = []
    print(HEAD, flush=True)
    for name, campaign in CAMPAIGNS.items():
        if options.only in (None, name):
            with tempfile.TemporaryDirectory() as directory:
                rows.append(campaign(Path(directory), options.times))
            print(rows[-1], flush=True)
    sys.exit(0 if all(row.good for row in rows) else 1)


if __name__ == "__main__":
    main()
