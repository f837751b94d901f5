"""The one way that a reading travels: window, prediction, residual, score, alert state.

`step` is synchronous and has no clock: the daemon's pipeline thread and `replay` call the same
function, and a batch gives the same verdicts as its readings one by one. The pipeline owns all
columns and is touched by one thread alone, so there are no locks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from anomalyd.adapters.outbox import Window
from anomalyd.detection import columns
from anomalyd.detection.alert import AlertRules, AlertStates
from anomalyd.detection.cadence import Beat, Cadence
from anomalyd.detection.channels import Channel, ChannelTable
from anomalyd.detection.drift import Drift
from anomalyd.detection.experts import Beats
from anomalyd.detection.possible import Possible
from anomalyd.detection.probation import KNOWN_S, LEAST_READINGS, Probation, Shown
from anomalyd.detection.quality import Stillness
from anomalyd.detection.reading import (
    KIND_NAMES,
    LARGEST_VALUE,
    NOTHING,
    STATE_NAMES,
    Codes,
    Flags,
    Floats,
    Kind,
    Readings,
    Rows,
    State,
    Verdicts,
)
from anomalyd.detection.reference import Held
from anomalyd.detection.relation import Relations
from anomalyd.detection.rounds import rounds
from anomalyd.detection.score import WEEK_S, Look, Scorer
from anomalyd.detection.sustained import SHARE, Astray, Sustained
from anomalyd.detection.views import Expected
from anomalyd.detection.window import Windows
from anomalyd.model.asset import AssetNetwork
from anomalyd.model.asset_predictor import AssetPredictor
from anomalyd.model.forecaster import Forecaster
from anomalyd.model.predictor import NextStepPredictor, Predictor
from anomalyd.runtime.alerts import Alert
from anomalyd.runtime.asset_shadow import AssetShadow
from anomalyd.runtime.assets import Assets
from anomalyd.runtime.limits import LimitWatch
from anomalyd.runtime.maintenance import until_s
from anomalyd.runtime.open_alerts import OpenAlerts
from anomalyd.runtime.predictors import Predictors
from anomalyd.runtime.shadow import Round, Shadow
from anomalyd.runtime.silence_watch import SilenceWatch
from anomalyd.settings import Alerts, Channels, Stream

_STUCK = KIND_NAMES[Kind.STUCK]
# Plain numbers: Python 3.11 looks members of an enumeration up by a call, many times a round.
_WARMING, _NORMAL = int(State.WARMING), int(State.NORMAL)
_PENDING, _FIRING = int(State.PENDING), int(State.FIRING)
_STANDS_STILL, _GAP, _NEXT = int(Kind.STUCK), int(Kind.GAP), int(Expected.NEXT)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a batch led to."""

    verdicts: Verdicts
    alerts: Sequence[Alert]

    @staticmethod
    def of(alerts: Sequence[Alert]) -> Outcome:
        """Alerts that no reading led to."""
        return Outcome(Verdicts.blank(NOTHING), alerts)


class Parts(NamedTuple):
    """Where the pipeline keeps what it learns, for `memory.py`."""

    windows: Windows
    cadence: Cadence
    relations: Relations
    networks: Assets
    limits: LimitWatch
    probation: Probation
    predictors: Sequence[Predictor]
    predictor: NDArray[np.int32]
    """(capacity,) which of them serves each channel"""
    assets: Mapping[str, int]
    """name -> number, of assets in use"""


