"""The demo's book: what was done to the plant, what the daemon said, and how they fit.

`demo.py` feeds it on the main thread; `screen.py` reads it. It has no clock: times are arguments.

A fault is **found** by the first alert raised on its channel between its start and its end plus the
grace. Every other raised alert is a **false alarm**, but for two: a further alert on that channel
within that time, and a `relation` alert on another channel of the same machine within that time
whose first contributor is the faulty channel (it says the right thing, in another place).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import msgspec

from anomalyd.demo.faults import Fault

Judgement = Literal["found", "again", "echo", "false alarm"]


class Contributor(msgspec.Struct, frozen=True):
    channel: str
    share: float = 0.0


class Alert(msgspec.Struct, frozen=True):
    """What the demo reads of a message on `.../event`."""

    channel: str
    transition: str
    kind: str
    updated_at: datetime
    score: float | None = None
    reason: str = ""
    contributors: tuple[Contributor, ...] = ()


@dataclass(frozen=True)
class Judged:
    """A raised alert and what it was worth."""

    alert: Alert
    judgement: Judgement
    fault: Fault | None
    delay_s: float
    """Simulated seconds from the fault's start (of no meaning without a fault)."""
    latency_s: float
    """Real seconds from publishing the reading that raised it to hearing of it."""


class Ledger:
    """Owns the list of judged alerts; `judge` alone adds to it."""

    def __init__(self, faults: Sequence[Fault], start: float, grace: int) -> None:
        """`start` is the epoch time of step 0; `grace` is in steps."""
        self.faults = tuple(faults)
        self.judged: list[Judged] = []
        self.start = start
        self.grace = grace

    @property
    def found(self) -> dict[Fault, Judged]:
        return {j.fault: j for j in self.judged if j.judgement == "found" and j.fault}

    @property
    def false_alarms(self) -> list[Judged]:
        return [j for j in self.judged if j.judgement == "false alarm"]

    @property
    def echoes(self) -> list[Judged]:
        return [j for j in self.judged if j.judgement == "echo"]

    def step_of(self, alert: Alert) -> int:
        """The step of the reading that changed the alert."""
        return round(alert.updated_at.timestamp() - self.start)

    def judge(self, alert: Alert, latency_s: float) -> Judged:
        """Enter a raised alert."""
        step = self.step_of(alert)
        judgement: Judgement = "false alarm"
        fault = self._fault_at(step, alert.channel)
        if fault:
            judgement = "again" if fault in self.found else "found"
        elif alert.kind == "relation" and alert.contributors:
            fault = self._fault_at(step, alert.contributors[0].channel)
            if fault and _machine(fault.channel) == _machine(alert.channel):
                judgement = "echo"
        delay_s = float(step - fault.start) if fault else 0.0
        self.judged.append(Judged(alert, judgement, fault, delay_s, latency_s))
        return self.judged[-1]

    def _fault_at(self, step: int, channel: str) -> Fault | None:
        for fault in self.faults:
            if fault.channel == channel and fault.start <= step < fault.end + self.grace:
                return fault
        return None


def _machine(channel: str) -> str:
    return channel.rpartition("/")[0]
