"""A table of figures: aligned text for the reader, plain values for JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

Cell = str | float | int | None


@dataclass(slots=True)
class Table:
    """Rows under a title; each row is a mapping from column to cell."""

    title: str
    rows: list[Mapping[str, Cell]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, row: Mapping[str, Cell]) -> None:
        self.rows.append(row)

    def text(self) -> str:
        columns = list(dict.fromkeys(name for row in self.rows for name in row))
        grid = [columns, *([_text(row.get(name)) for name in columns] for row in self.rows)]
        widths = [max(len(line[at]) for line in grid) for at in range(len(columns))]
        lines = [self.title, *("  " + _line(line, widths) for line in grid)]
        return "\n".join([*lines, *(f"  {note}" for note in self.notes)]) + "\n"

    def as_dict(self) -> dict[str, object]:
        return {"title": self.title, "rows": [dict(row) for row in self.rows], "notes": self.notes}


def _line(cells: Iterable[str], widths: list[int]) -> str:
    first, *others = (
        cell.ljust(width) if at == 0 else cell.rjust(width)
        for at, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )
    return "  ".join([first, *others]).rstrip()


def _text(cell: Cell) -> str:
    if cell is None:
        return "-"
    if isinstance(cell, float):
        return (
            f"{cell:.3f}" if abs(cell) < 1 else f"{cell:.2f}" if abs(cell) < 10 else f"{cell:.1f}"
        )
    return str(cell)
