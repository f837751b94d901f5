"""The gate: may a challenger take the champion's place?

Called by whoever retrains, on its own thread. It must be sound (finite), predict held-out recent
readings better by a margin, raise no more alarms on them than promised or than the champion, and
still find the plant's own incidents without having learnt them. Every check is made, unless the
weights aren't finite, and the report says in words and figures why it refused. It is pure: no
files, no clock.

Paired bootstrap over channels: Efron and Tibshirani, "An introduction to the bootstrap", 1993.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np
import torch

from anomalyd.detection.reading import Floats
from anomalyd.errors import DataError
from anomalyd.model.next_step import NextStep, student_t_nll
from anomalyd.model.pieces import lessons, sample
from anomalyd.model.segment import Cut, Segment
from anomalyd.model.training import UNSCORED
from anomalyd.runtime.incidents import Incident
from anomalyd.runtime.rehearsal import Plant, Rehearsed, rehearse

_LENGTH, _MOST_PIECES, _SEED, _DRAWS = 768, 256, 1, 2000
_MOST_GAIN = 2.0  # nats: one channel must not decide for all


@dataclass(frozen=True, slots=True)
class GateRules:
    """The margins."""

    gain: float = 0.01
    """nats a reading, by which the held-out log-score must be better, in the mean over channels"""
    doubt: float = 0.05
    """probability of a chance result that is accepted, in each check"""
    score_kept: float = 0.6
    """of the champion's highest score in an incident, that the challenger's must reach"""
    incident_gain: float = 0.5
    """nats a reading: who foretells an incident better by more than that, and more than it
    foretells what came before it, has learnt it"""


@dataclass(frozen=True, slots=True)
class GateReport:
    """What the gate says; `as_dict` is JSON-able."""

    accepted: bool
    reason: str
    reasons: Sequence[str]
    """short names of the checks that it failed: finite, log_score, alarms, incident"""
    metrics: Mapping[str, float]
    serves: Mapping[str, bool]
    """channel -> the network's error is no worse than the best simple expert's"""

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


class _Losses(NamedTuple):
    """Of each of C channels."""

    channels: Sequence[str]
    nll: Floats
    mae: Floats
    best_expert: Floats
    """the least mean absolute error of any one expert: persistence, seasonal and the others"""


def judge(
    champion: NextStep,
    challenger: NextStep,
    plant: Plant,
    held: Sequence[Segment],
    incidents: Sequence[Incident],
    learnt: Sequence[Segment] = (),
    rules: GateRules = GateRules(),
    each: Callable[[], None] = lambda: None,
) -> GateReport:
    """`held`: recent readings that the challenger hasn't seen; `learnt`: some that it has, to tell
    learning by heart. `each` is called often, and may raise to stop."""
    spoilt = [
        name for name, weight in challenger.state_dict().items() if not weight.isfinite().all()
    ]
    if spoilt:
        words = f"its weights are not finite: {', '.join(spoilt)}"
        return GateReport(False, words, ["finite"], {}, {})
    metrics: dict[str, float] = {}
    new = _losses(challenger, held, each)
    if not (np.isfinite(new.nll).all() and np.isfinite(new.mae).all()):
        return GateReport(False, "its forecasts are not finite", ["finite"], {}, {})
    said = {
        "incident": _incidents(champion, challenger, plant, incidents, rules, metrics, each),
        "log_score": _log_score(champion, challenger, new, held, learnt, rules, metrics, each),
        "alarms": _alarms(champion, challenger, plant, held, rules, metrics, each),
    }
    failed = {name: words for name, words in said.items() if words}
    serves = dict(zip(new.channels, (new.mae <= new.best_expert).tolist(), strict=True))
    words = "; ".join(failed.values()) or f"log-score better by {metrics['gain']:.3f} nats"
    return GateReport(not failed, words, list(failed), metrics, serves)


def _log_score(
    champion: NextStep,
    challenger: NextStep,
    new: _Losses,
    held: Sequence[Segment],
    learnt: Sequence[Segment],
    rules: GateRules,
    metrics: dict[str, float],
    each: Callable[[], None],
) -> str:
    gains = (_losses(champion, held, each).nll - new.nll).clip(-_MOST_GAIN, _MOST_GAIN)
    rng = np.random.default_rng(_SEED)
    draws = gains[rng.integers(gains.size, size=(_DRAWS, gains.size))].mean(axis=1)
    sure = float(np.quantile(draws, rules.doubt))
    metrics |= {"gain": float(gains.mean()), "gain_at_least": sure, "channels": float(gains.size)}
    if sure > rules.gain:
        return ""
    words = (
        f"log-score on held-out readings {gains.mean():+.3f} nats (at least {sure:+.3f}), "
        f"not {rules.gain:+.3f}"
    )
    if learnt:
        known = _losses(champion, learnt, each).nll - _losses(challenger, learnt, each).nll
        metrics["gain_on_learnt"] = float(known.mean())
        if known.mean() > rules.gain and gains.mean() < known.mean() - rules.gain:
            words += f", {known.mean():+.3f} on what it learnt from: learnt by heart"
    return words


def _losses(network: NextStep, segments: Sequence[Segment], each: Callable[[], None]) -> _Losses:
    pieces = sample(segments, _LENGTH, _MOST_PIECES, _SEED)
    if not pieces:
        raise DataError("gate: no stretch of normal readings is long enough to judge by")
    seen = lessons(pieces, each)
    with torch.inference_mode():
        forecast, _ = network(seen.features, seen.experts)
        nll = student_t_nll(forecast, seen.target)[:, UNSCORED:, 0].double().numpy()
        missed = (seen.target - forecast.location).abs()[:, UNSCORED:, 0].double().numpy()
        off = (seen.target[..., None] - seen.experts).abs()[:, UNSCORED:, 0].double().numpy()
    known = ~torch.isnan(seen.target[:, UNSCORED:, 0]).numpy()
    owners = np.array([piece.channel for piece in pieces])
    names = [str(name) for name in np.unique(owners) if known[owners == name].any()]
    rows = [(owners == name)[:, None] & known for name in names]
    return _Losses(
        names,
        np.array([nll[mine].mean() for mine in rows]),
        np.array([missed[mine].mean() for mine in rows]),
        np.array([off[mine].mean(axis=0).min() for mine in rows]),
    )


def _alarms(
    champion: NextStep,
    challenger: NextStep,
    plant: Plant,
    held: Sequence[Segment],
    rules: GateRules,
    metrics: dict[str, float],
    each: Callable[[], None],
) -> str:
    old, new = (rehearse(network, plant, held, each) for network in (champion, challenger))
    expected = max(float(len(old.raised)), new.promised)
    metrics |= {
        "alarms": float(len(new.raised)),
        "alarms_champion": float(len(old.raised)),
        "alarms_promised": new.promised,
    }
    if poisson_tail(len(new.raised), expected) >= rules.doubt:
        return ""
    return (
        f"{len(new.raised)} alarms on held-out readings; the champion raises {len(old.raised)}, "
        f"promised are {new.promised:.2g}"
    )


def poisson_tail(count: int, mean: float) -> float:
    """Probability of `count` or more where `mean` are expected."""
    below = (
        math.exp(k * math.log(mean) - mean - math.lgamma(k + 1)) if mean > 0.0 else float(k == 0)
        for k in range(count)
    )
    return 1.0 - math.fsum(below)


def _incidents(
    champion: NextStep,
    challenger: NextStep,
    plant: Plant,
    incidents: Sequence[Incident],
    rules: GateRules,
    metrics: dict[str, float],
    each: Callable[[], None],
) -> str:
    known = [case for case in incidents if _fits(case, plant)]
    lost, shrunk, learnt = [], [], []
    for case in known:
        old, new = (rehearse(net, plant, case.segments, each) for net in (champion, challenger))
        if _found(old, case) and not _found(new, case):
            lost.append(case.alert)
        was, now = _peak(old, case), _peak(new, case)
        if was >= 1.0 and not now >= rules.score_kept * was:
            shrunk.append(f"{case.alert} (score {was:.2f} => {now:.2f})")
        gain = _foretold(champion, challenger, case)
        if gain > rules.incident_gain:
            learnt.append(f"{case.alert} ({gain:+.2f} nats)")
    metrics |= {
        "incidents": float(len(known)),
        "incidents_lost": float(len(lost)),
        "incidents_shrunk": float(len(shrunk)),
        "incidents_learnt": float(len(learnt)),
    }
    parts = (
        ("no longer finds incident ", lost),
        ("scores lower incident ", shrunk),
        ("has learnt incident ", learnt),
    )
    return "; ".join(words + ", ".join(cases) for words, cases in parts if cases)


def _fits(case: Incident, plant: Plant) -> bool:
    return all(segment.channel in plant.channels for segment in case.segments)


def _found(run: Rehearsed, case: Incident) -> bool:
    return any(case.start_s <= at <= case.end_s for _, at in run.raised)


def _peak(run: Rehearsed, case: Incident) -> float:
    during = (run.times >= case.start_s) & (run.times <= case.end_s)
    return float(np.fmax.reduce(run.score[during], initial=0.0))


def _foretold(champion: NextStep, challenger: NextStep, case: Incident) -> float:
    """How much better than the champion it foretells the incident, beyond what it gains before."""
    own = [each for each in case.segments if each.channel == case.channel]
    gains: list[Floats] = []
    times: list[Floats] = []
    for segment in own:
        if segment.times.size <= UNSCORED + 1:
            continue
        seen = lessons(
            [Cut(segment.channel, segment.times, segment.values, np.ones_like(segment.learnt))]
        )
        with torch.inference_mode():
            each = [
                student_t_nll(net(seen.features, seen.experts)[0], seen.target)[0, UNSCORED:, 0]
                for net in (champion, challenger)
            ]
        gains.append((each[0] - each[1]).double().numpy())
        times.append(segment.times[UNSCORED + 1 :])
    if not gains:
        return 0.0
    gain, at = np.concatenate(gains), np.concatenate(times)
    during = (at >= case.start_s) & (at <= case.end_s)
    if not during.any() or during.all():
        return 0.0
    return float(gain[during].mean() - max(gain[~during].mean(), 0.0))
