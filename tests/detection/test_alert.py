"""The alert states' rules: debounce, hysteresis, quarantine; an alert is raised once and cleared
once, and a channel that can't be scored changes nothing."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from anomalyd.detection.alert import AlertRules, AlertStates
from anomalyd.detection.reading import Kind, State

ONE = np.array([0])
RULES = AlertRules(
    pending_readings=3,
    clear_below=0.8,
    clear_readings=4,
    update_every_s=60.0,
    accept_after_s=100.0,
    critical_score=2.0,
)
NAN = float("nan")
RAISED, UPDATED, CLEARED, NOTHING = "raised", "updated", "cleared", ""

Scores = list[float]


def advance(
    states: AlertStates, time_s: float, score: float, kind: Kind = Kind.RESIDUAL
) -> tuple[str, State]:
    """What one reading leads to."""
    scores, kinds = np.array([score]), np.array([kind], dtype=np.int8)
    changed = states.advance(ONE, np.array([time_s]), scores, kinds, np.isnan(scores))
    flags = {RAISED: changed.raised, UPDATED: changed.updated, CLEARED: changed.cleared}
    told = [name for name, flag in flags.items() if flag[0]]
    assert len(told) <= 1
    return (told or [NOTHING])[0], State(states.states(ONE)[0])


def live(
    scores: Scores, rules: AlertRules = RULES, every_s: float = 1.0
) -> tuple[list[str], list[State]]:
    """What readings with these scores lead to."""
    states = AlertStates(1, rules)
    told = [advance(states, every_s * at, score) for at, score in enumerate(scores)]
    return [transition for transition, _ in told], [state for _, state in told]


def firing(rules: AlertRules = RULES, score: float = 1.5) -> AlertStates:
    """A channel whose alert was raised at time 0."""
    states = AlertStates(1, rules)
    for back in reversed(range(rules.pending_readings)):
        told = advance(states, -float(back), score)
    assert told == (RAISED, State.FIRING)
    return states


def test_enough_high_scores_in_a_row_raise() -> None:
    """A score of 1 makes a channel pending, `pending_readings` of them in a row make it fire."""
    told, states = live([0.5, 1.0, 1.0, 0.99, 1.0, 1.0, 1.0])
    assert [NOTHING] * 6 + [RAISED] == told
    pending, normal = State.PENDING, State.NORMAL
    assert [normal, pending, pending, normal, pending, pending, State.FIRING] == states


def test_one_high_score_raises_where_one_is_enough() -> None:
    """With `pending_readings` = 1 nothing is ever pending."""
    told, states = live([0.5, 1.0], replace(RULES, pending_readings=1))
    assert [NOTHING, RAISED] == told
    assert [State.NORMAL, State.FIRING] == states


def test_enough_low_scores_in_a_row_clear() -> None:
    """An alert ends when the score has stayed below `clear_below` for `clear_readings`; a score
    between that and 1 neither raises nor clears."""
    low, between = 0.79, 0.8
    scores = [2.0] * 3 + [low] * 3 + [between] + [low] * 4
    told, states = live(scores)
    assert [NOTHING] * 2 + [RAISED] + [NOTHING] * 7 + [CLEARED] == told
    assert [State.FIRING] * 8 + [State.NORMAL] == states[2:]
    assert [State.NORMAL] * 9 == live([between] * 9)[1]


def test_what_cleared_can_be_raised_again() -> None:
    """The next alert needs as many high scores as the first."""
    told, _ = live([2.0] * 3 + [0.1] * 4 + [2.0] * 3)
    assert [NOTHING] * 2 + [RAISED] + [NOTHING] * 3 + [CLEARED] + [NOTHING] * 2 + [RAISED] == told


def test_a_reading_that_is_not_scored_changes_nothing() -> None:
    """A pending or firing channel waits where it is; its counts are neither broken nor moved."""
    told, states = live([1.0, NAN, 1.0, NAN, 1.0, 0.1, NAN, 0.1, NAN, 0.1, NAN, 0.1])
    assert [NOTHING] * 4 + [RAISED] + [NOTHING] * 6 + [CLEARED] == told
    pending, firing = State.PENDING, State.FIRING
    assert [pending] * 4 + [firing] * 7 + [State.NORMAL] == states


def test_a_channel_at_rest_that_is_not_scored_is_warming() -> None:
    """Warming and normal differ only in whether the last reading could be scored."""
    assert [State.WARMING, State.NORMAL, State.WARMING] == live([NAN, 0.5, NAN])[1]


SCORES = st.lists(st.sampled_from([NAN, 0.0, 0.5, 0.79, 0.8, 0.99, 1.0, 1.5, 5.0]), max_size=60)


@settings(derandomize=True, database=None, deadline=None)
@given(SCORES, st.integers(1, 4), st.integers(1, 4))
def test_an_alert_is_raised_once_and_cleared_once(
    scores: Scores, pending_readings: int, clear_readings: int
) -> None:
    """Whatever the scores: raised and cleared alternate, updates lie between them, only a high
    score raises, only a low one clears, and the state is firing from raise to clear alone."""
    rules = replace(
        RULES,
        pending_readings=pending_readings,
        clear_readings=clear_readings,
        update_every_s=5.0,
    )
    under = False
    for score, transition, state in zip(scores, *live(scores, rules), strict=True):
        assert transition in ((UPDATED, CLEARED, NOTHING) if under else (RAISED, NOTHING))
        assert score >= 1.0 or transition != RAISED
        assert score < 0.8 or transition != CLEARED
        under = transition == RAISED or (under and transition != CLEARED)
        assert under == (state == State.FIRING)


def test_a_firing_alert_is_updated_now_and_then() -> None:
    """While nothing else happens an update comes every `update_every_s`; what can't be scored has
    nothing to tell, so it waits for the next reading that can."""
    states = firing(replace(RULES, accept_after_s=1000.0))
    times = range(1, 151)
    told = [advance(states, at, NAN if 100 < at <= 130 else 1.5)[0] for at in times]
    assert [60, 131] == [at for at, each in zip(times, told, strict=True) if each == UPDATED]


def test_another_kind_of_fault_is_an_update() -> None:
    """An alert tells its newest kind, at once; a low score has no kind."""
    states = firing()
    assert advance(states, 1.0, 1.2, Kind.STUCK)[0] == UPDATED
    assert [Kind.STUCK] == states.kinds(ONE).tolist()
    assert advance(states, 2.0, 0.1, Kind.NONE)[0] == NOTHING
    assert [Kind.STUCK] == states.kinds(ONE).tolist()


def test_an_alert_that_gets_worse_is_updated_at_once() -> None:
    """It is critical from `critical_score` on, and stays so until it clears."""
    states = firing()
    assert [False] == states.critical(ONE).tolist()
    assert advance(states, 1.0, 2.0)[0] == UPDATED
    assert advance(states, 2.0, 3.0)[0] == NOTHING
    assert advance(states, 3.0, 0.1)[0] == NOTHING
    assert [True] == states.critical(ONE).tolist()


def test_the_next_alert_is_critical_only_if_it_is() -> None:
    """What the last alert reached is forgotten with it."""
    states = firing(score=9.0)
    assert [True] == states.critical(ONE).tolist()
    for at in range(RULES.clear_readings):
        advance(states, 1.0 + at, 0.1)
    for at in range(RULES.pending_readings):
        advance(states, 10.0 + at, 1.5)
    assert [False] == states.critical(ONE).tolist()


def quarantined(states: AlertStates, time_s: float) -> bool:
    return bool(states.quarantined(ONE, np.array([time_s]))[0])


def test_readings_under_alert_are_quarantined() -> None:
    """From the first pending reading to the clear, a channel's readings say nothing of normal."""
    states = AlertStates(1, RULES)
    for at, (score, under) in enumerate([(0.5, False)] + [(1.5, True)] * 3 + [(0.1, True)] * 3):
        advance(states, at, score)
        assert under == quarantined(states, at)
    assert advance(states, 7.0, 0.1)[0] == CLEARED
    assert not quarantined(states, 7.0)


