"""The gate: may a challenger take the champion's place?

Called by whoever retrains, on its own thread. It must be sound (finite), predict held-out recent
readings better by a margin, raise no more alarms on them than promised or than the champion, and
still find the plant's own incidents without having learnt them. Every check is made, unless the
weights aren't finite, and the report says in words and figures why it refused. It is pure: no
files, no clock.

Paired bootstrap over channels (Efron and Tibshirani, "An introduction to the bootstrap", 1993), or
over blocks of time where the channels are too few to draw from (Künsch, "The jackknife and the
bootstrap for general stationary observations", Annals of Statistics 1989).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import NamedTuple

import numpy as np
import torch

from anomalyd.detection.poisson import poisson_tail
from anomalyd.detection.reading import Flags, Floats
from anomalyd.model.next_step import NextStep
from anomalyd.model.next_step_module import NextStepModule, student_t_nll
from anomalyd.model.pieces import lessons, sample
from anomalyd.model.segment import Cut, Segment
from anomalyd.model.training import UNSCORED, Lessons
from anomalyd.runtime.incidents import Incident
from anomalyd.runtime.rehearsal import Plant, Rehearsed, rehearse, rehearse_each

_LENGTH, _MOST_PIECES, _SEED, _DRAWS = 768, 256, 1, 2000
_MOST_GAIN = 2.0  # nats: one channel must not decide for all
_FEW_CHANNELS, _BLOCK = 8, 64  # readings in a block
_PACKED = 65_536  # readings of incidents side by side: 40 MB
_AT_ONCE = 16_384  # readings that a network sees in one go: 15 MB
_MANY_READINGS = 300  # of an incident, from which on the margins hold as they are


@dataclass(frozen=True, slots=True)
class GateRules:
    """The margins."""

    gain: float = 0.01
    """nats a reading, by which the held-out log-score must be better, in the mean over channels"""
    doubt: float = 0.05
    """probability of a chance result that is accepted, in each check"""
    score_alike: float = 0.9
    """of the champion's highest score in an incident: who reaches that, but no alert, is no worse;
    the champion finds it only just"""
    score_kept: float = 0.6
    """of the champion's highest score in an incident, that the challenger's must reach"""
    incident_excess: float = 0.07
    """nats a reading: who gains more than that on an incident, beyond what it gains before it, has
    learnt it (measured on 300 readings: honest challengers at most +0.05)"""
    surprise: float = 0.125
    """nats a reading, by which an incident surprises the champion more than what came before;
    from there on its network sees the incident, and the next two margins hold too"""
    incident_gain: float = 0.1
    """nats a reading: who gains more than that on an incident that surprises the champion... """
    incident_share: float = 0.5
    """... and more than that share of what it gains before it, has learnt it (measured: honest
    challengers at most 0.03 and 0.11, those taught the incident at least 0.18 and 0.7)"""


@dataclass(frozen=True, slots=True)
class GateReport:
    """What the gate says; `as_dict` is JSON-able."""

    accepted: bool
    reason: str
    reasons: Sequence[str]
    """short names of the checks that it failed: held_out, finite, log_score, alarms, incident"""
    metrics: Mapping[str, float]

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


class _Losses(NamedTuple):
    """Of each of C channels."""

    channels: Sequence[str]
    nll: Floats
    mae: Floats
    best_expert: Floats
    """the least mean absolute error of any one expert: persistence, seasonal and the others"""
    block_nll: Floats
    """(K,) of each block of time of each piece"""


def judge(
    champion: NextStep,
    challenger: NextStep,
    plant: Plant,
    held: Sequence[Segment],
    incidents: Sequence[Incident],
    learnt: Sequence[Segment] = (),
    rules: GateRules = GateRules(),
    each: Callable[[], None] = lambda: None,
    original: NextStep | None = None,
) -> GateReport:
    """`held`: recent readings that the challenger hasn't seen; `learnt`: some that it has, to tell
    learning by heart; `original`: the shipped network, so that no chain of champions forgets an
    incident step by step. `each` is called often, and may raise to stop."""
    spoilt = [name for name, weight in challenger.weights.items() if not np.isfinite(weight).all()]
    if spoilt:
        words = f"its weights are not finite: {', '.join(spoilt)}"
        return GateReport(False, words, ["finite"], {})
    metrics: dict[str, float] = {}
    new = _losses(challenger, held, each)
    if not new.channels:
        words = "no channel has enough held-out readings that count as normal"
        return GateReport(False, words, ["held_out"], {})
    if not (np.isfinite(new.nll).all() and np.isfinite(new.mae).all()):
        return GateReport(False, "its forecasts are not finite", ["finite"], {})
    # There the best expert goes on serving, whatever network is promoted: `experts.py`.
    metrics["channels_without_skill"] = float((new.mae > new.best_expert).sum())
    known, unknown = _known(incidents, plant)
    metrics["incidents_skipped"] = float(len(unknown))
    before = [champion] if original is None else [champion, original]
    said = {
        "incident": _incidents(before, challenger, plant, known, rules, metrics, each),
        "log_score": _log_score(champion, challenger, new, held, learnt, rules, metrics, each),
        "alarms": _alarms(champion, challenger, plant, held, rules, metrics, each),
    }
    failed = {name: words for name, words in said.items() if words}
    words = "; ".join(failed.values()) or f"log-score better by {metrics['gain']:.3f} nats"
    if unknown:
        words += (
            f"; not tried, as the plant doesn't know the channel: incident {', '.join(unknown)}"
        )
    return GateReport(not failed, words, list(failed), metrics)


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
    old = _losses(champion, held, each)
    gains = (old.nll - new.nll).clip(-_MOST_GAIN, _MOST_GAIN)
    drawn = gains if gains.size >= _FEW_CHANNELS else old.block_nll - new.block_nll
    sure = at_least(drawn, rules.doubt)
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


def at_least(gains: Floats, doubt: float) -> float:
    """What the mean of these gains, of channels or of blocks of time, is at least, but for chance:
    by the bootstrap."""
    picks = np.random.default_rng(_SEED).integers(gains.size, size=(_DRAWS, gains.size))
    means = gains.clip(-_MOST_GAIN, _MOST_GAIN)[picks].mean(axis=1)
    return float(np.quantile(means, doubt))


def _losses(network: NextStep, segments: Sequence[Segment], each: Callable[[], None]) -> _Losses:
    pieces = sample(segments, _LENGTH, _MOST_PIECES, _SEED)
    if not pieces:
        return _Losses([], *np.zeros((4, 0)))
    seen = lessons(pieces, each)
    nll, missed = _missed(network, seen, each)
    off = (
        (seen.target[:, UNSCORED:, 0, None] - seen.experts[:, UNSCORED:, 0]).abs().double().numpy()
    )
    known = ~torch.isnan(seen.target[:, UNSCORED:, 0]).numpy()
    owners = np.array([piece.channel for piece in pieces])
    names = [str(name) for name in np.unique(owners) if known[owners == name].any()]
    rows = [(owners == name)[:, None] & known for name in names]
    return _Losses(
        names,
        np.array([nll[mine].mean() for mine in rows]),
        np.array([missed[mine].mean() for mine in rows]),
        np.array([off[mine].mean(axis=0).min() for mine in rows]),
        _block_means(nll, known),
    )


def _missed(network: NextStep, seen: Lessons, each: Callable[[], None]) -> tuple[Floats, Floats]:
    """(N, T) negative log-likelihood and absolute error of the next reading, from where they count;
    a few series at a time, for memory's sake."""
    nll, missed = [], []
    module = NextStepModule.of(network)
    count, length = seen.target.shape[:2]
    step = max(1, _AT_ONCE // length)
    for begin in range(0, count, step):
        each()
        part = slice(begin, begin + step)
        with torch.inference_mode():
            forecast, _ = module(seen.features[part], seen.experts[part])
            nll.append(student_t_nll(forecast, seen.target[part])[:, UNSCORED:, 0])
            missed.append((seen.target[part] - forecast.location).abs()[:, UNSCORED:, 0])
    return torch.cat(nll).double().numpy(), torch.cat(missed).double().numpy()


def _block_means(nll: Floats, known: Flags) -> Floats:
    """(K,) mean of each block of a piece in which anything is known."""
    begins = np.arange(0, nll.shape[1], _BLOCK)
    counts = np.add.reduceat(known, begins, axis=1, dtype=np.intp)
    sums = np.add.reduceat(np.where(known, nll, 0.0), begins, axis=1)
    return np.asarray(sums[counts > 0] / counts[counts > 0])


def _alarms(
    champion: NextStep,
    challenger: NextStep,
    plant: Plant,
    held: Sequence[Segment],
    rules: GateRules,
    metrics: dict[str, float],
    each: Callable[[], None],
) -> str:
    # One after the other, and no more of them than is needed: their readings are many.
    old = len(rehearse(champion, plant, held, each).raised)
    new, promised = _raised(rehearse(challenger, plant, held, each))
    metrics |= {"alarms": float(new), "alarms_champion": float(old), "alarms_promised": promised}
    if poisson_tail(new, max(float(old), promised)) >= rules.doubt:
        return ""
    return (
        f"{new} alarms on held-out readings; the champion raises {old}, promised are {promised:.2g}"
    )


def _raised(run: Rehearsed) -> tuple[int, float]:
    return len(run.raised), run.promised


def _incidents(
    before: Sequence[NextStep],
    challenger: NextStep,
    plant: Plant,
    incidents: Sequence[Incident],
    rules: GateRules,
    metrics: dict[str, float],
    each: Callable[[], None],
) -> str:
    lost, shrunk, learnt = [], [], []
    networks = [*before, challenger]
    readings = [case.segments for case in incidents]
    sights = [
        _sights(rehearse_each(network, plant, readings, each), incidents) for network in networks
    ]
    told = _told(before, challenger, incidents, each)
    for at, case in enumerate(incidents):
        *old, new = (seen[at] for seen in sights)
        was = max(each.peak for each in old)
        words = f"{case.alert} (score {was:.2f} => {new.peak:.2f})"
        if any(each.found for each in old) and new.loses(was, rules):
            lost.append(words)
        if new.shrinks(was, rules):
            shrunk.append(words)
        gains = [gain.gain for gain in told[at] if gain.is_learnt(rules)]
        if gains:
            learnt.append(f"{case.alert} ({max(gains):+.2f} nats)")
    metrics |= {
        "incidents": float(len(incidents)),
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


def _known(incidents: Sequence[Incident], plant: Plant) -> tuple[list[Incident], list[str]]:
    """Those whose own channel the plant has, without others of its asset that are gone; and the
    alerts of the rest."""
    known, unknown = [], []
    for case in incidents:
        left = [segment for segment in case.segments if segment.channel in plant.channels]
        if any(segment.channel == case.channel for segment in left):
            known.append(replace(case, segments=left))
        else:
            unknown.append(case.alert)
    return known, unknown


class Sight(NamedTuple):
    """What a network makes of an incident, on the channel that raised the alert."""

    found: bool
    """an alert is raised in it"""
    peak: float
    """the highest score in it"""

    def loses(self, was: float, rules: GateRules) -> bool:
        """It doesn't find what others do, whose highest score was that; nearly the score of an
        incident that they find only just is no loss."""
        return not self.found and not self.peak >= rules.score_alike * was

    def shrinks(self, was: float, rules: GateRules) -> bool:
        """Its highest score is much lower than theirs, which was an alert's."""
        return was >= 1.0 and not self.peak >= rules.score_kept * was


def _sights(runs: Sequence[Rehearsed], cases: Sequence[Incident]) -> list[Sight]:
    return [_sight(run, case) for run, case in zip(runs, cases, strict=True)]


def _sight(run: Rehearsed, case: Incident) -> Sight:
    found = any(
        name == case.channel and case.start_s <= at <= case.end_s for name, at in run.raised
    )
    during = (run.times >= case.start_s) & (run.times <= case.end_s)
    during &= run.rows == run.channels.index(case.channel)
    return Sight(found, float(np.fmax.reduce(run.score[during], initial=0.0)))


class _Told(NamedTuple):
    """How much better a challenger foretells an incident; nats a reading."""

    gain: float
    """in the incident"""
    gain_before: float
    surprise: float
    """by which the incident surprises the older network more than what came before"""
    readings: int
    """in the incident"""

    def is_learnt(self, rules: GateRules) -> bool:
        # The fewer the readings, the more their mean varies.
        wider = math.sqrt(max(1.0, _MANY_READINGS / self.readings))
        if self.gain - self.gain_before > rules.incident_excess * wider:
            return self.gain > 0.0
        return (
            self.surprise > rules.surprise * wider
            and self.gain > rules.incident_gain * wider
            and self.gain > rules.incident_share * self.gain_before
        )


def _told(
    before: Sequence[NextStep],
    challenger: NextStep,
    cases: Sequence[Incident],
    each: Callable[[], None] = lambda: None,
) -> list[list[_Told]]:
    """Of each case, beside each of the older networks; the channel that raised the alert alone.
    Nothing where there is nothing to compare."""
    networks = [*before, challenger]
    found = [(np.zeros((len(networks), 0)), np.zeros(0)) for _ in cases]
    for at, times, loss in _case_losses(networks, cases, each):
        known, seen = found[at]
        found[at] = np.concatenate((known, loss), axis=1), np.concatenate((seen, times))
    return [_compare(case, *losses) for case, losses in zip(cases, found, strict=True)]


def _case_losses(
    networks: Sequence[NextStep], cases: Sequence[Incident], each: Callable[[], None]
) -> Iterator[tuple[int, Floats, Floats]]:
    """Case, times (T,) and losses (networks, T) of each of its segments, side by side."""
    segments = [
        (at, segment)
        for at, case in enumerate(cases)
        for segment in case.segments
        if segment.channel == case.channel and segment.times.size > UNSCORED + 1
    ]
    for pack in _packs(segments):
        seen = lessons([_all_learnt(segment) for _, segment in pack], each)
        loss = np.stack([_missed(network, seen, each)[0] for network in networks])
        for place, (at, segment) in enumerate(pack):
            times = segment.times[UNSCORED + 1 :]
            yield at, times, loss[:, place, : times.size]


def _packs(segments: Sequence[tuple[int, Segment]]) -> Iterator[list[tuple[int, Segment]]]:
    """Those about as long as each other together, with so many readings that memory is bounded."""
    pack: list[tuple[int, Segment]] = []
    for each in sorted(segments, key=lambda each: each[1].times.size):
        if pack and (len(pack) + 1) * each[1].times.size > _PACKED:
            yield pack
            pack = []
        pack.append(each)
    if pack:
        yield pack


def _all_learnt(segment: Segment) -> Cut:
    learnt = np.ones_like(segment.learnt)
    return Cut(segment.channel, segment.times, segment.values, learnt)


def _compare(case: Incident, loss: Floats, at: Floats) -> list[_Told]:
    """`loss` (networks, T), the challenger's last; `at` (T,) the times."""
    during = (at >= case.start_s) & (at <= case.end_s)
    if not during.any() or during.all():
        return []
    within, earlier = loss[:, during].mean(axis=1), loss[:, ~during].mean(axis=1)
    return [
        _Told(
            float(old - within[-1]),
            float(old_before - earlier[-1]),
            float(old - old_before),
            int(during.sum()),
        )
        for old, old_before in zip(within[:-1], earlier[:-1], strict=True)
    ]
