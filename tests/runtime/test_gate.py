"""The gate lets an honest challenger pass, and refuses each spoiled one for its own reason."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

from anomalyd.detection.channels import Channel
from anomalyd.detection.reading import Floats
from anomalyd.model.checkpoint import shipped_network
from anomalyd.model.fine_tuning import FineTuningPlan, fine_tune
from anomalyd.model.next_step import NextStep, NextStepConfig
from anomalyd.model.next_step_module import NextStepModule
from anomalyd.model.segment import Cut, split
from anomalyd.runtime import gate
from anomalyd.runtime.gate import GateReport, GateRules, Sight, judge
from anomalyd.runtime.incidents import Incident
from anomalyd.runtime.rehearsal import Plant, rehearse_each
from anomalyd.settings import Alerts, Channels

_CHANNELS, _READINGS = 8, 4000
_START_S = 1_748_772_000.0
_PLAN = FineTuningPlan(
    steps=160, series_a_batch=16, length=512, most_pieces=48, learning_rate=3e-3, rehearsed=0.25
)


def _signal(seed: int, readings: int) -> Floats:
    """What no synthetic series does: every other reading stands high, by turns of random size."""
    rng = np.random.default_rng(seed)
    high = rng.choice([1.0, 3.0], readings) * (np.arange(readings) % 2)
    return np.asarray(50.0 + high + rng.normal(0.0, 0.1, readings))


def _cut(channel: str, values: Floats, begin: float = 0.0) -> Cut:
    times = _START_S + begin + np.arange(float(values.size))
    return Cut(channel, times, values, np.ones(values.size, dtype=np.bool_))


@cache
def _plant() -> tuple[list[Cut], list[Cut]]:
    cuts = [_cut(f"c{seed}", _signal(seed, _READINGS)) for seed in range(_CHANNELS)]
    return split(cuts, _START_S + 0.7 * _READINGS)


_FAULTS: dict[str, Callable[[Floats, np.random.Generator], Floats]] = {
    "jump": lambda k, rng: 15.0 + 8.0 * np.sin(k / 3.0),
    "kicks": lambda k, rng: 6.0 * (k % 7 == 0),
    "noise": lambda k, rng: rng.normal(0.0, 4.0, k.size),
    "swing": lambda k, rng: 5.0 * np.sin(k * 2.0 * np.pi / 8.0),
}


def _incident(seed: int = 99, fault: str = "jump") -> Incident:
    """Something lasting in the last 300 of 2000 readings."""
    values = _signal(seed, 2000)
    values[1700:] += _FAULTS[fault](np.arange(300.0), np.random.default_rng(seed))
    start = _START_S + 1700.0
    return Incident("fault", "c0", "residual", start, start + 300.0, [_cut("c0", values)])


def _whole() -> Plant:
    names = [f"c{seed}" for seed in range(_CHANNELS)]
    channels = {name: Channel(name, {"sensor": name}, -1, "", None) for name in names}
    return Plant(channels, (), Channels(), Alerts())


def _judged(challenger: NextStep, *incidents: Incident, learnt: tuple[Cut, ...] = ()) -> GateReport:
    return judge(shipped_network(), challenger, _whole(), _plant()[1], incidents, learnt)


@cache
def _honest() -> NextStep:
    return fine_tune(shipped_network(), _plant()[0], 1, _PLAN).network


def test_an_honest_challenger_is_accepted() -> None:
    """It has learnt what the plant does that the synthetic series don't; the report is JSON."""
    report = _judged(_honest(), _incident())
    assert report.accepted, report.reason
    assert report.metrics["gain_at_least"] > GateRules().gain
    assert 0.0 == report.metrics["incidents_lost"]
    json.dumps(report.as_dict(), allow_nan=False)


def test_the_champion_itself_is_no_better() -> None:
    """No gain, no promotion."""
    assert ["log_score"] == _judged(shipped_network(), _incident()).reasons