def test_what_lasts_is_accepted() -> None:
    """`accept_after_s` after it began, pending readings included, a condition is learnt from."""
    states = firing()
    began_s = 1.0 - RULES.pending_readings
    assert quarantined(states, began_s + 99.9)
    assert not quarantined(states, began_s + 100.0)


def test_an_acceptance_is_told_once() -> None:
    """As an update, with the first reading that counts as the new normal; a later alert has its
    own."""
    states, told = firing(), []
    began_s = 1.0 - RULES.pending_readings
    scores = [1.5] * 250 + [0.0] * 10 + [1.5] * 150
    for second, score in enumerate(scores):
        time_s, scored = np.array([began_s + second + 3.0]), np.array([score])
        kinds = np.array([Kind.RESIDUAL], dtype=np.int8)
        changed = states.advance(ONE, time_s, scored, kinds, np.isnan(scored))
        assert changed.updated[0] or not changed.accepted[0]
        told += [float(time_s[0] - began_s)] if changed.accepted[0] else []
    assert [100.0, 263.0 + 100.0] == told


def test_what_is_called_a_fault_is_never_accepted() -> None:
    """And is none any more where that was taken back; its end is told."""
    states = firing()
    states.judge(ONE, fault=True)
    assert quarantined(states, 1e6)
    assert [False] == states.advance(
        ONE, np.array([1e6]), np.array([1.5]), np.zeros(1, dtype=np.int8), np.zeros(1, np.bool_)
    ).accepted.tolist()
    states.judge(ONE, fault=False)
    assert not quarantined(states, 1e6)
    states.judge(ONE, fault=True)
    over = [
        states.advance(
            ONE,
            np.array([1e6 + at]),
            np.zeros(1),
            np.zeros(1, dtype=np.int8),
            np.zeros(1, np.bool_),
        ).faults_over[0]
        for at in range(1, RULES.clear_readings + 3)
    ]
    assert [at == RULES.clear_readings for at in range(1, len(over) + 1)] == over


