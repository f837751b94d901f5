"""A week in which one machine is faulty 60 % of the time, then a round of retraining, then the same
fault again.

The fault is one that a network can learn to foretell. Beside the daemon as it is stands one without
quarantine, whose readings under alert are learnt at once: what the quarantine is worth.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from anomalyd.settings import Alerts, Retrain
from tests.benchmarks.retraining.faults import Fault, disturb
from tests.benchmarks.retraining.signals import DAY_S, INTERVAL_S, WEEK, WEEK_S, signals
from tests.benchmarks.retraining.site import Raised, site

ARMS = ("never retrained", "unlabelled", "confirmed", "without quarantine")
_MACHINES, _WEEKS, _POISONED = 3, 4, 2
_KIND, _SIZE, _CHANNEL = "swing", 6.0, 1
_EVERY_S, _LASTS_S = 5 * 3600.0, 3 * 3600.0
_AFTER_DAYS = (24.0, 25.3, 26.6)


def often() -> list[Fault]:
    """In the poisoned week."""
    begins = _POISONED * WEEK_S + _EVERY_S * np.arange(33.0)
    return [_fault(start_s) for start_s in begins.tolist()]


def after() -> list[Fault]:
    return [_fault(day * DAY_S) for day in _AFTER_DAYS]


def _fault(start_s: float) -> Fault:
    start_s = round(start_s / INTERVAL_S) * INTERVAL_S
    return Fault(0, _CHANNEL, _KIND, _SIZE, start_s, start_s + _LASTS_S)


def live(seed: int, arm: str, rules: Retrain) -> dict[str, str]:
    """A row of the table."""
    values = disturb(signals(seed, ["none"] * _MACHINES, _WEEKS), [*often(), *after()], seed)
    times = INTERVAL_S * np.arange(float(len(values)))
    cut = (_POISONED + 1) * WEEK
    alerts = Alerts(accept_after_s=1e-3) if arm == "without quarantine" else Alerts()

    def confirms(raised: Raised) -> bool:
        return arm == "confirmed" and any(fault.finds(raised) for fault in often())

    with site(_MACHINES, None if arm == "never retrained" else rules, alerts) as made:
        made.live(times[:cut], values[:cut], confirms)
        if arm != "never retrained":
            made.retrainer.request()
        made.live(times[cut:], values[cut:])
        delays = [fault.delay_s(made.raised) for fault in after()]
        last = [s for at, s, _, _ in made.steps if at >= cut * INTERVAL_S and s != "started"]
        return {
            "week": arm,
            "found in it": f"{_count(often(), made.raised)} of {len(often())}",
            "found afterwards": f"{_count(after(), made.raised)} of {len(after())}",
            "minutes until": ", ".join("-" if d is None else f"{d / 60.0:.0f}" for d in delays),
            "what came of the round": ", ".join(last) or "-",
        }


def _count(faults: Sequence[Fault], raised: Sequence[Raised]) -> int:
    return sum(fault.delay_s(raised) is not None for fault in faults)