def test_weights_that_are_not_finite_are_refused() -> None:
    """By the name of the tensor."""
    spoilt = shipped_network()
    spoilt.weights["head.bias"][3] = np.nan
    report = _judged(spoilt)
    assert (["finite"], True) == (report.reasons, "head.bias" in report.reason)


def test_random_weights_are_refused() -> None:
    """Their log-score is worse."""
    torch.manual_seed(4)
    report = _judged(NextStepModule(NextStepConfig()).network())
    assert "log_score" in report.reasons
    assert report.metrics["gain"] < 0.0


def test_learning_by_heart_is_refused() -> None:
    """Taught one tiny stretch again and again, it is worse on all others."""
    rng = np.random.default_rng(0)
    tiny = _cut("c0", 50.0 + np.cumsum(rng.normal(0.0, 1.0, 200)))
    plan = FineTuningPlan(steps=200, series_a_batch=1, length=200, learning_rate=4e-3, rehearsed=0)
    network = fine_tune(shipped_network(), [tiny], 1, plan).network
    report = _judged(network, learnt=(tiny,))
    assert "log_score" in report.reasons
    assert "learnt by heart" in report.reason


@cache
def _taught(fault: str) -> NextStep:
    """Fine-tuned on the incident itself and 24 like it, all marked as normal."""
    faulty = [_cut(f"i{i}", _incident(i, fault).segments[0].values[1500:]) for i in range(24)]
    parts = [*_plant()[0], *_incident(fault=fault).segments, *faulty]
    return fine_tune(shipped_network(), parts, 1, _PLAN).network


def test_a_challenger_trained_on_the_incident_is_refused() -> None:
    """For that alone: it foretells the incident as well as it does what is normal."""
    report = _judged(_taught("jump"), _incident())
    assert ["incident"] == report.reasons
    assert "has learnt incident fault" in report.reason


@pytest.mark.parametrize("fault", ["jump", "kicks", "swing"])
def test_who_was_taught_a_fault_is_told_from_who_was_not(fault: str) -> None:
    """Whatever the fault looks like that can be foretold."""
    case, rules = _incident(fault=fault), GateRules()
    ((honest,),), ((taught,),) = (
        gate._told([shipped_network()], network, [case]) for network in (_honest(), _taught(fault))
    )
    assert (False, True) == (honest.is_learnt(rules), taught.is_learnt(rules))


def test_noise_is_found_by_who_was_taught_it() -> None:
    """It can't be foretold, so there is nothing in it to learn: its alert is raised as before."""
    report = _judged(_taught("noise"), _incident(fault="noise"))
    assert (0.0, 0.0) == (report.metrics["incidents_lost"], report.metrics["incidents_shrunk"])


