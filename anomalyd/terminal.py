"""What `replay` shows on a terminal: progress while it works, and a closing line.

Called by `cli.py` on the main thread. The work itself is in `runtime/`.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from rich.console import Console

from anomalyd.adapters.recording import Recording
from anomalyd.runtime import replay as replaying
from anomalyd.runtime.replay import Block
from anomalyd.runtime.report import Report
from anomalyd.settings import Settings
from anomalyd.terminal_bar import bar, tell


def replay(settings: Settings, folder: Path, source: Path, out: Path, report: Path | None) -> int:
    """Replay `source`; the closing line says what was found."""
    console = Console(stderr=True)
    raised: Counter[str] = Counter()
    readings = 0
    page = Report(source.name) if report else None
    if page and report:
        page.write(report)  # a path that can't be written is known before the work, not after it

    with bar(console, "replaying", Recording(source).size) as (progress, task):

        def each(block: Block) -> None:
            nonlocal readings
            readings += len(block.channels)
            raised.update(alert.kind for alert in block.alerts if alert.transition == "raised")
            if page:
                page.add(block)
            progress.update(task, completed=block.done)

        replaying.replay(settings, folder, source, out, each)
    if page and report:
        page.write(report)
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(raised.items()))
    tell(console, f"{readings} readings, alerts raised: {kinds or 'none'}; verdicts in {out}")
    return 0
