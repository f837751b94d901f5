"""A week in which one machine of two is faulty 60 % of the time, then a round of retraining, then
the same fault again.

All of the machine's channels swing, which a network can learn to foretell. Whether it has shows in
the forecast error in the fault afterwards. Beside the daemon as it is stands one without
quarantine, whose readings under alert are learnt at once: what the quarantine is worth. A fault is
found if an alert is raised on any channel of the machine.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from anomalyd.detection.reading import Floats
from anomalyd.settings import Alerts, Retrain
from tests.benchmarks.retraining.faults import Fault, disturb
from tests.benchmarks.retraining.signals import DAY_S, INTERVAL_S, MEMBERS, WEEK, WEEK_S, signals
from tests.benchmarks.retraining.site import Raised, site

ARMS = ("never retrained", "unlabelled", "confirmed", "without quarantine")
_MACHINES, _WEEKS, _POISONED = 2, 4, 2
_KIND, _SIZE = "swing", 12.0
_EVERY_S, _LASTS_S = 5 * 3600.0, 3 * 3600.0
_AFTER_DAYS = (24.0, 25.3, 26.6)


def often() -> list[list[Fault]]:
    """In the poisoned week; of each, what every channel has of it."""
    begins = _POISONED * WEEK_S + _EVERY_S * np.arange(33.0)
    return [_fault(start_s) for start_s in begins.tolist()]


def after() -> list[list[Fault]]:
    return [_fault(day * DAY_S) for day in _AFTER_DAYS]


def _fault(start_s: float) -> list[Fault]:
    start_s = round(start_s / INTERVAL_S) * INTERVAL_S
    return [
        Fault(0, channel, _KIND, _SIZE, start_s, start_s + _LASTS_S) for channel in range(MEMBERS)
    ]


def live(seed: int, arm: str, rules: Retrain) -> dict[str, str]:
    """A row of the table."""
    faults = [each for fault in [*often(), *after()] for each in fault]
    values = disturb(signals(seed, ["none"] * _MACHINES, _WEEKS), faults, seed)
    times = INTERVAL_S * np.arange(float(len(values)))
    cut = (_POISONED + 1) * WEEK
    alerts = Alerts(accept_after_s=1e-3) if arm == "without quarantine" else Alerts()

    def confirms(raised: Raised) -> bool:
        return arm == "confirmed" and any(each.finds(raised) for each in faults)

    with site(_MACHINES, None if arm == "never retrained" else rules, alerts) as made:
        made.live(times[:cut], values[:cut], confirms)
        if arm != "never retrained":
            made.retrainer.request()
        made.live(times[cut:], values[cut:])
        delays = [_delay_s(fault, made.raised) for fault in after()]
        last = [s for at, s, _, _ in made.steps if at >= cut * INTERVAL_S and s != "started"]
        return {
            "week": arm,
            "found in it": f"{_count(often(), made.raised)} of {len(often())}",
            "found afterwards": f"{_count(after(), made.raised)} of {len(after())}",
            "minutes until": ", ".join("-" if d is None else f"{d / 60.0:.0f}" for d in delays),
            "error in it": f"{_error(np.stack(made.errors)):.2f}",
            "what came of the round": ", ".join(last) or "-",
        }


def _count(faults: Sequence[Sequence[Fault]], raised: Sequence[Raised]) -> int:
    return sum(_delay_s(fault, raised) is not None for fault in faults)


def _delay_s(fault: Sequence[Fault], raised: Sequence[Raised]) -> float | None:
    delays = [each.delay_s(raised) for each in fault]
    return min((each for each in delays if each is not None), default=None)


def _error(errors: Floats) -> float:
    """Mean absolute error one reading ahead in the faults afterwards."""
    spans = [(fault[0].start_s, fault[0].end_s) for fault in after()]
    parts = [
        errors[round(start / INTERVAL_S) : round(end / INTERVAL_S), :MEMBERS]
        for start, end in spans
    ]
    return float(np.nanmean(np.concatenate(parts)))
