"""placeholder"""

from pathlib import Path

from anomalyd.runtime.replay import Block


class Report:
    def __init__(self, title: str) -> None: ...
    def add(self, block: Block) -> None: ...
    def write(self, path: Path) -> None: ...