def lasting_after(states: AlertStates, time_s: float) -> bool:
    """Whether what has lasted for longer than `accept_after_s` since then teaches nothing."""
    for at in range(20):
        advance(states, time_s + at, 1.5 * (at > 10))
    lasts = quarantined(states, time_s + 150.0)
    for at in range(20):
        advance(states, time_s + 200.0 + at, 0.0)
    return lasts


def test_what_is_called_no_fault_is_accepted_at_once() -> None:
    """Also after a fault on that channel; and that alone, the next one has to last again."""
    states = firing()
    states.remember(ONE, np.zeros(1))
    states.judge(ONE, fault=False)
    assert not quarantined(states, 2.0)
    kinds, scored = np.zeros(1, dtype=np.int8), np.zeros(1, dtype=np.bool_)
    changed = states.advance(ONE, np.array([2.0]), np.array([1.5]), kinds, scored)
    assert [True] == changed.accepted.tolist()
    assert [True] == states.waived(ONE).tolist()
    for at in range(3, 20):
        advance(states, float(at), 0.0)
    for at in range(20, 30):
        advance(states, float(at), 1.5)
    assert [State.FIRING] == states.states(ONE).tolist()
    assert [False] == states.waived(ONE).tolist()
    assert quarantined(states, 31.0)


def test_what_showed_in_the_channel_itself_is_its_own_whatever_comes_after() -> None:
    """Its kind may change while it stands; the next alert says nothing of the last."""
    for first, then, own in (
        (Kind.RESIDUAL, Kind.RELATION, True),
        (Kind.RELATION, Kind.RESIDUAL, True),
        (Kind.RELATION, Kind.RELATION, False),
    ):
        states = AlertStates(1, RULES)
        for at in range(20):
            advance(states, float(at), 1.5, first if at < 8 else then)
        assert [own] == states.own(ONE).tolist()
        for at in range(20, 40):
            advance(states, float(at), 1.5 * (at > 30), Kind.RELATION)
        assert [State.FIRING] == states.states(ONE).tolist()
        assert [False] == states.own(ONE).tolist()


