"""What a campaign found: one row of the table."""

from __future__ import annotations

from dataclasses import dataclass

HEAD = f"{'fault':<34}{'times':>6}{'raised/cleared':>16}{'lost':>6}{'duplicated':>12}{'false':>7}"


@dataclass(frozen=True, slots=True)
class Row:
    """`alerts`: raised and cleared transitions that were made; `duplicated`: told more than once,
    with the same id, which harms nothing; `false_alarms`: ids that were never made."""

    fault: str
    times: int
    alerts: int
    lost: int
    duplicated: int
    false_alarms: int

    def __str__(self) -> str:
        return (
            f"{self.fault:<34}{self.times:>6}{self.alerts:>16}{self.lost:>6}{self.duplicated:>12}"
            f"{self.false_alarms:>7}"
        )

    @property
    def good(self) -> bool:
        return self.lost == self.false_alarms == 0