class Pipeline:
    """All columns of all channels."""

    def __init__(
        self,
        instance: str,
        channels: Channels,
        alerts: Alerts,
        streams: Sequence[Stream],
        predictors: Sequence[Predictor],
        networks: Sequence[AssetPredictor | None] = (),
        forecasters: Sequence[Forecaster | None] = (),
    ) -> None:
        """`predictors`: one for each stream, then the one for channels of no stream. `networks`:
        of the assets of each stream; none, or None: the running covariance serves. `forecasters`:
        one for each stream, None for those without limits."""
        capacity = channels.max
        self._warmup_readings = channels.warmup_readings
        self.table = ChannelTable(capacity)
        self.rejected: Counter[str] = Counter()
        self.rejected_of: dict[str, str] = {}
        """by reason, the channel that was the last"""
        self.readings_scored = 0
        self._rules = alerts
        self._streams = streams
        self.predictors = Predictors(capacity, predictors)
        self._windows = Windows(capacity, channels.window)
        self._cadence = Cadence(capacity, channels.gap_intervals)
        self._stillness = Stillness(capacity)
        self._holds = np.zeros(capacity, dtype=np.bool_)
        self._possible = Possible(capacity)
        self._relations = Relations(capacity)
        self._networks = Assets(capacity, networks)
        self._sustained = Sustained(capacity)
        self._scorer = Scorer(capacity, channels.warmup_readings)
        self._probation = Probation(capacity, channels.warmup_readings)
        self.drift = Drift(capacity)
        self._states = AlertStates(
            capacity,
            _alert_rules(alerts),
        )
        self._score = np.zeros(capacity)
        self._shown = np.full((capacity, 4), np.nan)
        self._maintenance: Sequence[Window] = ()
        self._born_maintained: list[int] = []
        self._faults: Mapping[str, float] = {}
        self.shadow: Shadow | None = None
        """scores beside what serves; None: nothing does"""
        self.asset_shadows: dict[AssetPredictor, AssetShadow] = {}
        """what serves a class of assets -> what scores beside it"""
        self._assets: dict[str, int] = {}
        self._free_assets = list(reversed(range(capacity)))
        self.open_alerts = OpenAlerts(
            instance,
            alerts.runbook_url,
            self.table,
            self._states,
            self._windows,
            self._shares_of,
            self.predictors.name,
        )
        self._limits = LimitWatch(
            instance,
            alerts,
            streams,
            forecasters,
            self.table,
            self._windows,
            self._cadence,
            self.open_alerts.transitions,
        )
        self._silences = SilenceWatch(
            instance,
            alerts,
            self.table,
            self._windows,
            self._cadence,
            self.open_alerts.transitions,
        )

    def change_rules(self, alerts: Alerts) -> None:
        """What is learnt and open stays as it is: the next readings are held to these."""
        self._rules = alerts
        for states in self._all_states():
            states.rules = _alert_rules(alerts)
        self.open_alerts.runbook_url = alerts.runbook_url
        self._limits.change_rules(alerts)
        self._silences.change_rules(alerts)

    # --- channels ---------------------------------------------------------------------------

    def add(self, channel: Channel) -> int | None:
        """Make room for a new channel; its row, or None where there are too many."""
        return self.add_all([channel])[0]

    def add_all(self, channels: Sequence[Channel]) -> Sequence[int | None]:
        """Make room for new channels; their rows, None where there are too many."""
        found = [self.table.add(channel) for channel in channels]
        streams: dict[int, list[int]] = {}
        for row, channel in zip(found, channels, strict=True):
            if row is not None:
                streams.setdefault(channel.stream, []).append(row)
        for index, rows in streams.items():
            self._begin(np.array(rows, dtype=np.intp), index)
        for row, channel in zip(found, channels, strict=True):
            if row is None:
                continue
            if self._maintenance:
                self._maintain(row, channel)
                self._born_maintained.append(row)
            if channel.name in self._faults:
                self._remember([row], [channel.name])
            if channel.asset is not None:
                self._join(row, channel, channel.asset)
        return found

    def _begin(self, rows: Rows, index: int) -> None:
        """New channels of one stream, or of none (-1), have these rows."""
        stream = self._streams[index] if index >= 0 else None
        self.predictors.join(rows, index)
        for part in (
            self._windows, self._stillness, self._scorer, self._states, self._sustained, self.drift
        ):  # fmt: skip
            part.reset(rows)
        holds = stream is not None and stream.report_by_exception
        self._holds[rows] = holds
        bounds = (stream.physical, stream.max_rate) if stream else (None, None)
        self._possible.reset(rows, *bounds)
        self._cadence.reset(rows, (stream.interval_s if stream else None) or 0.0, holds)
        self._probation.end(rows)
        self._score[rows] = self._shown[rows] = np.nan
        self._limits.reset(rows, index)
        if self.shadow is not None:
            self.shadow.reset(rows)
        self._silences.reset(rows, not holds)

    def _join(self, row: int, channel: Channel, name: str) -> None:
        """A new channel is a member of this asset."""
        asset = self._assets.get(name)
        if asset is None:
            asset = self._assets[name] = self._free_assets.pop()
        stream = self._streams[channel.stream] if channel.stream >= 0 else None
        judged = stream is None or channel.member not in stream.inputs
        if not judged:
            self._sustained.excuse(row)
        self._relations.join(row, asset, judged, bool(self._holds[row]))
        for networks in self._all_networks():
            networks.join(row, asset, channel)

    def maintain(self, windows: Sequence[Window]) -> None:
        """These channels are in maintenance, known ones and those to come, and no others."""
        self._maintenance = windows
        for row, channel in self.table.listing():
            self._maintain(row, channel)

    def maintained(self) -> tuple[Rows, Floats]:
        """Rows in use, and until when each is in maintenance; -inf: in none."""
        rows = self.table.rows()
        return rows, self._states.maintained_until(rows)

    def take_born_maintained(self) -> tuple[Rows, Floats]:
        """As `maintained`, of the channels that were added since the last call while anything was
        in maintenance."""
        rows = np.array(self._born_maintained, dtype=np.intp)
        self._born_maintained.clear()
        return rows, self._states.maintained_until(rows)

    def maintain_again(self, rows: Rows, until_s: Floats) -> None:
        """What `maintained` said before a restart."""
        self._states.maintain(rows, until_s)

    def _maintain(self, row: int, channel: Channel) -> None:
        for states in self._all_states():
            states.maintain(np.array([row]), until_s(self._maintenance, channel.name))

    def _all_states(self) -> list[AlertStates]:
        """Of what serves, and of its shadow."""
        return [self._states] if self.shadow is None else [self._states, self.shadow.states]

    def judge(self, name: str, identity: str, fault: bool) -> list[Alert]:
        """Somebody says whether an alert of this channel is a `fault`: as long as it stands it is
        not accepted as normal then, and if it was, it is no longer. What is none is accepted."""
        row = self.table.find(name)
        if row is None:
            return []
        last, standing = self._last(row), self.open_alerts.open.get(row)
        if standing is None or standing.id != identity:
            if fault:
                self._expect_again(last.rows)
            if self._tries(row, identity):
                self._settle(last, fault)
            return []
        for states in self._all_states():
            states.judge(last.rows, fault)
        told = self.open_alerts.stand_again(row, last) if fault else []
        if not fault or self._tries(row, identity):
            self._settle(last, fault)
        return told

    def _tries(self, row: int, identity: str) -> bool:
        """What was accepted of this alert is on probation."""
        raised_s = float(self._probation.raised_s(np.array([row]))[0])
        return raised_s == raised_s and self.open_alerts.identity(row, raised_s) == identity

    def _settle(self, last: Readings, fault: bool) -> None:
        """Somebody knows whether what was accepted on a channel is its new normal."""
        if fault:
            self._put_back(last.rows, last.times)
            return
        self._probation.end(last.rows)
        for states in self._all_states():
            states.beware(last.rows, np.full(1, -np.inf))

    def _put_back(self, rows: Rows, times: Floats) -> None:
        """What was accepted on these channels was no new normal."""
        self.open_alerts.withdraw(rows)
        self._probation.put_back(rows, self._scorer, self._sustained)
        self._expect_again(rows)
        for states in self._all_states():
            states.beware(rows, times)
        if self.shadow is not None:
            columns.copy(self._scorer, self.shadow.scorer, self.table.capacity, rows)

    def remember(self, faults: Mapping[str, float]) -> None:
        """Channel, known or to come -> when it had its last fault, -inf: none is left; of others
        stays what is known."""
        self._faults = {**self._faults, **faults}
        found = {name: row for name in faults if (row := self.table.find(name)) is not None}
        self._remember([*found.values()], [*found])

    def _remember(self, rows: Sequence[int], names: Sequence[str]) -> None:
        faulted_s = np.array([self._faults[name] for name in names], dtype=np.float64)
        for states in self._all_states():
            states.remember(np.array(rows, dtype=np.intp), faulted_s)

    def _expect_again(self, rows: Rows) -> None:
        self._scorer.expect_again(rows)
        if self.shadow is not None:
            self.shadow.scorer.expect_again(rows)

    def _last(self, row: int) -> Readings:
        rows = np.array([row])
        return Readings(rows, self._cadence.last_s(rows), self._windows.last(rows))

    def retire(self, row: int, now_s: float) -> list[Alert]:
        """Forget a channel; an alert that it leaves behind is cleared."""
        rows, cleared = np.array([row]), self._limits.retire(row, now_s)
        last = self._last(row)
        cleared += self.open_alerts.retire(row, last, now_s)
        cleared += self._silences.retire(row, now_s)
        self._relations.leave(rows)
        for networks in self._all_networks():
            networks.leave(row)
        asset = self.table[row].asset
        if asset in self._assets and self._relations.empty(self._assets[asset]):
            self._free_assets.append(self._assets.pop(asset))
        self._states.reset(rows)
        self.table.remove(row)
        return cleared

    @property
    def parts(self) -> Parts:
        """For what saves and restores them, on the pipeline's thread or before it runs."""
        return Parts(
            self._windows,
            self._cadence,
            self._relations,
            self._networks,
            self._limits,
            self._probation,
            self.predictors.each,
            self.predictors.of_row,
            self._assets,
        )

    def _shares_of(self, row: int) -> tuple[Rows, Floats]:
        return self._networks.shares(row) or self._relations.shares(row)

    # --- models -----------------------------------------------------------------------------

    def served(self, index: int) -> Rows:
        """(B,) the channels that this predictor serves."""
        return self.predictors.among(self.table.rows(), index)

    def begin_shadow(self, index: int, predictor: NextStepPredictor) -> None:
        """Let `predictor`, which shares the bank of the one that serves, score beside it."""
        shadow = Shadow(
            self.table.capacity, index, predictor, self._warmup_readings, self._states.rules
        )
        rows = self.served(index)
        shadow.begin(rows, self._scorer, self._states, self.predictors.expected[rows])
        self.shadow = shadow

    def end_shadow(self) -> None:
        """Nothing scores beside what serves."""
        self.shadow = None

    def swap(self) -> None:
        """What serves and its shadow change places: network, what it expected, score baseline.
        Alerts, references, relations and experts stay."""
        shadow = self.shadow
        if shadow is None:
            return
        rows = self.served(shadow.index)
        self.predictors.swap(shadow, rows)
        columns.exchange(self._scorer, shadow.scorer, self.table.capacity, rows)
        shadow.stand(rows, self._states)
        self.drift.reset(rows)

    @property
    def asset_classes(self) -> Mapping[int, AssetPredictor]:
        """Stream -> what serves its assets, of those that have a network."""
        of_stream = enumerate(self._networks.of_stream)
        return {stream: each for stream, each in of_stream if each is not None}

    def seats(self, predictor: AssetPredictor) -> Mapping[str, Sequence[str]]:
        """Asset -> its channels in the order of the network, of those that `predictor` serves."""
        seats = [[self.table[row] for row in rows] for rows in self._networks.seats(predictor)]
        return {str(each[0].asset): [channel.name for channel in each] for each in seats}

    def renew(self, predictor: AssetPredictor, network: AssetNetwork, name: str) -> None:
        """Let another network serve a class of assets, without a trial."""
        self._networks.renew(predictor, network, name)
        self._forget_relations(predictor)

    def _forget_relations(self, predictor: AssetPredictor) -> None:
        """Its residuals are another network's from here on: what was usual among them is not."""
        rows = self._networks.seated(predictor)
        self._scorer.forget_relations(rows)
        if self.shadow is not None:
            self.shadow.scorer.forget_relations(rows)

    def begin_asset_shadow(
        self, predictor: AssetPredictor, network: AssetNetwork, name: str
    ) -> None:
        """Let another network score beside the one that serves a class of assets."""
        other = AssetPredictor(network, name, self.table.capacity)
        self.asset_shadows[predictor] = AssetShadow(self._networks, predictor, other)

    def end_asset_shadow(self, predictor: AssetPredictor) -> None:
        """Nothing scores beside `predictor`."""
        self.asset_shadows.pop(predictor, None)

    def calm(self, predictor: AssetPredictor) -> bool:
        """No channel of the class stands under an alert of its relations."""
        rows = self._networks.seated(predictor)
        under = self._states.states(rows) >= State.PENDING
        return not (under & (self._states.kinds(rows) == Kind.RELATION)).any()

    def swap_assets(self, predictor: AssetPredictor) -> None:
        """What serves a class of assets and its shadow change places."""
        if predictor in self.asset_shadows:
            self.asset_shadows[predictor].swap()
            self._forget_relations(predictor)

    def _all_networks(self) -> list[Assets]:
        """Of what serves, and of what scores beside it."""
        return [self._networks, *(each.assets for each in self.asset_shadows.values())]

    # --- readings ---------------------------------------------------------------------------

    def step(self, readings: Readings, now_s: Floats | float | None = None) -> Outcome:
        """Score a batch of readings in their order of arrival, and learn from it.

        `now_s`: the listener's clock, as in `tick`, of all or (B,); None: the readings' own.
        """
        verdicts = Verdicts.blank(readings)
        alerts: list[Alert] = []
        if len(readings):
            clock_s = readings.times
            if now_s is not None:
                clock_s = np.broadcast_to(now_s, len(readings))
                alerts += self._silences.revive(readings.rows, clock_s)
            groups = self._relations.group(readings.rows)
            for chosen in rounds(readings.rows, groups, self._relations.fits):
                if chosen.size == len(readings):
                    alerts += self._round(readings, chosen, verdicts, clock_s)
                else:
                    taken = readings.take(chosen)
                    alerts += self._round(taken, chosen, verdicts, clock_s[chosen])
        return Outcome(verdicts, alerts)

    def seed(self, readings: Readings) -> None:
        """Old values of channels that have not spoken yet, at most one a channel: the first reading
        is compared with them, and nothing else comes of it."""
        fit = np.abs(readings.values) <= LARGEST_VALUE
        fit &= self._windows.count(readings.rows) == 0
        readings = readings.take(fit)
        rows, times, values = readings.rows, readings.times, readings.values
        new = np.zeros(rows.size, dtype=np.bool_)
        self._cadence.seed(rows, times)
        self._stillness.learn(rows, values, new)
        self._windows.append(rows, times, values, np.full(rows.size, np.nan), new)

    def shift(self, jump_s: float) -> None:
        """The host's clock was set: channels that are timed by it move along."""
        timed = [
            row
            for row, channel in self.table.listing()
            if channel.stream >= 0 and self._streams[channel.stream].time is None
        ]
        rows = np.array(timed, dtype=np.intp)
        self._cadence.shift(rows, jump_s)
        self._probation.shift(rows, jump_s)
        for states in self._all_states():
            states.shift(rows, jump_s)
        self._silences.shift(jump_s)

    def recall_silences(self) -> None:
        """The columns were put back from before a restart."""
        self._silences.recall()

    def tick(self, now_s: float) -> Outcome:
        """Time has passed, on the clock of `step`: who is silent for too long is told, and its
        asset goes on without it."""
        return self.fall_silent(self.overdue(now_s))

    def overdue(self, now_s: float) -> Rows:
        """Channels that are silent for too long, and not told yet."""
        rows = self._silences.overdue(now_s)
        return rows[~self._states.in_maintenance(rows, np.full(rows.size, now_s))]

    def fall_silent(self, rows: Rows) -> Outcome:
        """These channels count as silent from here on."""
        if not rows.size:
            return Outcome.of([])
        self._relations.rest(rows)
        return Outcome.of(self._silences.tell(rows))

    def die(self, rows: Rows, now_s: float) -> Outcome:
        """The devices of these channels have announced their end: they are stale at once."""
        rows = rows[~self._states.in_maintenance(rows, np.full(rows.size, now_s))]
        self._relations.rest(rows)
        return Outcome.of(self._silences.die(rows, now_s))

    def resume(self, now_s: float) -> None:
        """Nobody listened until now: silences are counted from here."""
        self._silences.resume(now_s)

    def _round(
        self, readings: Readings, at: Rows, verdicts: Verdicts, now_s: Floats
    ) -> list[Alert]:
        """At most one reading a channel; `at` are their places in the batch."""
        beat = self._cadence.judge(readings.rows, readings.times)
        fit = (np.abs(readings.values) <= LARGEST_VALUE) & ~beat.late  # NaN isn't
        if self._possible.bounded:
            rows = readings.rows
            since_s = readings.times - self._cadence.last_s(rows)
            last = np.where(self._windows.count(rows) > 0, self._windows.last(rows), np.nan)
            fit &= self._possible.judge(rows, readings.values, last, since_s)
        if np.count_nonzero(fit) < fit.size:
            self._reject(readings.take(~fit), at[~fit], beat.late[~fit], verdicts)
            readings, at, now_s = readings.take(fit), at[fit], now_s[fit]
            beat = Beat(*(flags[fit] for flags in beat))
            if not len(readings):
                return []
        return self._score_round(readings, at, beat, verdicts, now_s)

    def _reject(self, readings: Readings, at: Rows, late: Flags, verdicts: Verdicts) -> None:
        """What is no data: a verdict says why, it is counted, and nothing learns of it."""
        rows, values = readings.rows, readings.values
        again = late & (readings.times == self._cadence.last_s(rows))
        again &= values == self._windows.last(rows)
        verdicts.kind[at], found = self._possible.explain(rows, values, late, again)
        verdicts.state[at] = self._states.shown(rows, readings.times)
        for reason, those in found.items():
            self.rejected[reason] += those.size
            self.rejected_of[reason] = self.table[int(those[-1])].name

    def _score_round(
        self,
        readings: Readings,
        at: Rows,
        beat: Beat,
        verdicts: Verdicts,
        now_s: Floats,
    ) -> list[Alert]:
        rows, times, values = readings.rows, readings.times, readings.values
        begins = np.count_nonzero(beat.step) == rows.size
        stepping = rows if begins else rows[beat.step]
        self._predict(stepping)
        silent_s, interval_s = times - self._cadence.last_s(rows), self._cadence.interval_s(rows)
        stood = self._states.states(rows)
        quiet = beat.gap & (stood < _PENDING)
        self._probation.end(self._sustained.recommission(rows, silent_s, interval_s, quiet))
        back = self._silences.heard(rows, times, silent_s, now_s)
        self._cadence.learn(rows, times, beat)
        settling = self._cadence.settling(rows)
        expected = self.predictors.expected.take(rows, 0).T.copy()
        interval_s = self._cadence.interval_s(rows)
        risk = self._risk(interval_s)
        quantum = self.predictors.quantum(rows)
        look = self._scorer.look(
            rows,
            times,
            values,
            expected,
            settling,
            self._relations,
            quantum,
            risk,
            stood >= _PENDING,
        )
        held = self._sustained.hold(rows, values, quantum, risk)
        astray = self._networks.look(rows, self._relations.fresh(rows, times))
        alarms, firing = self._scorer.alarms(rows), stood == _FIRING
        look = self._sustained.judge(rows, look, held, astray, alarms, firing)
        score, kind = self._stand_still(rows, values, look)

        changed = self._states.advance(rows, times, score, kind, np.isnan(score))
        learns = ~self._states.quarantined(rows, times)
        self._stillness.learn(rows, values, learns)
        stands = self._states.states(rows)
        tried = self._try(rows, times, interval_s, changed.accepted)
        self._sustained.learn(rows, held, learns, learns & (stands == _FIRING))
        self._scorer.learn(rows, values, look, risk, learns, changed.raised)
        if np.count_nonzero(changed.faults_over):
            self._expect_again(rows[changed.faults_over])
        learnt = learns & ~settling
        if np.count_nonzero(tried):
            learnt &= ~tried
            judged = tried & ~self._states.in_maintenance(rows, times)
            shown = Shown(readings, expected, settling, quantum, risk)
            self._judge_probation(shown.take(judged))
        self._follow_drift(rows, values, learnt if begins else learnt & beat.step)
        if self.shadow is not None:
            seen = Round(readings, settling, quantum, risk, held, astray, changed.raised)
            self._follow(self.shadow, seen, np.isfinite(expected[_NEXT]))
        self._compare(readings, interval_s)
        self._windows.append(rows, times, values, expected[_NEXT], ~beat.step)
        self.readings_scored += times.size

        state = self._states.shown(rows, times)
        kind = np.where(state == _FIRING, self._states.kinds(rows), kind)
        if np.count_nonzero(settling):
            kind = np.where(settling & (state <= _NORMAL), _GAP, kind)
        self._score[rows] = score
        self._shown[rows] = np.array((values, look.expected, look.lower, look.upper)).T
        for column, figures in (
            (verdicts.expected, look.expected),
            (verdicts.lower, look.lower),
            (verdicts.upper, look.upper),
            (verdicts.score, score),
            (verdicts.state, state),
            (verdicts.kind, kind),
            (verdicts.learnt, learnt),
        ):
            column[at] = figures
        alerts = self.open_alerts.tell(rows, at, times, changed, verdicts)
        barred = (state == _WARMING) | self._states.in_maintenance(rows, times)
        return back + alerts + self._limits.observe(readings, beat.step, beat.gap, barred)

    def _try(self, rows: Rows, times: Floats, interval_s: Floats, accepted: Flags) -> Flags:
        """(B,) channels on probation, with those where something is `accepted` now."""
        if np.count_nonzero(accepted):
            known = self._scorer.count(rows) * interval_s >= KNOWN_S
            known &= self._sustained.commissioned(rows)
            known &= interval_s * LEAST_READINGS <= self._rules.accept_after_s
            own = self._states.own(rows) & ~self._states.waived(rows)
            tried = accepted & known & own
            standing = self.open_alerts.open
            raised_s = np.array([standing[row].started_s for row in rows[tried].tolist()])
            self._probation.begin(
                rows[tried], times[tried], raised_s, self._scorer, self._sustained
            )
        return self._probation.on(rows)

    def _judge_probation(self, shown: Shown) -> None:
        back = self._probation.judge(shown, self._relations, self._rules.accept_after_s)
        if np.count_nonzero(back):
            self._put_back(shown.readings.rows[back], shown.readings.times[back])

    def _stand_still(self, rows: Rows, values: Floats, look: Look) -> tuple[Floats, Codes]:
        """Scores and kinds, with what standing still for too long adds to what was seen."""
        still = self._stillness.score(rows, values)
        if not np.count_nonzero(still):
            return look.score, look.kind
        known = np.where(np.isnan(look.score), 0.0, look.score)
        still[np.isnan(look.score) | self._holds[rows]] = 0.0
        stuck = still > known
        if _STUCK not in self._rules.quality:
            stuck &= known < 1.0
            still = look.score
        score = np.where(stuck, still, look.score)
        return score, np.where(stuck, _STANDS_STILL, look.kind).astype(np.int8)

    def _follow_drift(self, rows: Rows, values: Floats, steady: Flags) -> None:
        if np.count_nonzero(steady) < rows.size:
            rows, values = rows[steady], values[steady]
        # The network's, whoever serves: else a change of who serves would pass for drift.
        residual = values - self.predictors.told(rows)
        self.drift.learn(rows, residual, self.predictors.scale[rows])

    def _risk(self, interval_s: Floats) -> Floats:
        """False alarms that one reading may raise."""
        return self.budget_per_week / WEEK_S * interval_s

    def _predict(self, rows: Rows) -> None:
        """Let the predictors take the last value of channels that begin a new step.

        Only now is a step's value final: on a fixed grid, the last value in a bin is held.
        """
        spoke = self._windows.count(rows) > 0
        if np.count_nonzero(spoke) < rows.size:
            rows = rows[spoke]
        if rows.size:
            held, cadence = self._windows.last(rows), self._cadence
            last_s = cadence.last_s(rows)
            beats = Beats(
                last_s,
                cadence.interval_s(rows),
                cadence.after_gap(rows),
                self._states.quarantined(rows, last_s),
            )
            self.predictors.observe(rows, held, beats, self.shadow)

    def _follow(self, shadow: Shadow, seen: Round, known: Flags) -> None:
        """Let the shadow judge what the predictor was asked whose place it may take."""
        mine = self.predictors.of_row[seen.readings.rows] == shadow.index
        if not mine.all():
            seen = Round(
                seen.readings.take(mine),
                seen.settling[mine],
                seen.quantum[mine],
                seen.risk[mine],
                Held(*(each[mine] for each in seen.held)),
                Astray(*(each[mine] for each in seen.astray)),
                seen.raised[mine],
            )
        shadow.judge(seen, self._relations, self._sustained, known[mine])

    def _compare(self, readings: Readings, interval_s: Floats) -> None:
        """Compare the assets whose channels have all spoken; what comes of it shows in their next
        readings. An asset with a channel under alert teaches nothing about its relations."""
        compared = self._relations.observe(
            readings.rows, readings.times, readings.values, interval_s
        )
        if not compared.assets.size:
            return
        rows = np.maximum(compared.rows, 0)
        flat = rows.ravel()
        under = self._states.quarantined(flat, self._cadence.last_s(flat)).reshape(rows.shape)
        accepted = (self._states.states(rows) == _FIRING) & ~under
        risk = SHARE * self._risk(self._cadence.interval_s(flat)).reshape(rows.shape)
        judged = self._networks.compare(compared, self._relations, under, accepted, risk)
        for asset_shadow in self.asset_shadows.values():
            asset_shadow.judge(compared, under, accepted, risk)
        compared = judged
        self._scorer.elect(compared)
        if self.shadow is not None:
            self.shadow.elect(compared)
        learns = np.logical_not((under & (compared.rows >= 0)).any(axis=1))
        self._relations.learn(compared, learns)

    # --- figures ----------------------------------------------------------------------------

    @property
    def budget_per_week(self) -> float:
        """False alarms that one channel may raise a week: the stricter of the two promises."""
        plant = self._rules.plant_budget_per_day * 7.0 / max(len(self.table), 1)
        return min(self._rules.budget_per_week, plant)

    @property
    def plant_budget_per_week(self) -> float:
        """False alarms that all channels together may raise a week."""
        return self.budget_per_week * max(len(self.table), 1)

    def scores(self, rows: Sequence[int]) -> Floats:
        """(B,) newest score of each channel; NaN where it can't be scored."""
        return self._score[np.array(rows, dtype=np.intp)]

    def shown(self, rows: Rows) -> Floats:
        """(4, B) newest value of each channel, what was expected, lower and upper end of the band;
        NaN where there is none."""
        return self._shown[rows].T

    def longest_silence_s(self, rows: Rows) -> Floats:
        """(B,) silence from which on a channel is silent; infinite before its pace is known."""
        return self._cadence.longest_silence_s(rows)

    def silent(self, rows: Rows) -> Flags:
        """(B,) it is known to be silent for too long, or dead."""
        return self._silences.told(rows)

    def skill(self, rows: Sequence[int]) -> Floats:
        """(B,) 1 - the network's running error / the best simple expert's; NaN while unknown."""
        return self.predictors.skill(np.array(rows, dtype=np.intp))

    def count_states(self, rows: Sequence[int]) -> Mapping[str, int]:
        """These channels, by state."""
        chosen = np.array(rows, dtype=np.intp)
        states = self._states.shown(chosen, self._cadence.last_s(chosen))
        counts = np.bincount(states, minlength=len(State))
        return dict(zip(STATE_NAMES, counts.tolist(), strict=True))

    def open_ids(self) -> set[str]:
        """Of all alerts that are raised and not cleared."""
        return self.open_alerts.ids() | self._limits.ids() | self._silences.ids()

    def count_active(self) -> Mapping[str, int]:
        """Open alerts by severity."""
        ahead = self._limits.count_active() + self._silences.count_active()
        active = self.open_alerts.count_active()
        return {
            "warning": active["warning"] + ahead["warning"],
            "critical": active["critical"] + ahead["critical"],
        }


def _alert_rules(alerts: Alerts) -> AlertRules:
    return AlertRules(
        alerts.pending_readings,
        alerts.clear_below,
        alerts.clear_readings,
        alerts.update_every_s,
        alerts.accept_after_s,
        alerts.critical_score,
    )
