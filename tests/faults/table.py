"""A row of the report of the fault campaigns: what was done how often, and what it cost."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

HEAD = ("fault", "times", "lost", "duplicated", "false alarms", "")


class Row(NamedTuple):
    """One kind of fault."""

    fault: str
    times: int
    lost: int = 0
    """raised or cleared alerts, or whatever else was to be kept"""
    duplicated: int = 0
    """events told under a second id; told again under the same one harms nothing"""
    false_alarms: int = 0
    note: str = ""
    figure: str = ""
    """lines of a plot, shown below the table"""

    @property
    def harmless(self) -> bool:
        return not (self.lost or self.duplicated or self.false_alarms)


def show(rows: Iterable[Row]) -> str:
    """The rows under their head, in columns."""
    rows = list(rows)
    lines = [HEAD, *(tuple(str(cell) for cell in row[: len(HEAD)]) for row in rows)]
    widths = [max(len(line[at]) for line in lines) for at in range(len(HEAD))]
    table = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]
    return "\n".join([*table, *(f"\n{row.figure}" for row in rows if row.figure)])
