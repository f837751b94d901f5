"""Columns found, copied and put back: arrays over channels, wherever an owner keeps them.

A column is a writeable array whose first axis is as long as the table: its name is the way to it
from the owner. So a class that gets a new column needs no list of its names to be saved. A constant
that might be as long by chance is read-only. Called with the pipeline's columns on its thread; pure
but for `put`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anomalyd.detection.reading import Rows

Columns = Mapping[str, NDArray[Any]]
"""name -> array; of a whole owner (capacity, ...), or of some rows (B, ...)"""


def find(owner: object, capacity: int, apart: Iterable[object] = ()) -> Columns:
    """Every column of `owner` and of what it holds, without what is `apart` (parts or arrays)."""
    seen = {id(each) for each in apart}
    return {name: array for name, array in _walk(owner, "", seen) if array.shape[0] == capacity}


def take(columns: Columns, rows: Rows) -> Columns:
    """A copy of some rows; of rows in a row, a tenth of the time."""
    if rows.size and np.array_equal(rows, np.arange(rows[0], rows[0] + rows.size)):
        run = slice(int(rows[0]), int(rows[0]) + rows.size)
        return {name: column[run].copy() for name, column in columns.items()}
    return {name: np.take(column, rows, axis=0) for name, column in columns.items()}


def put(columns: Columns, rows: Rows, figures: Columns) -> None:
    """Write what `take` copied, into these rows; see `differs`. No zeros over zeros: what was never
    used stays untouched, and weighs nothing."""
    for name, column in columns.items():
        if figures[name].any() or column[rows].any():
            column[rows] = figures[name]


def copy(source: object, target: object, capacity: int, rows: Rows) -> None:
    """Let `target` know of `rows` what `source`, of the same class, does."""
    put(find(target, capacity), rows, take(find(source, capacity), rows))


def exchange(one: object, other: object, capacity: int, rows: Rows) -> None:
    """Each gets what the other, of the same class, knows of `rows`."""
    ours, theirs = find(one, capacity), find(other, capacity)
    kept = take(ours, rows)
    put(ours, rows, take(theirs, rows))
    put(theirs, rows, kept)


def differs(columns: Columns, figures: Columns) -> str | None:
    """What keeps `figures` from being put into these columns, by name; None: nothing."""
    for name in sorted({*columns, *figures}):
        ours, theirs = (_form(each.get(name)) for each in (columns, figures))
        if ours != theirs:
            return f"{name} is {theirs}, here {ours}"
    return None


def _form(array: NDArray[Any] | None) -> str:
    if array is None:
        return "unknown"
    return f"{array.dtype}{list(array.shape[1:])}"


def _walk(owner: object, name: str, seen: set[int]) -> Iterator[tuple[str, NDArray[Any]]]:
    if id(owner) in seen:
        return
    seen.add(id(owner))
    if isinstance(owner, np.ndarray):
        if owner.ndim and owner.flags.writeable:
            yield name, owner
        return
    for key, value in _parts(owner):
        yield from _walk(value, f"{name}.{key}" if name else key, seen)


def _parts(owner: object) -> Iterator[tuple[str, object]]:
    if isinstance(owner, list | tuple):
        # Lists as long as the table, of numbers or channels, take a tenth of a second otherwise.
        if any(map(_may_hold, set(map(type, owner)))):
            yield from ((str(index), value) for index, value in enumerate(owner))
    elif type(owner).__module__.partition(".")[0] == "anomalyd":
        yield from (
            (key.lstrip("_"), value) for key, value in getattr(owner, "__dict__", {}).items()
        )


def _may_hold(kind: type) -> bool:
    """A column may be in things of this type."""
    own = kind.__module__.partition(".")[0] == "anomalyd" and kind.__dictoffset__ != 0
    return own or issubclass(kind, np.ndarray | list | tuple)
