"""A progress bar and a closing line, for the commands that work for a while.

Called on the main thread by what shows `replay` and `train`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


def tell(console: Console, line: str) -> None:
    """One line, however long it is: into a pipe rich would break it at 80 columns. A path may have
    brackets in it, which are no markup."""
    console.print(line, soft_wrap=True, markup=False)


@contextmanager
def bar(console: Console, what: str, total: float) -> Iterator[tuple[Progress, TaskID]]:
    shown = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )
    with shown as progress:
        yield progress, progress.add_task(what, total=total)
