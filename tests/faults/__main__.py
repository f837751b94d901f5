"""`make faults`: every campaign, or those named, and one table of what it cost.

    python -m tests.faults [CAMPAIGN ...]

Exit status 1 where anything was lost, told twice, or alarmed falsely.
"""

from __future__ import annotations

import sys

from tests.faults import kills, power_cuts, restarts
from tests.faults.table import Row, show

CAMPAIGNS = {
    "restarts": restarts.campaign,
    "power-cuts": power_cuts.campaign,
    "kills": kills.campaign,
}


def main(names: list[str]) -> int:
    unknown = set(names) - set(CAMPAIGNS)
    if unknown:
        print(f"no such campaign: {min(unknown)}; there are {', '.join(CAMPAIGNS)}")
        return 2
    rows: list[Row] = []
    for name in names or CAMPAIGNS:
        rows += CAMPAIGNS[name]()
        print(show(rows), end="\n\n", flush=True)
    return 0 if all(row.harmless for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