def test_a_month_after_a_fault_nothing_is_accepted() -> None:
    """After its end, or the time that is remembered, until that is taken back."""
    states = firing()
    states.judge(ONE, fault=True)
    for at in range(RULES.clear_readings):
        advance(states, 1e6 + at, 0.0)
    assert lasting_after(states, 1e6 + 29 * 86400.0)
    assert not lasting_after(states, 1e6 + 31 * 86400.0)
    states.remember(ONE, np.array([1e7]))
    assert lasting_after(states, 1e7)
    states.remember(ONE, np.array([-np.inf]))
    assert not lasting_after(states, 1e7 + 1e3)


def test_a_channel_that_is_forgotten_begins_anew() -> None:
    """A reset ends everything that stood, without a transition."""
    states = firing()
    states.reset(ONE)
    assert [State.WARMING] == states.states(ONE).tolist()
    assert not quarantined(states, 0.0)
    assert (NOTHING, State.PENDING) == advance(states, 1.0, 1.5)


@pytest.mark.parametrize("cut", [1, 2, 5])
def test_channels_advance_each_for_itself(cut: int) -> None:
    """Channels in one batch get what they would get alone."""
    scores = np.random.default_rng(cut).uniform(0.0, 1.6, (200, 5))
    rules = replace(RULES, pending_readings=2, clear_readings=2, update_every_s=30.0)
    together = AlertStates(5, rules)
    states: list[NDArray[np.int8]] = []
    for at, each in enumerate(scores):
        kinds = np.full(5, Kind.RESIDUAL, dtype=np.int8)
        for rows in np.array_split(np.arange(5), cut):
            times = np.full(rows.size, float(at))
            together.advance(rows, times, each[rows], kinds[rows], np.zeros(rows.size, np.bool_))
        states.append(together.states(np.arange(5)))
    alone = [live(column.tolist(), rules)[1] for column in scores.T]
    assert np.array_equal(np.array(alone), np.array(states).T)


def test_a_channel_in_maintenance_raises_and_teaches_nothing() -> None:
    """Until it is over; then it is judged again."""
    states = AlertStates(1, RULES)
    states.maintain(ONE, 10.0)
    advance(states, 5.0, 9.0)
    assert quarantined(states, 5.0)
    assert State.MAINTENANCE == states.shown(ONE, np.array([5.0]))[0]
    assert State.NORMAL == states.shown(ONE, np.array([10.0]))[0]
    assert not quarantined(states, 10.0)


def test_maintenance_leaves_an_open_alert_open() -> None:
    states = firing()
    states.maintain(ONE, 1e9)
    for at in range(20, 99):
        advance(states, float(at), 0.0)
    assert State.FIRING == states.shown(ONE, np.array([99.0]))[0]


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.lists(st.sampled_from([0.1, 0.9, 1.5, 2.5, NAN]), min_size=6, max_size=6),
        min_size=1,
        max_size=40,
    )
)
def test_channels_change_together_as_they_would_alone(scores: list[Scores]) -> None:
    """Those under alert, those that rest, and those that can't be scored, in one go."""
    rows = np.arange(6)
    together, alone = AlertStates(6, RULES), AlertStates(6, RULES)
    for states in (together, alone):
        states.maintain(rows[:1], 20.0)
        states.judge(rows[1:2], fault=True)
    for at, row_scores in enumerate(scores):
        found, times = np.array(row_scores), np.full(6, 10.0 * at)
        kinds = np.full(6, Kind.RESIDUAL, dtype=np.int8)
        changed = together.advance(rows, times, found, kinds, np.isnan(found))
        for row in rows:
            one = slice(row, row + 1)
            own = alone.advance(rows[one], times[one], found[one], kinds[one], np.isnan(found[one]))
            assert [flags[row] for flags in changed] == [flags[0] for flags in own]
        for column, other in zip(vars(together).values(), vars(alone).values(), strict=True):
            assert np.array_equal(column, other)
        learns = together.quarantined(rows, times)
        assert learns.tolist() == [
            bool(alone.quarantined(rows[row : row + 1], times[:1])[0]) for row in rows
        ]