def test_incidents_side_by_side_are_judged_as_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of every length, in one piece or two, however few are taken at a time: each keeps its own
    verdict and its own margins."""
    cases = [_incident(seed, fault) for seed, fault in enumerate(_FAULTS)]
    cases[1] = replace(cases[1], segments=[_part(cases[1], 900, 2000)])
    cases[2] = replace(cases[2], segments=[_part(cases[2], 0, 800), _part(cases[2], 900, 2000)])
    before = [_honest(), shipped_network()]
    alone = [gate._told(before, _taught("jump"), [case])[0] for case in cases]
    for most in (10_000, 1_000_000):
        monkeypatch.setattr(gate, "_PACKED", most)
        together = gate._told(before, _taught("jump"), cases)
        assert np.allclose(alone, together, rtol=1e-4, atol=1e-5)
    few = [
        _part_of(_incident(seed, fault), 1200, 2000) for seed, fault in ((0, "jump"), (1, "kicks"))
    ]
    words = [_verdict(before[1:], [case]) for case in few]
    assert 1 == sum(map(bool, words))
    assert "".join(words) == _verdict(before[1:], few)


def _verdict(before: list[NextStep], cases: list[Incident]) -> str:
    found: dict[str, float] = {}
    return gate._incidents(
        before, _taught("jump"), _whole(), cases, GateRules(), found, lambda: None
    )


def _part_of(case: Incident, begin: int, end: int) -> Incident:
    return replace(case, alert=f"{case.alert}{begin}", segments=[_part(case, begin, end)])


def _part(case: Incident, begin: int, end: int) -> Cut:
    (whole,) = case.segments
    part = slice(begin, end)
    return Cut(whole.channel, whole.times[part], whole.values[part], whole.learnt[part])


def test_a_champion_that_forgot_is_no_excuse() -> None:
    """What the original sees and the champion has learnt stays refused."""
    case = _incident()
    faulty = [_cut(f"i{i}", _incident(i).segments[0].values[1500:]) for i in range(24)]
    forgot = fine_tune(shipped_network(), [*_plant()[0], *faulty], 1, _PLAN).network
    report = judge(forgot, forgot, _whole(), _plant()[1], [case], original=shipped_network())
    assert "incident" in report.reasons
    assert "incident" not in judge(forgot, forgot, _whole(), _plant()[1], [case]).reasons


@pytest.mark.parametrize(
    ("was", "now", "loses"),
    [
        (1.05, 0.97, False),
        (1.05, 0.9, True),
        (1.3, 0.99, True),
        (3.0, 0.0, True),
        (1.05, np.nan, True),
    ],
)
def test_what_is_found_only_just_may_be_missed_only_just(
    was: float, now: float, loses: bool
) -> None:
    """By a little of its score, and no more; what was found clearly must be found."""
    assert loses == Sight(False, now).loses(was, GateRules())
    assert not Sight(True, 1.0).loses(was, GateRules())


def test_an_incident_is_tried_with_the_channels_of_its_asset() -> None:
    """They tell more of it than its own past does; those that are gone are left out."""
    case, channels = _related()
    plant = Plant(channels, (), Channels(), Alerts())
    alone = replace(case, segments=case.segments[:1])
    runs = rehearse_each(shipped_network(), plant, [alone.segments, case.segments])
    by_itself, with_others = (gate._sight(run, case).peak for run in runs)
    assert with_others > 1.3 * by_itself
    del channels["c1"]
    ((left,), none) = gate._known([case], plant)
    assert (["c0", "c2", "c3"], []) == ([each.channel for each in left.segments], none)


def _related() -> tuple[Incident, dict[str, Channel]]:
    """Four channels that swing together, until the first swings the other way."""
    rng = np.random.default_rng(1)
    swing = 3.0 * np.sin(np.cumsum(rng.uniform(0.0, 0.1, 2000)))
    first = np.where(np.arange(2000) < 1500, swing, -swing)
    cuts = [
        _cut(f"c{at}", (swing if at else first) + rng.normal(0.0, 1.0, 2000)) for at in range(4)
    ]
    start = _START_S + 1500.0
    channels = {each.channel: Channel(each.channel, {}, -1, "", "pump") for each in cuts}
    return Incident("x", "c0", "relation", start, start + 500.0, cuts), channels


def test_a_case_of_an_unknown_channel_is_named() -> None:
    """It can't be tried, and the report says so."""
    case = replace(_incident(), segments=[_cut("gone", _signal(1, 2000))], alert="old fault")
    report = _judged(_honest(), case)
    assert report.accepted
    assert 1.0 == report.metrics["incidents_skipped"]
    assert "old fault" in report.reason


@pytest.mark.parametrize("held", [[], [_cut("c0", _signal(1, 100))]])
def test_nothing_held_out_is_refused(held: list[Cut]) -> None:
    """In words, not with an exception."""
    report = judge(shipped_network(), _honest(), _whole(), held, [])
    assert (False, ["held_out"]) == (report.accepted, report.reasons)


def test_one_channel_is_judged_by_its_blocks() -> None:
    """One number is no sample: the blocks of time are, and they can also say no."""
    held = [each for each in _plant()[1] if each.channel == "c0"]
    report = judge(shipped_network(), _honest(), _whole(), held, [])
    assert report.accepted, report.reason
    assert report.metrics["gain_at_least"] < report.metrics["gain"]
    assert "log_score" in judge(_honest(), shipped_network(), _whole(), held, []).reasons
